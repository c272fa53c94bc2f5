//! Which version was champion since when: for scoring records of the past.
//!
//! An announcement took force when the broker appended its record, not when its author says. Housekeeping copies and
//! cuts records; the audit topic keeps copies of what was committed. So of all records of one announcement the earliest
//! time counts, and the hash chain tells which announcements belong to the history.
//!
//! # Invariants
//! * Only what is in force, and what its chain of predecessors names, is believed.

use std::{collections::HashMap, time::Instant};

use modelcast_protocol::{
    Digest, Generation, ModelName,
    announcement::{self, Announcement},
    desired::VersionEntry,
    fold::Step,
    topic,
};
use tracing::warn;

use super::{Catalog, LOG_DEADLINE, blocking};
use crate::{
    announcements::{AnnouncementLog, Look},
    kafka::{
        KafkaError,
        connect::Purpose,
        reader::{From, Read, Reader, Record},
    },
};

/// Most announcements of one model that are kept: at some kilobytes each, a minute's rollback for two years.
const ANNOUNCEMENTS_MAX: usize = 100_000;

/// A version that became champion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Champion {
    /// When the broker appended the announcement, Unix milliseconds.
    pub since_unix_ms: i64,
    /// The generation of that announcement.
    pub generation: Generation,
    /// Which version; `None` where this program does not understand the announcement.
    pub version: Option<VersionEntry>,
}

impl Catalog {
    /// Which version was champion since when, oldest first, from the announcements and the audit topic. A new one
    /// begins only where the version differs from the one before.
    ///
    /// # Errors
    /// [`KafkaError`] when the topics cannot be read.
    pub async fn champions(&self, model: &ModelName) -> Result<Vec<Champion>, KafkaError> {
        let (catalog, model) = (self.clone(), model.clone());
        blocking("reading the history", move || {
            let mut found = Found { model, by_digest: HashMap::new(), overflow: false };
            let newest = catalog.read_log(&mut found)?;
            catalog.read_audit(&mut found)?;
            found.champions(newest)
        })
        .await
    }

    /// Takes in what took force; gives the digest of what is in force.
    fn read_log(&self, found: &mut Found) -> Result<Option<Digest>, KafkaError> {
        let mut log = AnnouncementLog::open(&self.kafka, &self.keys, Purpose::Scan)?;
        loop {
            match log.look_until(Instant::now() + LOG_DEADLINE)? {
                Look::End => break,
                Look::Record(Step::TookForce(of)) if of == found.model => {
                    if let Some(now) = log.fold().in_force(&of) {
                        found.take(now.announcement.clone(), log.youngest_unix_ms());
                    }
                }
                Look::Record(_) | Look::Nothing => {}
            }
        }
        Ok(log.fold().in_force(&found.model).map(|now| now.announcement.digest))
    }

    fn read_audit(&self, found: &mut Found) -> Result<(), KafkaError> {
        let topic = topic::audit(&self.kafka.namespace);
        let reader =
            Reader::open(&self.kafka, Purpose::Scan, &topic.name, topic.partitions, From::Beginning)?;
        // For each record: of years of copies there may be more than come within one deadline.
        let next = || reader.read_until(Instant::now() + LOG_DEADLINE);
        while let Read::Record(Record { key, value, at_unix_ms, .. }) = next()? {
            if key != found.model.as_str().as_bytes() {
                continue;
            }
            // What does not verify is as if it were not there.
            if let Ok(announcement) = announcement::open(&value.unwrap_or_default(), &self.keys)
                && announcement.frame.namespace == self.kafka.namespace
                && announcement.frame.model == found.model
            {
                found.take(announcement, at_unix_ms);
            }
        }
        Ok(())
    }
}

/// Announcements of one model, each once, at its earliest time.
struct Found {
    model: ModelName,
    by_digest: HashMap<Digest, Entry>,
    overflow: bool,
}

struct Entry {
    since_unix_ms: i64,
    generation: Generation,
    recent: Vec<Digest>,
    version: Option<VersionEntry>,
}

impl Found {
    fn take(&mut self, announcement: Announcement, at_unix_ms: Option<i64>) {
        let Some(at_unix_ms) = at_unix_ms else { return };
        if let Some(before) = self.by_digest.get_mut(&announcement.digest) {
            before.since_unix_ms = before.since_unix_ms.min(at_unix_ms);
            return;
        }
        if self.by_digest.len() >= ANNOUNCEMENTS_MAX {
            self.overflow = true;
            return;
        }
        let version = announcement.body.ok().and_then(|mut state| {
            let place = state.versions.iter().position(|entry| entry.version == state.champion)?;
            Some(state.versions.swap_remove(place))
        });
        let (generation, recent) = (announcement.frame.generation, announcement.frame.recent);
        let entry = Entry { since_unix_ms: at_unix_ms, generation, recent, version };
        self.by_digest.insert(announcement.digest, entry);
    }

