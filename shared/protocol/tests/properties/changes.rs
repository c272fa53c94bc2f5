//! Whatever is changed in whatever order, the state stays one that may be announced.

use std::collections::BTreeMap;

use modelcast_protocol::{
    Digest, InstanceName, Version,
    change::{Change, ChangeError, LeftVersion, NewRole},
    desired::{Cohort, DesiredState, Pin, PinTarget},
    limits::{PINS_MAX, QUARANTINE_MAX, REASON_MAX_BYTES, VERSIONS_KEPT},
};
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::{
    runner::{Held, ensure, holds},
    sample::{labels, new_version, stamp},
};

/// A change whose version is one of those kept, or seldom a number out of the air.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Publish { artifact: u64, challenger: Option<Cohort> },
    Rollback { to: Option<usize>, left: LeftVersion },
    Pin { target: PinTarget, version: usize },
    Unpin { target: PinTarget },
    Quarantine { version: usize, instead: Option<usize> },
    Release { version: usize },
}

fn targets() -> impl Strategy<Value = PinTarget> {
    prop_oneof![
        (0_u8..4).prop_map(|number| {
            PinTarget::Instance(InstanceName::parse(&format!("app-{number}")).unwrap())
        }),
        ("[a-b]", "[a-b]").prop_map(|(name, value)| PinTarget::Label(name, value)),
        Just(PinTarget::All),
    ]
}

pub(crate) fn cohorts() -> impl Strategy<Value = Cohort> {
    (0_u16..=10_000, labels()).prop_map(|(basis_points, labels)| Cohort { basis_points, labels })
}

/// Up to 80 changes.
pub(crate) fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let left = prop_oneof![Just(LeftVersion::Quarantine), Just(LeftVersion::Keep)];
    let version = || any::<usize>();
    let wish = prop_oneof![
        6 => (0_u64..60, proptest::option::of(cohorts()))
            .prop_map(|(artifact, challenger)| Wish::Publish { artifact, challenger }),
        2 => (proptest::option::of(version()), left).prop_map(|(to, left)| Wish::Rollback { to, left }),
        3 => (targets(), version()).prop_map(|(target, version)| Wish::Pin { target, version }),
        2 => targets().prop_map(|target| Wish::Unpin { target }),
        2 => (version(), proptest::option::of(version()))
            .prop_map(|(version, instead)| Wish::Quarantine { version, instead }),
        1 => version().prop_map(|version| Wish::Release { version }),
    ];
    proptest::collection::vec(wish, 1..80)
}

/// The change that a wish means for a state.
pub(crate) fn change(wish: &Wish, state: Option<&DesiredState>) -> Change {
    let pick = |which: usize| {
        let versions = state.map_or(&[][..], |state| &state.versions);
        match which.checked_rem(versions.len() + 1).and_then(|place| versions.get(place)) {
            Some(entry) => entry.version,
            None => Version::new(which as u64 % 30 + 1).unwrap(),
        }
    };
    match wish.clone() {
        Wish::Publish { artifact, challenger } => {
            let role = challenger.map_or(NewRole::Champion, NewRole::Challenger);
            Change::Publish(new_version(artifact, role))
        }
        Wish::Rollback { to, left } => Change::Rollback { to: to.map(pick), left },
        Wish::Pin { target, version } => Change::Pin { target, version: pick(version) },
        Wish::Unpin { target } => Change::Unpin { target },
        Wish::Quarantine { version, instead } => {
            Change::Quarantine { version: pick(version), instead: instead.map(pick) }
        }
        Wish::Release { version } => Change::Release { version: pick(version) },
    }
}

#[test]
fn every_state_that_changes_lead_to_may_be_announced() {
    holds(400, &wishes(), |wishes| {
        let mut state: Option<DesiredState> = None;
        let mut published = BTreeMap::new();
        for wish in &wishes {
            let change = change(wish, state.as_ref());
            match change.apply(state.as_ref(), &stamp(), [0; 16]) {
                Ok(next) => {
                    check(&change, state.as_ref(), &next, &mut published)?;
                    state = Some(next);
                }
                // Within the limits every refusal has a reason of its own: this one says that a rule is missing.
                Err(ChangeError::NotValid { cause }) => ensure(false, || format!("{change:?}: {cause}"))?,
                Err(_) => {}
            }
        }
        Ok(())
    });
}

