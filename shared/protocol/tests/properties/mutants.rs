//! The properties of the log are sharp: each wrong rule breaks them, for the reason it is wrong.

use proptest::test_runner::TestError;

use crate::{
    log::acts,
    rule::{CutAnywhere, JudgedByFirstVisible, LastOfGenerationWins, Rule},
    runner::search,
    world::World,
};

/// Searches with the property, the values and the seed of the real rule.
fn broken_by<R: Rule>(rule: &R) -> String {
    match search(2_000, &acts(), |acts| World::new(rule).run(&acts)) {
        Err(TestError::Fail(reason, acts)) => {
            assert!(!acts.is_empty());
            reason.message().to_owned()
        }
        other => panic!("no counterexample found: {other:?}"),
    }
}

#[test]
fn that_the_last_record_of_a_generation_wins_is_found_out() {
    let reason = broken_by(&LastOfGenerationWins);
    assert!(reason.contains("two winners"), "{reason}");
}

#[test]
fn that_a_cut_anywhere_is_legal_is_found_out() {
    let reason = broken_by(&CutAnywhere);
    assert!(reason.contains("differs from the whole history"), "{reason}");
}

#[test]
fn that_the_first_visible_record_tells_the_outcome_is_found_out() {
    let reason = broken_by(&JudgedByFirstVisible);
    assert!(reason.contains("is a lie: Some"), "{reason}");
}