    /// From what is in force back along the chain.
    fn champions(mut self, newest: Option<Digest>) -> Result<Vec<Champion>, KafkaError> {
        if self.overflow {
            let what = format!("the history of {}", self.model);
            let cause = format!("it has more than {ANNOUNCEMENTS_MAX} announcements");
            return Err(KafkaError::Refused { what, cause });
        }
        let mut newest_first = Vec::new();
        let mut next = newest.and_then(|digest| self.by_digest.remove(&digest));
        let mut latest_unix_ms = i64::MAX;
        while let Some(mut entry) = next {
            // The nearest predecessor that was found: one whose copy is missing is passed over.
            next = entry.recent.iter().rev().find_map(|digest| self.by_digest.remove(digest));
            let missing = next
                .as_ref()
                .map_or(0, |before| entry.generation.get().saturating_sub(before.generation.get() + 1));
            if missing > 0 {
                let generation = entry.generation;
                warn!(%generation, missing, "announcements of the history are in no topic any more");
            }
            // A copy that came late, of an announcement that was cut off: it was in force before its successor.
            entry.since_unix_ms = entry.since_unix_ms.min(latest_unix_ms);
            latest_unix_ms = entry.since_unix_ms;
            newest_first.push(entry);
        }
        let mut champions: Vec<Champion> = Vec::new();
        for Entry { since_unix_ms, generation, version, .. } in newest_first.into_iter().rev() {
            let is_same = |before: &Champion| {
                let manifest = |version: &Option<VersionEntry>| version.as_ref().map(|entry| entry.manifest);
                manifest(&before.version) == manifest(&version)
            };
            if !champions.last().is_some_and(is_same) {
                champions.push(Champion { since_unix_ms, generation, version });
            }
        }
        Ok(champions)
    }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::Version;

    use super::*;

    /// Announcements by generation, each with its time and version. Those that are `missing` are in no topic.
    fn found(announced: &[(i64, u64)], missing: &[usize]) -> Vec<(u64, i64, u64)> {
        let digest = |place: usize| Digest::of(&place.to_le_bytes());
        let entry = |(place, &(since_unix_ms, version)): (usize, &(i64, u64))| {
            let of_version = Digest::of(&version.to_le_bytes());
            let version = VersionEntry {
                version: Version::new(version).unwrap(),
                manifest: of_version,
                manifest_offset: 0,
                artifact: of_version,
                published_at_unix_ms: 0,
            };
            let generation = Generation::new(u64::try_from(place).unwrap() + 1);
            let recent = (0..place).map(digest).collect();
            (digest(place), Entry { since_unix_ms, generation, recent, version: Some(version) })
        };
        let mut by_digest: HashMap<_, _> = announced.iter().enumerate().map(entry).collect();
        missing.iter().for_each(|place| drop(by_digest.remove(&digest(*place))));
        let found = Found { model: ModelName::parse("price").unwrap(), by_digest, overflow: false };
        let champions = found.champions(announced.len().checked_sub(1).map(digest)).unwrap();
        let shown = |champion: Champion| {
            (champion.generation.get(), champion.since_unix_ms, champion.version.unwrap().version.get())
        };
        champions.into_iter().map(shown).collect()
    }

    #[test]
    fn a_champion_reigns_from_its_own_announcement_to_the_next_ones() {
        type Row = (&'static [(i64, u64)], &'static [usize], &'static [(u64, i64, u64)]);
        let rows: [Row; 6] = [
            (&[], &[], &[]),
            (&[(10, 1), (20, 2), (30, 1)], &[], &[(1, 10, 1), (2, 20, 2), (3, 30, 1)]),
            // What changes no champion begins nothing.
            (&[(10, 1), (20, 1), (30, 2)], &[], &[(1, 10, 1), (3, 30, 2)]),
            // Of the second only a copy is left, which was made after the third was announced.
            (&[(10, 1), (90, 2), (30, 3)], &[], &[(1, 10, 1), (2, 30, 2), (3, 30, 3)]),
            // Late copies one after the other, none later than what came after them.
            (&[(95, 1), (90, 2), (30, 3)], &[], &[(1, 30, 1), (2, 30, 2), (3, 30, 3)]),
            // The nearest that there is goes before; the first of all reigned until then.
            (&[(10, 1), (20, 2), (30, 3), (40, 4)], &[1, 2], &[(1, 10, 1), (4, 40, 4)]),
        ];
        for (announced, missing, expected) in rows {
            assert_eq!(found(announced, missing), expected, "{announced:?} without {missing:?}");
        }
    }

    #[test]
    fn what_no_chain_leads_to_was_never_in_force() {
        let mut found =
            Found { model: ModelName::parse("price").unwrap(), by_digest: HashMap::new(), overflow: false };
        for (digest, generation) in [(Digest::of(b"own"), 2), (Digest::of(b"stranger"), 1)] {
            let (generation, recent) = (Generation::new(generation), vec![Digest::of(b"lost")]);
            found.by_digest.insert(digest, Entry { since_unix_ms: 1, generation, recent, version: None });
        }
        let champions = found.champions(Some(Digest::of(b"own"))).unwrap();
        assert_eq!(champions, [Champion { since_unix_ms: 1, generation: Generation::new(2), version: None }]);
    }
}