fn check(
    change: &Change,
    before: Option<&DesiredState>,
    next: &DesiredState,
    published: &mut BTreeMap<Version, (Digest, usize)>,
) -> Held {
    next.validate().map_err(|error| proptest::test_runner::TestCaseError::fail(error.to_string()))?;
    for wanted in next.wanted() {
        ensure(!next.is_quarantined(wanted), || format!("version {wanted} is wanted and quarantined"))?;
        ensure(next.entry(wanted).is_some(), || format!("version {wanted} is wanted and not named"))?;
    }
    let highest = published.last_key_value().map_or(0, |(version, _)| version.get());
    let last = next.versions.last().unwrap();
    let rank = published.len();
    if matches!(change, Change::Publish(_)) {
        ensure(last.version.get() == highest + 1, || format!("version {} after {highest}", last.version))?;
        published.insert(last.version, (last.manifest, rank));
    }
    ensure(published.last_key_value().map(|(version, _)| *version) == Some(last.version), || {
        "the last version is not the highest ever published".into()
    })?;
    for entry in &next.versions {
        let same = published.get(&entry.version).map(|(manifest, _)| *manifest) == Some(entry.manifest);
        ensure(same, || format!("version {} changed its manifest", entry.version))?;
    }
    let unwanted = next.versions.len() - next.versions.len().min(VERSIONS_KEPT);
    ensure(unwanted <= next.wanted().count(), || "old versions pile up".into())?;
    before.map_or(Ok(()), |before| others_are_left_alone(change, before, next))
}

/// A change touches what it says, and nothing that somebody else decided.
fn others_are_left_alone(change: &Change, before: &DesiredState, next: &DesiredState) -> Held {
    let target = match change {
        Change::Pin { target, .. } | Change::Unpin { target } => Some(target),
        _ => None,
    };
    let others = |state: &DesiredState| -> Vec<Pin> {
        state.pins.iter().filter(|pin| Some(&pin.target) != target).cloned().collect()
    };
    ensure(others(before) == others(next), || "somebody else's pin changed".into())?;
    for quarantined in &before.quarantine {
        let released = matches!(change, Change::Release { version } if *version == quarantined.version);
        let kept = next.quarantine.contains(quarantined);
        ensure(kept != released, || format!("quarantine of {}: kept {kept}", quarantined.version))?;
    }
    let moves = matches!(change, Change::Publish(_) | Change::Rollback { .. } | Change::Quarantine { .. });
    ensure(moves || before.champion == next.champion, || "the champion moved".into())
}

fn published(count: u64) -> DesiredState {
    let mut state = None;
    for number in 0..count {
        let publish = Change::Publish(new_version(number, NewRole::Champion));
        state = Some(publish.apply(state.as_ref(), &stamp(), [0; 16]).unwrap());
    }
    state.unwrap()
}

#[test]
fn one_pin_too_many_is_refused_before_it_is_announced() {
    let mut state = published(1);
    let pin = |number: usize| Change::Pin {
        target: PinTarget::Instance(InstanceName::parse(&format!("app-{number}")).unwrap()),
        version: Version::FIRST,
    };
    for number in 0..PINS_MAX {
        state = pin(number).apply(Some(&state), &stamp(), [0; 16]).unwrap();
    }
    let refused = pin(PINS_MAX).apply(Some(&state), &stamp(), [0; 16]);
    assert!(matches!(refused, Err(ChangeError::NotValid { .. })), "{refused:?}");
}

#[test]
fn a_reason_or_cohort_that_no_reader_accepts_is_refused() {
    let state = published(1);
    let mut long = stamp();
    long.reason = "x".repeat(REASON_MAX_BYTES + 1);
    let pin = Change::Pin { target: PinTarget::All, version: Version::FIRST };
    assert!(matches!(pin.apply(Some(&state), &long, [0; 16]), Err(ChangeError::NotValid { .. })));
    let cohort = Cohort { basis_points: 10_001, labels: BTreeMap::new() };
    let publish = Change::Publish(new_version(1, NewRole::Challenger(cohort)));
    assert!(matches!(publish.apply(Some(&state), &stamp(), [0; 16]), Err(ChangeError::NotValid { .. })));
}

#[test]
fn the_oldest_quarantine_is_forgotten_first() {
    let mut state = published(1);
    for number in 1..=QUARANTINE_MAX as u64 + 5 {
        let publish = Change::Publish(new_version(number, NewRole::Champion));
        state = publish.apply(Some(&state), &stamp(), [0; 16]).unwrap();
        let forbid = Change::Quarantine { version: Version::new(number).unwrap(), instead: None };
        state = forbid.apply(Some(&state), &stamp(), [0; 16]).unwrap();
    }
    assert_eq!(state.quarantine.len(), QUARANTINE_MAX);
    assert_eq!(state.quarantine[0].version.get(), 6);
}
