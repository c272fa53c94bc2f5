//! What one instance should run, given a model's desired state: pin, then challenger, then champion.
//!
//! A pure function of the state and the instance's own name and labels, so that every machine comes to the same
//! answer without asking another.

use std::fmt;

use crate::{
    desired::{Cohort, DesiredState, Labels, Pin, PinTarget, VersionEntry},
    digest::Digest,
    name::{InstanceName, ModelName},
};

/// Hundredths of a percent in the whole.
const BASIS_POINTS: u64 = 10_000;

/// Who an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, unique in the fleet.
    pub instance: InstanceName,
    /// Its labels.
    pub labels: Labels,
}

/// Why an instance should run a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is pinned to it.
    Pinned,
    /// It is in the challenger's cohort.
    Challenger,
    /// Everybody else's version.
    Champion,
}

/// What an instance should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Which version, and where its manifest is.
    pub entry: &'a VersionEntry,
    /// Why.
    pub role: Role,
    /// The pin that holds the instance, where that is why.
    pub pin: Option<&'a Pin>,
    /// The cohort that picks it, where that is why.
    pub cohort: Option<&'a Cohort>,
}

/// For people: `12.5 % of instances with zone=a`.
impl fmt::Display for Cohort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % of instances", f64::from(self.basis_points) / 100.0)?;
        for (index, (name, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { " with " } else { ", " })?;
        }
        Ok(())
    }
}

/// What an instance should run; `None` only for a state that is not valid.
#[must_use]
pub fn resolve<'a>(model: &ModelName, state: &'a DesiredState, identity: &Identity) -> Option<Wanted<'a>> {
    let wanted = |version, role| {
        let entry = state.entry(version).filter(|_| !state.is_quarantined(version))?;
        Some(Wanted { entry, role, pin: None, cohort: None })
    };
    let pinned = strongest_pin(state, identity)
        .and_then(|pin| Some(Wanted { pin: Some(pin), ..wanted(pin.version, Role::Pinned)? }));
    let challenger = state.challenger.as_ref().filter(|tried| picks(&tried.cohort, model, identity));
    let challenger = challenger.and_then(|tried| {
        Some(Wanted { cohort: Some(&tried.cohort), ..wanted(tried.version, Role::Challenger)? })
    });
    pinned.or(challenger).or_else(|| wanted(state.champion, Role::Champion))
}

/// Whether a cohort picks an instance. A larger percentage picks everybody whom a smaller one picked.
#[must_use]
pub fn picks(cohort: &Cohort, model: &ModelName, identity: &Identity) -> bool {
    let labelled = cohort.labels.iter().all(|(name, value)| identity.labels.get(name) == Some(value));
    labelled && place(model, &identity.instance) < u64::from(cohort.basis_points)
}

/// An instance's place among the basis points: BLAKE3 of domain, model, 0 and instance, the first 8 bytes big-endian,
/// modulo 10,000.
fn place(model: &ModelName, instance: &InstanceName) -> u64 {
    let text = ["modelcast/v1/cohort\0", model.as_str(), "\0", instance.as_str()].concat();
    let digest = Digest::of(text.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) % BASIS_POINTS
}

