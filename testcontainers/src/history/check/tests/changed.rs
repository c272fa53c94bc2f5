//! One lie at a time about what a change makes of a state: it is found at the generation that tells it.

use modelcast::protocol::Digest;
use modelcast::protocol::desired::DesiredState;

use super::good::{LAST, good, version};
use super::planted::record;
use crate::history::check::check;

/// Plants `lie` into the state of a generation.
fn finds(generation: u64, what: &str, lie: impl FnOnce(&mut DesiredState)) {
    let mut history = good();
    lie(&mut record(&mut history, generation).state);
    let report = check(&history);
    let finding = report.findings.iter().find(|finding| finding.guarantee == 6).unwrap();
    // Those after it are no changes of a state that was not there.
    let told = finding.violations.first().map(|violation| violation.what.as_str()).unwrap_or_default();
    let found = format!("generation {generation} of price is not its change of the one before");
    assert!(told.starts_with(&found), "{what}: {told:?}\n{report}");
}

/// The state of a generation.
fn state(generation: u64) -> DesiredState {
    record(&mut good(), generation).state.clone()
}

#[test]
fn a_publish_that_decides_something_else_is_found() {
    finds(3, "another's artifact", |state| state.versions[2].artifact = Digest::of(b"other"));
    finds(7, "a challenger that is the champion", |state| state.champion = version(4));
    finds(7, "a challenger that nobody tries", |state| state.challenger = None);
    finds(7, "a challenger for others", |state| {
        state.challenger.as_mut().unwrap().cohort.basis_points = 1;
    });
    finds(LAST, "a quarantine overwritten unseen", |state| state.quarantine.clear());
    finds(LAST, "a version that is not the champion", |state| state.champion = version(3));
}

#[test]
fn a_pin_or_unpin_that_decides_something_else_is_found() {
    finds(4, "a champion of nobody's choice", |state| state.champion = version(1));
    finds(8, "a pin overwritten unseen", |state| drop(state.pins.remove(0)));
    finds(8, "a challenger overwritten unseen", |state| state.challenger = None);
    finds(8, "a pin of another version", |state| state.pins[1].version = version(1));
    finds(10, "an unpin that lets nobody go", |of| of.pins = state(9).pins);
    finds(10, "an unpin that lets all go", |state| state.pins.clear());
    finds(12, "an unpin that ends what is tried", |state| state.challenger = None);
}

#[test]
fn a_rollback_quarantine_or_release_that_decides_something_else_is_found() {
    finds(5, "a version that vanished", |state| state.versions.retain(|entry| entry.version != version(1)));
    finds(5, "a rollback that forbids nothing", |state| state.quarantine.clear());
    finds(5, "a rollback that goes too far", |state| state.champion = version(1));
    finds(6, "a release that allows nothing", |of| of.quarantine = state(5).quarantine);
    finds(6, "a release that lets an instance go", |state| state.pins.clear());
    finds(13, "a quarantine that forbids nothing", |state| state.quarantine.clear());
    finds(13, "a forbidden challenger that is tried on", |of| of.challenger = state(12).challenger);
    finds(13, "a quarantine that takes the champion", |state| state.champion = version(1));
    finds(14, "a forbidden champion that stays", |state| state.champion = version(2));
    finds(14, "a quarantine that allows another", |state| drop(state.quarantine.remove(0)));
}
