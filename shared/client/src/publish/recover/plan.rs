//! What a recovery has to do: a pure function of what was found.
//!
//! # Invariants
//! * Announcements are restored as they were only where they continue what is in force: then nobody is contradicted.
//! * What is announced ends above every generation that anybody reports, so that everybody follows it.

use std::{collections::BTreeMap, ops::RangeInclusive};

use modelcast_protocol::{
    Digest, Generation, InstanceName,
    fold::{Continuity, Held, InForce, continuity},
    status::{Status, StatusVersion},
};
use serde::Serialize;

/// What an instance reports to have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// Which.
    pub instance: InstanceName,
    /// The highest generation that it has followed.
    pub generation: Generation,
    /// That announcement, where it says.
    pub announcement: Option<Digest>,
    /// What it serves.
    pub served: Option<StatusVersion>,
    /// When it said so, Unix milliseconds by its clock.
    pub at_unix_ms: u64,
}

/// A verified announcement of the model, found outside of the announcements topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// What it says; its offset is that in the place where it was found.
    pub(super) announcement: InForce,
    /// Where.
    pub(super) place: Place,
}

/// Where an announcement was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the announcements topic.
    Log,
    /// In the audit topic.
    Audit,
    /// Given by the operator: a backup, or the state folder of an instance.
    Given,
}

/// All that was found.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// What is in force in the log.
    pub(super) in_force: Option<InForce>,
    /// What was found elsewhere.
    pub(super) found: Vec<Found>,
    /// What the instances report.
    pub(super) witnesses: Vec<Witness>,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Who has seen what the log does not have.
    pub(super) lost: Vec<Witness>,
    /// What to append as it was, in this order.
    pub(super) restore: Vec<Found>,
    /// The newest announcement there is, and where it was found.
    pub(super) newest: Option<Found>,
    /// The generations to announce after that; none where what is restored is all that was lost.
    pub(super) announce: Option<RangeInclusive<u64>>,
}

impl Witness {
    pub(super) fn of(status: &Status) -> Self {
        Self {
            instance: status.instance.clone(),
            generation: status.generation_seen,
            announcement: status.announcement_seen,
            served: status
                .served
                .map(|served| StatusVersion { version: served.version, manifest: served.manifest }),
            at_unix_ms: status.at_unix_ms,
        }
    }

    /// Whether it has seen what a log that ends with `now` does not have.
    fn misses(&self, now: Option<&InForce>) -> bool {
        match self.announcement {
            _ if self.generation == Generation::ZERO => false,
            Some(digest) => {
                let held = Held { generation: self.generation, digest };
                continuity(Some(held), now) == Continuity::Lost
            }
            None => self.generation > now.map_or(Generation::ZERO, InForce::generation),
        }
    }
}

impl Evidence {
    /// What has to be done, or nothing where nothing is lost. `own` asks for an announcement even where what is
    /// restored would do.
    pub(super) fn plan(&self, own: bool) -> Option<Plan> {
        let lost = self.missing(self.in_force.as_ref());
        let restore = match &self.in_force {
            None => self.newest_found().into_iter().cloned().collect(),
            Some(in_force) => self.continuation(in_force),
        };
        if lost.is_empty() && restore.is_empty() {
            return None;
        }
        let reached = restore.last().map(|found| &found.announcement).or(self.in_force.as_ref());
        let newest = self.newest(reached, restore.last());
        let still_lost = self.missing(reached);
        let announce = (own || !still_lost.is_empty()).then(|| {
            let reported = still_lost.iter().map(|witness| witness.generation);
            let known = newest.iter().map(|newest| newest.announcement.generation());
            let highest = reported.chain(known).max().unwrap_or(Generation::ZERO).get();
            let last = highest.saturating_add(1);
            // Without any record the first one founds the model, at whatever generation.
            reached.map_or(last, |reached| reached.generation().get().saturating_add(1))..=last
        });
        Some(Plan { lost, restore, newest, announce })
    }

    fn missing(&self, now: Option<&InForce>) -> Vec<Witness> {
        self.witnesses.iter().filter(|witness| witness.misses(now)).cloned().collect()
    }

    /// The announcements that go on from `in_force` without a gap, each computed from the one before.
    fn continuation(&self, in_force: &InForce) -> Vec<Found> {
        let mut by_generation: BTreeMap<Generation, Vec<&Found>> = BTreeMap::new();
        for found in &self.found {
            by_generation.entry(found.announcement.generation()).or_default().push(found);
        }
        let mut tail: Vec<Found> = Vec::new();
        loop {
            let last = tail.last().map_or(in_force, |found| &found.announcement);
            let next = last.generation().next().and_then(|next| by_generation.get(&next));
            let follows = |found: &&&Found| {
                found.announcement.announcement.frame.recent.last() == Some(&last.announcement.digest)
            };
            let next = next.into_iter().flatten().filter(follows).max_by_key(|found| self.seen_by(found));
            match next {
                Some(found) => tail.push((*found).clone()),
                None => return tail,
            }
        }
    }

    /// The newest announcement outside of the log; of several at one generation the one that most instances have seen.
    fn newest_found(&self) -> Option<&Found> {
        self.found.iter().max_by_key(|found| (found.announcement.generation(), self.seen_by(found)))
    }

    fn newest(&self, reached: Option<&InForce>, restored: Option<&Found>) -> Option<Found> {
        let place = restored.map_or(Place::Log, |found| found.place);
        let reached = reached.map(|reached| Found { announcement: reached.clone(), place });
        let newer = self.newest_found().filter(|found| {
            reached
                .as_ref()
                .is_none_or(|reached| found.announcement.generation() > reached.announcement.generation())
        });
        newer.cloned().or(reached)
    }

    fn seen_by(&self, found: &Found) -> usize {
        let digest = Some(found.announcement.announcement.digest);
        self.witnesses.iter().filter(|witness| witness.announcement == digest).count()
    }
}

#[cfg(test)]
mod tests;
