//! What an instance should run, stated a second time: pin over challenger over champion, the more exact pin first.

use modelcast::protocol::desired::{DesiredState, Labels, PinTarget, VersionEntry};
use modelcast::protocol::resolve::{Identity, Role, picks};
use modelcast::protocol::{InstanceName, ModelName, Version};

/// What an instance should run, and why.
pub(super) fn wanted<'s>(
    model: &ModelName,
    state: &'s DesiredState,
    instance: &InstanceName,
    labels: &Labels,
) -> Option<(&'s VersionEntry, Role)> {
    let pinned = |holds: &dyn Fn(&PinTarget) -> bool| {
        state.pins.iter().rev().find(|pin| holds(&pin.target)).map(|pin| pin.version)
    };
    let by_name = pinned(&|target| matches!(target, PinTarget::Instance(name) if name == instance));
    let by_label =
        pinned(&|target| matches!(target, PinTarget::Label(name, value) if labels.get(name) == Some(value)));
    let pin: Option<Version> = by_name.or(by_label).or_else(|| pinned(&|target| *target == PinTarget::All));
    let challenger = || challenger(model, state, instance, labels).map(|tried| (tried, Role::Challenger));
    let decided = pin.map(|pin| (pin, Role::Pinned)).or_else(challenger);
    let (version, role) = decided.unwrap_or((state.champion, Role::Champion));
    let entry = state.versions.iter().find(|entry| entry.version == version)?;
    Some((entry, role))
}

/// Whom a cohort picks is a hash that test vectors hold: it is asked, not stated again.
fn challenger(
    model: &ModelName,
    state: &DesiredState,
    instance: &InstanceName,
    labels: &Labels,
) -> Option<Version> {
    let challenger = state.challenger.as_ref()?;
    let identity = Identity { instance: instance.clone(), labels: labels.clone() };
    picks(&challenger.cohort, model, &identity).then_some(challenger.version)
}
