//! What an instance should run is the same on every machine, and never what is forbidden.

use modelcast_protocol::{
    InstanceName, ModelName, Version,
    desired::{Cohort, DesiredState, Labels, PinTarget},
    resolve::{Identity, Role, picks, resolve},
};
use proptest::prelude::Strategy;

use crate::{
    changes::{change, cohorts, wishes},
    runner::{ensure, holds},
    sample::{labels, stamp},
};

fn model() -> ModelName {
    ModelName::parse("price").unwrap()
}

fn identities() -> impl Strategy<Value = Identity> {
    ("app-[0-9]", labels()).prop_map(|(instance, labels)| {
        let instance = InstanceName::parse(&instance).unwrap();
        Identity { instance, labels }
    })
}

fn pinned(state: &DesiredState, holds: impl Fn(&PinTarget) -> bool) -> Option<Version> {
    state.pins.iter().rev().find(|pin| holds(&pin.target)).map(|pin| pin.version)
}

/// The rule in other words than the crate's: the documentation's, one line each.
fn expected(state: &DesiredState, identity: &Identity) -> (Version, Role) {
    let labelled = |target: &PinTarget| matches!(target, PinTarget::Label(name, value) if identity.labels.get(name) == Some(value));
    let pin = pinned(state, |target| *target == PinTarget::Instance(identity.instance.clone()))
        .or_else(|| pinned(state, labelled))
        .or_else(|| pinned(state, |target| *target == PinTarget::All));
    match (pin, &state.challenger) {
        (Some(version), _) => (version, Role::Pinned),
        (None, Some(challenger)) if picks(&challenger.cohort, &model(), identity) => {
            (challenger.version, Role::Challenger)
        }
        _ => (state.champion, Role::Champion),
    }
}

#[test]
fn every_instance_runs_its_pin_else_its_challenger_else_the_champion() {
    let fleets = proptest::collection::vec(identities(), 1..12);
    holds(300, &(wishes(), fleets), |(wishes, fleet)| {
        let mut state: Option<DesiredState> = None;
        for wish in &wishes {
            let next = change(wish, state.as_ref()).apply(state.as_ref(), &stamp(), [0; 16]);
            state = next.ok().or(state);
        }
        let Some(state) = state else { return Ok(()) };
        for identity in &fleet {
            let (elsewhere, same) = (state.clone(), identity.clone());
            let wanted = resolve(&model(), &state, identity);
            ensure(wanted == resolve(&model(), &elsewhere, &same), || "two machines differ".into())?;
            let found = wanted.map(|wanted| (wanted.entry.version, wanted.role));
            let expected = expected(&state, identity);
            ensure(found == Some(expected), || format!("{found:?}, expected {expected:?}"))?;
            ensure(!state.is_quarantined(expected.0), || format!("{} is forbidden", expected.0))?;
        }
        Ok(())
    });
}

#[test]
fn a_larger_percentage_or_fewer_labels_only_add_instances() {
    holds(2_000, &(cohorts(), 0_u16..=10_000, identities()), |(cohort, other, identity)| {
        let inside = picks(&cohort, &model(), &identity);
        let larger = Cohort { basis_points: cohort.basis_points.max(other), labels: cohort.labels.clone() };
        ensure(!inside || picks(&larger, &model(), &identity), || "a larger cohort lost somebody".into())?;
        let all = Cohort { basis_points: cohort.basis_points, labels: Labels::new() };
        ensure(!inside || picks(&all, &model(), &identity), || "fewer labels lost somebody".into())?;
        let nobody = Cohort { basis_points: 0, ..cohort };
        ensure(!picks(&nobody, &model(), &identity), || "0 % picked somebody".into())
    });
}
