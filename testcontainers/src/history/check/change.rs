//! What a change makes of a state, stated a second time: nothing but what it says, on exactly what was there.

use modelcast::protocol::desired::{Challenger, Cohort, DesiredState, Labels, Pin, PinTarget, VersionEntry};
use modelcast::protocol::limits::{QUARANTINE_MAX, VERSIONS_KEPT};
use modelcast::protocol::{Digest, Version};

use crate::history::event::Action;

/// The part of a state that somebody decided.
#[derive(Debug, PartialEq)]
struct Decided {
    champion: Version,
    challenger: Option<Challenger>,
    pins: Vec<Pin>,
    quarantine: Vec<(Version, Digest)>,
    versions: Vec<VersionEntry>,
}

/// Whether `next` is what `action` makes of `before`; what is wrong with it otherwise.
pub(super) fn follows(
    before: Option<&DesiredState>,
    action: &Action,
    uploaded: &[Digest],
    next: &DesiredState,
) -> Result<(), String> {
    let Some(mut expected) = Decided::before(before, next) else {
        return Err("it founds the model with something else than a first version".into());
    };
    match action {
        Action::Publish { artifact, cohort, .. } => {
            expected.publish(before, *artifact, *cohort, uploaded, next)?;
        }
        Action::Rollback => {
            let left = expected.champion;
            expected.champion = expected.older().ok_or("there is nothing older to go back to")?;
            expected.forbid(left);
        }
        Action::Pin { target, version } => {
            expected.pins.retain(|pin| pin.target != *target);
            let (target, stamp) = (target.clone(), next.stamp.clone());
            expected.pins.push(Pin { target, version: *version, stamp });
        }
        Action::Unpin { target } => expected.pins.retain(|pin| pin.target != *target),
        Action::Quarantine { version, instead } => {
            if let Some(instead) = instead.filter(|_| expected.champion == *version) {
                expected.champion = instead;
            }
            expected.forbid(*version);
        }
        Action::Release { version } => expected.quarantine.retain(|(of, _)| of != version),
    }
    expected.trim();
    let found = Decided::of(next);
    if found == expected { Ok(()) } else { Err(difference(&expected, &found)) }
}

/// Whether a rule says no to `action` on this state.
pub(super) fn is_refused(action: &Action, state: Option<&DesiredState>) -> bool {
    let Some(state) = state else { return !matches!(action, Action::Publish { .. }) };
    let of = Decided::of(state);
    let forbidden = |version: &Version| of.quarantine.iter().any(|(other, _)| other == version);
    let known = |version: &Version| of.versions.iter().any(|entry| entry.version == *version);
    let usable = |version: &Version| known(version) && !forbidden(version);
    let pinned = |version: &Version| of.pins.iter().any(|pin| pin.version == *version);
    match action {
        Action::Publish { artifact, .. } => of.quarantine.iter().any(|(_, other)| other == artifact),
        Action::Rollback => of.older().is_none() || pinned(&of.champion),
        Action::Pin { target, version } => {
            !usable(version) || of.pins.iter().any(|pin| pin.target == *target && pin.version == *version)
        }
        Action::Unpin { target } => !of.pins.iter().any(|pin| pin.target == *target),
        Action::Quarantine { version, instead } => {
            let champion = of.champion == *version;
            let replaced = instead.is_some_and(|instead| usable(&instead) && instead != *version);
            !usable(version) || pinned(version) || (champion && !replaced)
        }
        Action::Release { version } => !forbidden(version),
    }
}

impl Decided {
    fn of(state: &DesiredState) -> Self {
        let DesiredState { champion, challenger, pins, quarantine, versions, .. } = state;
        Self {
            champion: *champion,
            challenger: challenger.clone(),
            pins: pins.clone(),
            quarantine: quarantine.iter().map(|of| (of.version, of.artifact)).collect(),
            versions: versions.clone(),
        }
    }

