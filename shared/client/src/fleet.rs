//! What the fleet reports: status records read from the fleet topic, and what they say about a desired state.
//!
//! Reads once, up to the end. Does not decide anything: a status informs people and publishers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use modelcast_protocol::{
    Digest, Generation, InstanceName, ModelName,
    desired::DesiredState,
    resolve::{Identity, resolve},
    status::{self, Phase, SILENT_AFTER_MS, Stage, Status},
    topic,
};
use tracing::debug;

use crate::{
    clock,
    kafka::{
        KafkaError,
        connect::Purpose,
        reader::{From, Read, Reader},
    },
    settings::KafkaSettings,
};

const DEADLINE: Duration = Duration::from_secs(20);
/// Most instances times models that are kept: a fleet far above what one topic of statuses is for.
const STATUSES_MAX: usize = 100_000;
/// Boot ids that are remembered of each: enough to see two processes take turns, however often one is restarted.
const BOOTS_KEPT: usize = 8;

/// The latest status of every instance of every model.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    statuses: BTreeMap<(ModelName, InstanceName), Status>,
    /// The last 8 boot ids that each instance reported, oldest first.
    boots: BTreeMap<(ModelName, InstanceName), VecDeque<String>>,
}

/// How an instance stands with what it should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It serves what it should.
    Live,
    /// It is on its way.
    Lagging,
    /// It refused what it should run.
    Refused {
        /// By which check.
        stage: Stage,
        /// For what reason.
        cause: String,
    },
    /// It gave no sign of life lately.
    Silent {
        /// For how long.
        silent_ms: u64,
    },
}

impl Fleet {
    /// Reads the fleet topic to its end.
    ///
    /// # Errors
    /// [`KafkaError`] when it cannot be read.
    pub async fn read(kafka: &KafkaSettings) -> Result<Self, KafkaError> {
        let kafka = kafka.clone();
        let read = tokio::task::spawn_blocking(move || Self::read_blocking(&kafka)).await;
        read.unwrap_or_else(|error| {
            Err(KafkaError::Transient { what: "reading the fleet".into(), cause: error.to_string() })
        })
    }

    pub(crate) fn read_blocking(kafka: &KafkaSettings) -> Result<Self, KafkaError> {
        let topic = topic::fleet(&kafka.namespace);
        let reader = Reader::open(kafka, Purpose::Scan, &topic.name, topic.partitions, From::Beginning)?;
        let deadline = Instant::now() + DEADLINE;
        let mut fleet = Self::default();
        // Each by its number: one that gets a record after its end ends once more.
        let mut reading: BTreeSet<i32> = (0..topic.partitions).collect();
        while !reading.is_empty() {
            match reader.read_until(deadline)? {
                Read::Record(record) => fleet.take(&record.key, record.value.as_deref()),
                Read::End { partition } => {
                    reading.remove(&partition);
                }
                Read::Nothing => {}
            }
        }
        Ok(fleet)
    }

    /// Takes in one record; what is not a status is passed over.
    pub fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(key) = std::str::from_utf8(key).ok().and_then(status::parse_key) else {
            debug!("record of the fleet topic without a status key ignored");
            return;
        };
        let Some(value) = value else {
            self.statuses.remove(&key);
            self.boots.remove(&key);
            return;
        };
        match Status::decode(value) {
            Ok(status) if (&status.model, &status.instance) == (&key.0, &key.1) => {
                if self.statuses.len() < STATUSES_MAX || self.statuses.contains_key(&key) {
                    let boots = self.boots.entry(key.clone()).or_default();
                    if boots.back() != Some(&status.boot_id) {
                        boots.push_back(status.boot_id.clone());
                        let surplus = boots.len().saturating_sub(BOOTS_KEPT);
                        boots.drain(..surplus);
                    }
                    self.statuses.insert(key, status);
                }
            }
            Ok(_) => debug!("status under another key ignored"),
            Err(error) => debug!(%error, "status not understood"),
        }
    }

    /// All statuses of a model, by instance.
    pub fn of(&self, model: &ModelName) -> impl Iterator<Item = &Status> {
        self.statuses.iter().filter(move |((of, _), _)| of == model).map(|(_, status)| status)
    }

    /// All statuses, by model and instance.
    pub fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.statuses.values()
    }

    /// Whether two processes take turns under one name: a boot id came back after another.
    #[must_use]
    pub fn is_contested(&self, model: &ModelName, instance: &InstanceName) -> bool {
        let Some(boots) = self.boots.get(&(model.clone(), instance.clone())) else { return false };
        boots.iter().enumerate().any(|(place, boot)| boots.iter().skip(place + 2).any(|later| later == boot))
    }

    /// The highest generation of a model that somebody reports, with who does.
    #[must_use]
    pub fn highest_generation(&self, model: &ModelName) -> Option<(Generation, &InstanceName)> {
        self.of(model).map(|status| (status.generation_seen, &status.instance)).max_by_key(|(seen, _)| *seen)
    }
}

