//! What the fleet does, compared with what it should do: a pure function of announcements, status records and time.
//!
//! Reads nothing and prints nothing: `verbs::status` reads, [`table`] prints. An instance's own word on what
//! it should run is not believed: what it should run is resolved here, from the log.
//!
//! # Invariants
//! * `ok` is true only if every instance that is not silent runs what the announcement in force wants of it.
//! * A record's text is shown, never acted on: status records are not signed.

mod instance;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet};

use modelcast_protocol::{
    Digest, Generation, InstanceName, ModelName, Version,
    desired::{Challenger, DesiredState, PinTarget},
    fold::InForce,
    status::Status,
};
use serde::Serialize;

pub(crate) use instance::{InstanceView, Standing};

/// Most names in one problem: a model may have a thousand pins.
const NAMES_SHOWN: usize = 5;

/// The latest status record of one instance of one model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// The record.
    pub(crate) status: Status,
    /// Who writes records under its name.
    pub(crate) holders: Holders,
}

/// Who writes under one instance's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holders {
    /// One process, perhaps restarted.
    One,
    /// Several: their boot ids take turns in the log.
    TakeTurns,
}

/// All that is known of a fleet at one time.
#[derive(Debug, Serialize)]
pub(crate) struct FleetView {
    /// Whether every instance that is not silent runs what it should.
    pub(crate) ok: bool,
    /// When it was read, Unix milliseconds.
    pub(crate) at_unix_ms: u64,
    /// Each model that is announced or reported on, by name.
    pub(crate) models: Vec<ModelView>,
}

/// One model's part of the fleet.
#[derive(Debug, Serialize)]
pub(crate) struct ModelView {
    /// Its name.
    pub(crate) model: ModelName,
    /// Whether every instance that is not silent runs what it should.
    pub(crate) ok: bool,
    /// The generation in force.
    pub(crate) generation: Option<Generation>,
    /// Digest of the announcement in force.
    pub(crate) digest: Option<Digest>,
    /// Where it stands in the announcements topic.
    pub(crate) offset: Option<i64>,
    /// What everybody should run.
    pub(crate) champion: Option<Version>,
    /// What a cohort tries.
    pub(crate) challenger: Option<Challenger>,
    /// How many instances stand where.
    pub(crate) counts: Counts,
    /// What a person should know of the model as a whole.
    pub(crate) problems: Vec<String>,
    /// Each instance, by name.
    pub(crate) instances: Vec<InstanceView>,
}

/// How many instances stand where.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Instances that are not silent.
    pub(crate) of: usize,
    /// Running what they should.
    pub(crate) live: usize,
    /// Still behind it.
    pub(crate) lagging: usize,
    /// Rejected it.
    pub(crate) refused: usize,
    /// Nothing is announced that they could run.
    pub(crate) waiting: usize,
    /// What they should run cannot be said.
    pub(crate) unclear: usize,
    /// Without a heartbeat.
    pub(crate) silent: usize,
}

/// Compares what instances report with what is announced.
pub(crate) fn view(
    announced: &BTreeMap<ModelName, InForce>,
    reports: &[Report],
    now_unix_ms: u64,
) -> FleetView {
    let mut by_model: BTreeMap<&ModelName, BTreeMap<&InstanceName, &Report>> = BTreeMap::new();
    for model in announced.keys() {
        by_model.entry(model).or_default();
    }
    for report in reports {
        let instances = by_model.entry(&report.status.model).or_default();
        instances.insert(&report.status.instance, report);
    }
    let models: Vec<_> = by_model
        .iter()
        .map(|(model, instances)| model_view(model, announced.get(*model), instances, now_unix_ms))
        .collect();
    FleetView { ok: models.iter().all(|model| model.ok), at_unix_ms: now_unix_ms, models }
}

fn model_view(
    model: &ModelName,
    in_force: Option<&InForce>,
    reports: &BTreeMap<&InstanceName, &Report>,
    now_unix_ms: u64,
) -> ModelView {
    let instances: Vec<_> =
        reports.values().map(|report| instance::view(model, in_force, report, now_unix_ms)).collect();
    let state = in_force.and_then(|in_force| in_force.announcement.body.as_ref().ok());
    let counts = count(&instances);
    ModelView {
        model: model.clone(),
        ok: instances.iter().all(|instance| instance.ok),
        generation: in_force.map(InForce::generation),
        digest: in_force.map(|in_force| in_force.announcement.digest),
        offset: in_force.map(|in_force| in_force.offset),
        champion: state.map(|state| state.champion),
        challenger: state.and_then(|state| state.challenger.clone()),
        problems: problems(in_force, state, &instances, counts),
        counts,
        instances,
    }
}

fn count(instances: &[InstanceView]) -> Counts {
    let mut counts = Counts::default();
    for instance in instances {
        counts.of += usize::from(instance.standing != Standing::Silent);
        *match instance.standing {
            Standing::Live => &mut counts.live,
            Standing::Lagging => &mut counts.lagging,
            Standing::Refused => &mut counts.refused,
            Standing::Waiting => &mut counts.waiting,
            Standing::Unclear => &mut counts.unclear,
            Standing::Silent => &mut counts.silent,
        } += 1;
    }
    counts
}

fn problems(
    in_force: Option<&InForce>,
    state: Option<&DesiredState>,
    instances: &[InstanceView],
    counts: Counts,
) -> Vec<String> {
    let mut problems = Vec::new();
    match in_force {
        None => problems.push("nothing is announced for this model".to_owned()),
        Some(InForce { announcement, .. }) => {
            if let Err(error) = &announcement.body {
                problems.push(format!("this program does not understand the announcement: {error}"));
            }
        }
    }
    if counts.of == 0 {
        let silent = if counts.silent > 0 { "every instance is silent" } else { "no instance reports" };
        problems.push(silent.to_owned());
    }
    let lost = instances.iter().filter(|instance| instance.history_lost).count();
    if lost > 0 {
        problems.push(format!("history lost: {lost} instances have seen more than the log has"));
    }
    problems.extend(state.and_then(|state| unheard_pins(state, instances)));
    problems
}

/// Pins for instances that never reported: to come, gone, or mistyped.
fn unheard_pins(state: &DesiredState, instances: &[InstanceView]) -> Option<String> {
    let named: BTreeSet<_> = instances.iter().map(|instance| instance.instance.as_str()).collect();
    let pinned = state.pins.iter().filter_map(|pin| match &pin.target {
        PinTarget::Instance(name) => Some(name.as_str()),
        PinTarget::Label(..) | PinTarget::All => None,
    });
    let unheard: Vec<_> = pinned.filter(|name| !named.contains(name)).collect();
    let shown = unheard.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match unheard.len().saturating_sub(NAMES_SHOWN) {
        _ if unheard.is_empty() => None,
        0 => Some(format!("pinned, but not heard of: {shown}")),
        more => Some(format!("pinned, but not heard of: {shown} and {more} more")),
    }
}

#[cfg(test)]
mod tests;