    /// What was decided before; for the first announcement, what a first version alone decides.
    fn before(before: Option<&DesiredState>, next: &DesiredState) -> Option<Self> {
        if let Some(before) = before {
            return Some(Self::of(before));
        }
        let founds = next.versions.len() == 1 && next.versions.first()?.version == Version::FIRST;
        founds.then(|| Self {
            champion: Version::FIRST,
            challenger: None,
            pins: Vec::new(),
            quarantine: Vec::new(),
            versions: Vec::new(),
        })
    }

    fn publish(
        &mut self,
        before: Option<&DesiredState>,
        artifact: Digest,
        cohort: Option<u16>,
        uploaded: &[Digest],
        next: &DesiredState,
    ) -> Result<(), String> {
        let number = self.versions.last().map_or(Version::FIRST, |entry| entry.version.next());
        let new = next.versions.last().filter(|entry| entry.version == number);
        let new = new.ok_or_else(|| format!("it does not introduce version {number}"))?;
        if new.artifact != artifact {
            return Err(format!("version {number} is artifact {}, published was {artifact}", new.artifact));
        }
        if !uploaded.contains(&new.manifest) {
            return Err(format!("its manifest {} was not the one that was read back", new.manifest));
        }
        self.versions.push(new.clone());
        match cohort {
            // Somebody must be everybody's: the first version is, whatever it was meant for.
            Some(basis_points) if before.is_some() => {
                let cohort = Cohort { basis_points, labels: Labels::new() };
                self.challenger = Some(Challenger { version: number, cohort });
            }
            _ => self.champion = number,
        }
        Ok(())
    }

    /// The newest version before the champion that nobody forbade.
    fn older(&self) -> Option<Version> {
        let forbidden = |version: Version| self.quarantine.iter().any(|(other, _)| *other == version);
        let versions = self.versions.iter().rev().map(|entry| entry.version);
        versions.into_iter().find(|version| *version < self.champion && !forbidden(*version))
    }

    fn forbid(&mut self, version: Version) {
        self.challenger.take_if(|challenger| challenger.version == version);
        let entry = self.versions.iter().find(|entry| entry.version == version);
        self.quarantine.extend(entry.map(|entry| (version, entry.artifact)));
        let surplus = self.quarantine.len().saturating_sub(QUARANTINE_MAX);
        self.quarantine.drain(..surplus);
    }

    /// The last 16 versions and those that somebody should run.
    fn trim(&mut self) {
        let named: Vec<Version> = [self.champion]
            .into_iter()
            .chain(self.challenger.iter().map(|challenger| challenger.version))
            .chain(self.pins.iter().map(|pin| pin.version))
            .collect();
        let surplus = self.versions.len().saturating_sub(VERSIONS_KEPT);
        let mut place = 0;
        self.versions.retain(|entry| {
            place += 1;
            place > surplus || named.contains(&entry.version)
        });
    }
}

/// The first difference, in words.
fn difference(expected: &Decided, found: &Decided) -> String {
    let targets = |pins: &[Pin]| -> Vec<(PinTarget, Version, String)> {
        pins.iter().map(|pin| (pin.target.clone(), pin.version, pin.stamp.reason.clone())).collect()
    };
    let forbidden =
        |of: &Decided| -> Vec<u64> { of.quarantine.iter().map(|(version, _)| version.get()).collect() };
    let versions =
        |of: &Decided| -> Vec<u64> { of.versions.iter().map(|entry| entry.version.get()).collect() };
    if expected.champion != found.champion {
        format!("the champion should be {} and is {}", expected.champion, found.champion)
    } else if expected.challenger != found.challenger {
        format!("the challenger should be {:?} and is {:?}", expected.challenger, found.challenger)
    } else if expected.pins != found.pins {
        format!("the pins should be {:?} and are {:?}", targets(&expected.pins), targets(&found.pins))
    } else if expected.quarantine != found.quarantine {
        format!("quarantined should be {:?} and are {:?}", forbidden(expected), forbidden(found))
    } else {
        format!("the versions should be {:?} and are {:?}", versions(expected), versions(found))
    }
}