/// The most exact pin; among pins for several labels, of the latest.
fn strongest_pin<'a>(state: &'a DesiredState, identity: &Identity) -> Option<&'a Pin> {
    let strength = |target: &PinTarget| match target {
        PinTarget::Instance(instance) if *instance == identity.instance => Some(3),
        PinTarget::Label(name, value) if identity.labels.get(name) == Some(value) => Some(2),
        PinTarget::All => Some(1),
        PinTarget::Instance(_) | PinTarget::Label(..) => None,
    };
    let holding = state.pins.iter().filter_map(|pin| Some((strength(&pin.target)?, pin)));
    holding.max_by_key(|(strength, _)| *strength).map(|(_, pin)| pin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Version,
        change::{Change, NewRole, NewVersion},
        desired::Stamp,
    };

    fn model() -> ModelName {
        ModelName::parse("price").unwrap()
    }

    fn identity(instance: &str, labels: &[(&str, &str)]) -> Identity {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Identity { instance: InstanceName::parse(instance).unwrap(), labels }
    }

    fn cohort(basis_points: u16) -> Cohort {
        Cohort { basis_points, labels: Labels::new() }
    }

    /// Champion 1, and version 2 for a cohort.
    fn state(basis_points: u16, pins: &[PinTarget]) -> DesiredState {
        let stamp = Stamp { author: "ada".into(), reason: "test".into(), at_unix_ms: 0 };
        let publish = |number: u8, role| {
            let digest = Digest::of(&[number]);
            Change::Publish(NewVersion {
                manifest: digest,
                manifest_offset: 0,
                artifact: digest,
                inline_manifest: None,
                inline_artifact: None,
                role,
            })
        };
        let mut changes =
            vec![publish(1, NewRole::Champion), publish(2, NewRole::Challenger(cohort(basis_points)))];
        let pinned = Version::new(3).unwrap();
        changes.push(publish(3, NewRole::Champion));
        changes.extend(pins.iter().map(|target| Change::Pin { target: target.clone(), version: pinned }));
        let mut state = None;
        for change in changes {
            state = Some(change.apply(state.as_ref(), &stamp, [0; 16]).unwrap());
        }
        let mut state: DesiredState = state.unwrap();
        state.champion = Version::FIRST;
        state
    }

    fn runs(state: &DesiredState, identity: &Identity) -> (u64, Role) {
        let wanted = resolve(&model(), state, identity).unwrap();
        (wanted.entry.version.get(), wanted.role)
    }

    #[test]
    fn a_pin_beats_the_challenger_and_the_challenger_the_champion() {
        let me = identity("app-1", &[("zone", "a")]);
        assert_eq!(runs(&state(0, &[]), &me), (1, Role::Champion));
        assert_eq!(runs(&state(10_000, &[]), &me), (2, Role::Challenger));
        for target in [
            PinTarget::All,
            PinTarget::Label("zone".into(), "a".into()),
            PinTarget::Instance(me.instance.clone()),
        ] {
            let state = state(10_000, std::slice::from_ref(&target));
            assert_eq!(runs(&state, &me), (3, Role::Pinned));
            let wanted = resolve(&model(), &state, &me).unwrap();
            assert_eq!((wanted.pin.map(|pin| &pin.target), wanted.cohort), (Some(&target), None));
        }
        let others = PinTarget::Label("zone".into(), "b".into());
        assert_eq!(runs(&state(0, &[others]), &me), (1, Role::Champion));
    }

    #[test]
    fn a_larger_cohort_keeps_whom_a_smaller_one_picked() {
        let fleet: Vec<_> = (0..2_000).map(|number| identity(&format!("app-{number}"), &[])).collect();
        let picked = |basis_points| -> Vec<_> {
            let cohort = cohort(basis_points);
            fleet.iter().filter(|identity| picks(&cohort, &model(), identity)).collect()
        };
        let (ten, fifty) = (picked(1_000), picked(5_000));
        assert!(ten.iter().all(|identity| fifty.contains(identity)));
        assert!((150..250).contains(&ten.len()), "{} of 2,000 for 10 %", ten.len());
        assert_eq!((picked(0).len(), picked(10_000).len()), (0, 2_000));
    }

    #[test]
    fn a_quarantined_version_is_never_wanted() {
        let mut state = state(10_000, &[]);
        let stamp = state.stamp.clone();
        let (version, artifact) = (Version::new(2).unwrap(), Digest::of(&[2]));
        state.quarantine.push(crate::desired::Quarantined { version, artifact, stamp });
        assert_eq!(runs(&state, &identity("app-1", &[])), (1, Role::Champion));
    }

    #[test]
    fn a_cohort_is_said_with_its_labels() {
        let mut some = cohort(1_250);
        assert_eq!(some.to_string(), "12.5 % of instances");
        some.labels.extend([("tier".into(), "web".into()), ("zone".into(), "a".into())]);
        assert_eq!(some.to_string(), "12.5 % of instances with tier=web, zone=a");
    }

    #[test]
    fn the_cohort_hash_does_not_change_between_releases() {
        assert_eq!(place(&model(), &InstanceName::parse("app-1").unwrap()), COHORT_PLACE_OF_APP_1);
    }

    /// Another value moves every instance into another cohort.
    const COHORT_PLACE_OF_APP_1: u64 = 7209;
}
