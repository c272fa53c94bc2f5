//! The version that was champion at a record's timestamp, with the versions that were needed last in memory.
//!
//! The history is read from the announcements and the audit topic, and again when the subscriber has seen a newer
//! generation. Blocks: belongs on the thread of the stream.
//!
//! # Invariants
//! * A version is fetched and admitted as a subscriber does it.
//! * Artifacts in memory stay below the cap, or it is one alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use modelcast::{
    Catalog, FetchError, KafkaError, LiveModel, LoadedModel, admission::Policy, catalog::Champion,
    settings::KafkaSettings,
};
use modelcast_protocol::{Digest, Generation, key::TrustedKeys};
use tokio::runtime::Handle;
use tracing::{info, warn};

/// Most refused versions that are remembered, so that each is not fetched for every record.
const REFUSED_MAX: usize = 1_024;

/// The champions of one model.
pub(super) struct Versions {
    kafka: KafkaSettings,
    keys: TrustedKeys,
    /// Once Kafka was reached.
    catalog: Option<Catalog>,
    live: LiveModel,
    policy: Policy,
    runtime: Handle,
    max_bytes: u64,
    history: Vec<Champion>,
    /// The generation that was in force when the history was read.
    read_at: Generation,
    /// Used last at the end.
    loaded: VecDeque<Arc<LoadedModel>>,
    refused: HashMap<Digest, String>,
}

/// Who scores a record.
pub(super) enum Found {
    /// This version.
    Version(Arc<LoadedModel>),
    /// None, and why: the record is a dead letter.
    None(String),
}

impl Versions {
    pub(super) fn new(
        kafka: KafkaSettings,
        keys: TrustedKeys,
        live: LiveModel,
        policy: Policy,
        runtime: Handle,
        max_bytes: u64,
    ) -> Self {
        Self {
            kafka,
            keys,
            catalog: None,
            live,
            policy,
            runtime,
            max_bytes,
            history: Vec::new(),
            read_at: Generation::ZERO,
            loaded: VecDeque::new(),
            refused: HashMap::new(),
        }
    }

    /// Reads the history again if there is news.
    pub(super) fn refresh(&mut self) -> Result<(), KafkaError> {
        let seen = self.live.state().generation_seen;
        if seen <= self.read_at && !self.history.is_empty() {
            return Ok(());
        }
        let catalog = self.catalog()?;
        self.history = self.runtime.block_on(catalog.champions(self.live.name()))?;
        self.read_at = seen;
        let first = self.history.first().map(|champion| champion.since_unix_ms);
        info!(champions = self.history.len(), first_unix_ms = first, generation = %seen, "history read");
        Ok(())
    }

    fn catalog(&mut self) -> Result<Catalog, KafkaError> {
        if let Some(catalog) = &self.catalog {
            return Ok(catalog.clone());
        }
        let catalog = self.runtime.block_on(Catalog::connect(&self.kafka, &self.keys))?;
        Ok(self.catalog.insert(catalog).clone())
    }

    /// The generation whose champion scores a record of this time; else why none does.
    pub(super) fn champion(&self, unix_ms: Option<i64>) -> Result<Generation, String> {
        let unix_ms = unix_ms.ok_or("the record has no timestamp")?;
        let champion = champion_at(&self.history, unix_ms);
        let missing = || format!("{} had no champion yet at {unix_ms} (Unix milliseconds)", self.live.name());
        champion.map(|champion| champion.generation).ok_or_else(missing)
    }

    /// The champion of a generation that [`champion`](Self::champion) gave.
    pub(super) fn load(&mut self, generation: Generation) -> Result<Found, KafkaError> {
        let champion = self.history.iter().find(|champion| champion.generation == generation);
        let Some(entry) = champion.and_then(|champion| champion.version.clone()) else {
            let cause = "this program does not understand: upgrade it";
            return Ok(Found::None(format!(
                "generation {generation} names a champion in a form that {cause}"
            )));
        };
        if let Some(cause) = self.refused.get(&entry.manifest) {
            return Ok(Found::None(cause.clone()));
        }
        let resident = |model: &Arc<LoadedModel>| model.digest() == entry.manifest;
        if let Some(place) = self.loaded.iter().position(resident)
            && let Some(model) = self.loaded.remove(place)
        {
            self.loaded.push_back(Arc::clone(&model));
            return Ok(Found::Version(model));
        }
        info!(version = %entry.version, %generation, "fetching a version of the past");
        let catalog = self.catalog()?;
        let fetched = catalog.version(self.live.name(), &entry, generation, &self.policy, Arc::new(|_| {}));
        match self.runtime.block_on(fetched) {
            Ok(model) => Ok(Found::Version(self.keep(Arc::new(model)))),
            Err(FetchError::Kafka(error)) => Err(error),
            // A full disk passes, and says nothing of the version.
            Err(FetchError::Store(cause)) => {
                Err(KafkaError::Transient { what: "a version of the past on this disk".to_owned(), cause })
            }
            Err(error) => {
                let cause = format!("version {} cannot be had any more: {error}", entry.version);
                warn!(cause, "records of its time go to the dead letters");
                if self.refused.len() < REFUSED_MAX {
                    self.refused.insert(entry.manifest, cause.clone());
                }
                Ok(Found::None(cause))
            }
        }
    }

    fn keep(&mut self, model: Arc<LoadedModel>) -> Arc<LoadedModel> {
        let bytes = |model: &Arc<LoadedModel>| model.manifest().size_bytes;
        let mut held = self.loaded.iter().map(bytes).fold(bytes(&model), u64::saturating_add);
        while held > self.max_bytes
            && let Some(oldest) = self.loaded.pop_front()
        {
            held -= bytes(&oldest);
        }
        self.loaded.push_back(Arc::clone(&model));
        model
    }
}

/// The last one that became champion at or before this time.
fn champion_at(history: &[Champion], unix_ms: i64) -> Option<&Champion> {
    // Rising: the log has them in order, and brokers stamp them in order.
    let after = history.partition_point(|champion| champion.since_unix_ms <= unix_ms);
    history.get(after.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_champion_reigns_from_its_announcement_to_the_next() {
        let champion = |since_unix_ms, generation| Champion {
            since_unix_ms,
            generation: Generation::new(generation),
            version: None,
        };
        let history = [champion(100, 1), champion(200, 2), champion(300, 5)];
        let rows =
            [(99, None), (100, Some(1)), (199, Some(1)), (200, Some(2)), (299, Some(2)), (300, Some(5))];
        for (at, expected) in rows {
            let found = champion_at(&history, at).map(|champion| champion.generation.get());
            assert_eq!(found, expected, "{at}");
        }
        assert!(champion_at(&[], 100).is_none());
    }
}