/// How an instance stands with the desired state in force, by the reader's clock.
#[must_use]
pub fn standing(status: &Status, desired: Option<&DesiredState>) -> Standing {
    let silent_ms = clock::unix_ms().saturating_sub(status.at_unix_ms);
    if silent_ms > SILENT_AFTER_MS {
        return Standing::Silent { silent_ms };
    }
    let identity = Identity { instance: status.instance.clone(), labels: status.labels.clone() };
    let wanted: Option<Digest> = desired
        .and_then(|desired| resolve(&status.model, desired, &identity))
        .map(|wanted| wanted.entry.manifest);
    match &status.phase {
        _ if wanted.is_none() => Standing::Live,
        _ if status.served.map(|served| served.manifest) == wanted => Standing::Live,
        Phase::Refused { stage, cause } if status.wanted.map(|of| of.manifest) == wanted => {
            Standing::Refused { stage: *stage, cause: cause.clone() }
        }
        _ => Standing::Lagging,
    }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::{Version, status::Served};

    use super::*;

    fn status(boot_id: &str, generation: u64) -> Status {
        Status {
            v: 1,
            model: "price".parse().unwrap(),
            instance: "a".parse().unwrap(),
            boot_id: boot_id.into(),
            sequence: 1,
            at_unix_ms: clock::unix_ms(),
            labels: [].into(),
            phase: Phase::Live,
            wanted: None,
            served: Some(Served {
                version: Version::FIRST,
                manifest: Digest::of(b"manifest"),
                generation: Generation::new(generation),
                since_unix_ms: 0,
            }),
            generation_seen: Generation::new(generation),
            announcement_seen: None,
            warnings: Vec::new(),
            traffic: status::Traffic::default(),
        }
    }

    fn fleet(boots: impl IntoIterator<Item = String>) -> Fleet {
        let mut fleet = Fleet::default();
        for boot in boots {
            fleet.take(b"price/a", Some(&status(&boot, 3).encode().unwrap()));
        }
        fleet
    }

    fn is_contested(fleet: &Fleet) -> bool {
        fleet.is_contested(&"price".parse().unwrap(), &"a".parse().unwrap())
    }

    #[test]
    fn two_processes_that_take_turns_are_told_from_one_that_is_restarted() {
        let of = |boots: &[&str]| fleet(boots.iter().map(|&boot| boot.to_owned()));
        assert!(!is_contested(&of(&["a", "a", "b", "b", "c"])));
        assert!(is_contested(&of(&["a", "b", "a"])));
    }

    #[test]
    fn boots_are_bounded_however_often_an_instance_starts() {
        let restarts = (0..10_000).map(|boot| boot.to_string());
        let turns = ["x", "y", "x"].map(str::to_owned);
        let fleet = fleet(restarts.chain(turns));
        assert!(fleet.boots.values().all(|boots| boots.len() <= BOOTS_KEPT));
        assert!(is_contested(&fleet), "the latest count");
    }

    #[test]
    fn foreign_records_are_passed_over_and_a_withdrawal_forgets() {
        let mut fleet = fleet(["a".to_owned()]);
        let good = status("a", 9).encode().unwrap();
        let records: [(&[u8], &[u8]); 4] =
            [(b"price/b", &good), (b"\xff", &good), (b"price", &good), (b"price/a", b"no status")];
        for (key, value) in records {
            fleet.take(key, Some(value));
        }
        let price = "price".parse().unwrap();
        assert_eq!(fleet.highest_generation(&price).unwrap().0, Generation::new(3));
        fleet.take(b"price/a", None);
        assert_eq!((fleet.statuses().count(), fleet.boots.len()), (0, 0));
    }
}
