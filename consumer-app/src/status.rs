//! `/status`: where each model stands, for people, the demo and tests; the same JSON goes out as events.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State};
use modelcast::{LiveModel, ModelState, Origin, Rejection};
use modelcast_protocol::{
    Digest, Generation, InstanceName, ModelName, Version,
    desired::{Cohort, Pin},
    resolve::Role,
    status::{Phase, Served, Stage},
};
use serde::Serialize;

use crate::{router::Shared, served::ServedModel};

/// What `/status` shows.
#[derive(Debug, Serialize)]
pub struct AppStatus {
    /// This process's name in the fleet.
    instance: InstanceName,
    /// One for each model, by name.
    models: Vec<ModelStatus>,
}

/// One model's part of it.
#[derive(Debug, Serialize)]
pub struct ModelStatus {
    model: ModelName,
    phase: &'static str,
    phase_detail: String,
    served: Option<Served>,
    origin: Option<&'static str>,
    wanted: Option<WantedStatus>,
    generation_seen: Generation,
    news_age_seconds: Option<f64>,
    swaps: u64,
    rejections_total: BTreeMap<Stage, u64>,
    rejections: Vec<RejectionStatus>,
    predictions: u64,
    errors: u64,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct WantedStatus {
    version: Version,
    manifest: Digest,
    generation: Generation,
    role: &'static str,
    /// The role for people.
    why: String,
    pin: Option<PinStatus>,
    cohort: Option<Cohort>,
}

#[derive(Debug, Serialize)]
struct PinStatus {
    target: String,
    author: String,
    reason: String,
    at_unix_ms: u64,
}

#[derive(Debug, Serialize)]
struct RejectionStatus {
    version: Version,
    manifest: Digest,
    stage: Stage,
    cause: String,
    at_unix_ms: u64,
}

/// `GET /status`.
pub async fn all(State(shared): State<Shared>) -> Json<AppStatus> {
    let models = shared.models.models().map(|model| ModelStatus::of(model)).collect();
    Json(AppStatus { instance: shared.models.instance().clone(), models })
}

impl ModelStatus {
    /// Where a model stands now.
    #[must_use]
    pub fn of(model: &ServedModel) -> Self {
        let live = model.live();
        let state = live.state();
        let wanted = WantedStatus::of(&state);
        Self {
            model: live.name().clone(),
            phase: phase_name(&state.phase),
            phase_detail: phase_detail(live, &state.phase),
            served: state.served,
            origin: live.load().map(|serving| origin_name(serving.origin())),
            wanted,
            generation_seen: state.generation_seen,
            news_age_seconds: live.news_age().as_ref().map(Duration::as_secs_f64),
            swaps: state.swaps,
            rejections_total: state.rejections_total,
            rejections: state.rejections.into_iter().map(RejectionStatus::from).collect(),
            predictions: live.traffic().predictions(),
            errors: live.traffic().errors(),
            warnings: state.warnings,
        }
    }
}

impl WantedStatus {
    fn of(state: &ModelState) -> Option<Self> {
        let (wanted, role) = state.wanted?;
        Some(Self {
            version: wanted.version,
            manifest: wanted.manifest,
            generation: state.generation_seen,
            role: role_name(role),
            why: state.why().unwrap_or_default(),
            pin: state.pin.clone().map(PinStatus::from),
            cohort: state.cohort.clone(),
        })
    }
}

impl From<Pin> for PinStatus {
    fn from(Pin { target, stamp, .. }: Pin) -> Self {
        let (author, reason, at_unix_ms) = (stamp.author, stamp.reason, stamp.at_unix_ms);
        Self { target: target.to_string(), author, reason, at_unix_ms }
    }
}

impl From<Rejection> for RejectionStatus {
    fn from(rejection: Rejection) -> Self {
        let Rejection { version, manifest, stage, cause, at_unix_ms } = rejection;
        Self { version, manifest, stage, cause, at_unix_ms }
    }
}

/// The phase for people, and whether what serves is not from Kafka.
#[must_use]
pub fn phase_detail(live: &LiveModel, phase: &Phase) -> String {
    let embedded = live.load().is_some_and(|serving| serving.origin() == Origin::Embedded);
    if embedded { format!("{phase}, embedded") } else { phase.to_string() }
}

/// The phase as one word.
#[must_use]
pub fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Seen => "seen",
        Phase::Fetching { .. } => "fetching",
        Phase::Verified => "verified",
        Phase::Decoded => "decoded",
        Phase::Tested => "tested",
        Phase::Staged => "staged",
        Phase::Live => "live",
        Phase::Refused { .. } => "refused",
    }
}

fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Kafka => "kafka",
        Origin::Embedded => "embedded",
        Origin::Fixed => "fixed",
    }
}

/// The role as one word.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Pinned => "pinned",
        Role::Challenger => "challenger",
        Role::Champion => "champion",
    }
}
