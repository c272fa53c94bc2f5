//! One instance's part of the fleet view: where it stands, what it serves and what it should serve.

use modelcast_protocol::{
    Digest, Generation, InstanceName, ModelName, Version,
    desired::Labels,
    fold::InForce,
    resolve::{self, Identity, Role},
    status::{Phase, SILENT_AFTER_MS, Served, Status, StatusVersion},
};
use serde::Serialize;

use super::{Holders, Report};
use crate::printable::age;

/// A clock this far ahead of ours is worth a word.
const CLOCK_AHEAD_MS: u64 = 5_000;

/// Where an instance stands with what it should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// It runs what it should.
    Live,
    /// It does not yet.
    Lagging,
    /// It rejected what it should run.
    Refused,
    /// Nothing is announced that it could run.
    Waiting,
    /// The announcement is not understood here, so what it should run cannot be said.
    Unclear,
    /// It has not been heard of for longer than three heartbeats.
    Silent,
}

/// What an instance should run, by the announcement in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Wants {
    /// Its number.
    pub(crate) version: Version,
    /// Digest of its manifest.
    pub(crate) manifest: Digest,
    /// Why this one: `champion`, `challenger` or `pinned`.
    pub(crate) role: &'static str,
}

/// One row of the fleet.
#[derive(Debug, Serialize)]
pub(crate) struct InstanceView {
    /// Its name.
    pub(crate) instance: InstanceName,
    /// Whether it is silent, or runs what it should with nothing amiss.
    pub(crate) ok: bool,
    /// Where it stands.
    pub(crate) standing: Standing,
    /// The phase it reports.
    pub(crate) phase: Phase,
    /// What it serves.
    pub(crate) serves: Option<Served>,
    /// What it should serve.
    pub(crate) wants: Option<Wants>,
    /// The generation it has seen.
    pub(crate) generation_seen: Generation,
    /// How long ago it was heard of.
    pub(crate) heard_ms_ago: u64,
    /// Rows it predicted since its start.
    pub(crate) predictions: u64,
    /// Rows it could not.
    pub(crate) errors: u64,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Its process.
    pub(crate) boot_id: String,
    /// Several processes take turns under this name.
    pub(crate) contested: bool,
    /// It has seen more than the log has, or something else.
    pub(crate) history_lost: bool,
    /// What a person should know, the gravest first.
    pub(crate) notes: Vec<String>,
}

/// The view of one instance.
pub(super) fn view(
    model: &ModelName,
    in_force: Option<&InForce>,
    report: &Report,
    now_unix_ms: u64,
) -> InstanceView {
    let status = &report.status;
    let heard_ms_ago = now_unix_ms.saturating_sub(status.at_unix_ms);
    let wants = wants(model, in_force, status);
    let standing =
        if heard_ms_ago > SILENT_AFTER_MS { Standing::Silent } else { standing(in_force, wants, status) };
    let history_lost = history_lost(in_force, status);
    let right = matches!(standing, Standing::Live | Standing::Waiting);
    let contested = report.holders == Holders::TakeTurns;
    let ok = standing == Standing::Silent || (right && !contested && history_lost.is_none());
    // The instance has usually noticed by itself, and says so among its warnings.
    let says_so = status.warnings.iter().any(|warning| warning.starts_with("history "));
    let own = [
        refusal(wants, status),
        history_lost.clone().filter(|_| !says_so),
        contested.then(|| "several processes take turns under this name".to_owned()),
        (standing == Standing::Silent).then(|| format!("last heard of {} ago", age(heard_ms_ago))),
        clock(status, now_unix_ms),
    ];
    InstanceView {
        instance: status.instance.clone(),
        ok,
        standing,
        phase: status.phase.clone(),
        serves: status.served,
        wants,
        generation_seen: status.generation_seen,
        heard_ms_ago,
        predictions: status.traffic.predictions,
        errors: status.traffic.errors,
        labels: status.labels.clone(),
        boot_id: status.boot_id.clone(),
        contested,
        history_lost: history_lost.is_some(),
        notes: own.into_iter().flatten().chain(status.warnings.iter().cloned()).collect(),
    }
}

fn wants(model: &ModelName, in_force: Option<&InForce>, status: &Status) -> Option<Wants> {
    let state = in_force?.announcement.body.as_ref().ok()?;
    let identity = Identity { instance: status.instance.clone(), labels: status.labels.clone() };
    let wanted = resolve::resolve(model, state, &identity)?;
    let role = match wanted.role {
        Role::Pinned => "pinned",
        Role::Challenger => "challenger",
        Role::Champion => "champion",
    };
    Some(Wants { version: wanted.entry.version, manifest: wanted.entry.manifest, role })
}

fn standing(in_force: Option<&InForce>, wants: Option<Wants>, status: &Status) -> Standing {
    let Some(wants) = wants else {
        return if in_force.is_some() { Standing::Unclear } else { Standing::Waiting };
    };
    // The number counts too: a version published again has the same manifest under a new one only when the log was
    // lost, and then it is not what this announcement means.
    let serves = status.served.is_some_and(|served| is(wants, served.version, served.manifest));
    if serves {
        Standing::Live
    } else if refuses(wants, status) {
        Standing::Refused
    } else {
        Standing::Lagging
    }
}

fn is(wants: Wants, version: Version, manifest: Digest) -> bool {
    wants.version == version && wants.manifest == manifest
}

fn refuses(wants: Wants, status: &Status) -> bool {
    let about = |wanted: StatusVersion| is(wants, wanted.version, wanted.manifest);
    matches!(status.phase, Phase::Refused { .. }) && status.wanted.is_some_and(about)
}

fn refusal(wants: Option<Wants>, status: &Status) -> Option<String> {
    let Phase::Refused { stage, cause } = &status.phase else {
        return None;
    };
    let refused = status.wanted.map(|wanted| wanted.version);
    let which = match (refused, wants) {
        (Some(refused), Some(wants)) if refused != wants.version => format!(" version {refused}"),
        _ => String::new(),
    };
    Some(format!("refused{which} at {stage}: {cause}"))
}

/// How an instance that has seen another history than the log has comes to notice.
fn history_lost(in_force: Option<&InForce>, status: &Status) -> Option<String> {
    let seen = status.generation_seen;
    let now = in_force.map_or(Generation::ZERO, InForce::generation);
    if seen > now {
        return Some(format!("history lost: it has seen generation {seen}, the log ends at {now}"));
    }
    let (theirs, ours) = (status.announcement_seen?, in_force?.digest_at(seen)?);
    (theirs != ours).then(|| format!("history forked: at generation {seen} it has seen another announcement"))
}

fn clock(status: &Status, now_unix_ms: u64) -> Option<String> {
    let ahead = status.at_unix_ms.saturating_sub(now_unix_ms);
    (ahead > CLOCK_AHEAD_MS).then(|| format!("its clock is {} ahead of this machine's", age(ahead)))
}
