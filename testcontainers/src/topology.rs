//! What a broker tells a client about its cluster: who is in it, who leads what, who is in sync.
//!
//! # Invariants
//! * Each look asks with a new client, so that it is the broker at that address that answers, and not whom it named.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;

use crate::node::BrokerId;

/// Who answers on a connection to an address that was given, and not learned.
const BOOTSTRAP: i32 = -1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topology {
    brokers: Vec<BrokerId>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) topic: String,
    pub(crate) number: i32,
    /// `None` while there is none.
    pub(crate) leader: Option<BrokerId>,
    pub(crate) replicas: Vec<BrokerId>,
    in_sync: Vec<BrokerId>,
}

/// What every client of the kit says.
pub(crate) fn client(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200");
    config
}

/// Asks the broker at an address.
pub(crate) fn ask(address: &str, within: Duration) -> KafkaResult<Topology> {
    let until = Instant::now() + within;
    loop {
        let client: BaseConsumer = client(address).create()?;
        let metadata = client.fetch_metadata(None, within)?;
        // Once a client knows the others it may turn to one of them: then another client is asked.
        if metadata.orig_broker_id() == BOOTSTRAP || Instant::now() > until {
            return Ok(Topology::from(&metadata));
        }
    }
}

impl Topology {
    /// The first thing that one of these brokers lacks to be in the cluster, and in sync for each partition that one
    /// of them leads or that has all its replicas on them.
    pub(crate) fn lack(&self, expected: &[BrokerId]) -> Option<String> {
        if let Some(missing) = expected.iter().find(|id| !self.brokers.contains(id)) {
            return Some(format!("broker {missing} is not in the cluster"));
        }
        // Whoever was in sync last may be away; until that one is back nobody can catch up.
        let may_wait = |partition: &&Partition| {
            let is_expected = |id: &BrokerId| expected.contains(id);
            !partition.leader.as_ref().is_some_and(is_expected) && !partition.replicas.iter().all(is_expected)
        };
        let behind = |partition: &Partition| {
            let late = |id: &&BrokerId| partition.replicas.contains(id) && !partition.in_sync.contains(id);
            let late = expected.iter().find(late)?;
            Some(format!("broker {late} is not in sync for {}-{}", partition.topic, partition.number))
        };
        self.partitions.iter().filter(|partition| !may_wait(partition)).find_map(behind)
    }

    /// The partitions of a topic; none where it is missing.
    pub(crate) fn partitions_of(&self, topic: &str) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(move |partition| partition.topic == topic)
    }
}

impl From<&Metadata> for Topology {
    fn from(metadata: &Metadata) -> Self {
        let ids = |numbers: &[i32]| numbers.iter().copied().map(BrokerId::from_kafka).collect();
        let partitions = metadata.topics().iter().flat_map(|topic| {
            topic.partitions().iter().map(move |partition| Partition {
                topic: topic.name().to_owned(),
                number: partition.id(),
                leader: (partition.leader() >= 0).then(|| BrokerId::from_kafka(partition.leader())),
                replicas: ids(partition.replicas()),
                in_sync: ids(partition.isr()),
            })
        });
        let brokers = metadata.brokers().iter().map(|broker| BrokerId::from_kafka(broker.id())).collect();
        Self { brokers, partitions: partitions.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_lacks_its_place_or_a_partition_of_its_own() {
        let ids = |numbers: &[i32]| numbers.iter().copied().map(BrokerId::from_kafka).collect::<Vec<_>>();
        let check = |brokers: &[i32], leader: i32, in_sync: &[i32], expected: &[i32], lack: Option<&str>| {
            let partition = Partition {
                topic: "t".into(),
                number: 4,
                leader: (leader > 0).then(|| BrokerId::from_kafka(leader)),
                replicas: ids(&[1, 2, 3]),
                in_sync: ids(in_sync),
            };
            let topology = Topology { brokers: ids(brokers), partitions: vec![partition] };
            assert_eq!(topology.lack(&ids(expected)).as_deref(), lack);
        };
        check(&[1, 2, 3], 1, &[3, 2, 1], &[1, 2, 3], None);
        check(&[1, 2], 1, &[1, 2], &[1, 2], None);
        check(&[1, 2], 1, &[1, 2], &[1, 2, 3], Some("broker 3 is not in the cluster"));
        check(&[1, 2, 3], 1, &[1, 2], &[1, 2, 3], Some("broker 3 is not in sync for t-4"));
        check(&[1, 2], 1, &[1], &[1, 2], Some("broker 2 is not in sync for t-4"));
        // Only broker 3 has all, and it is away, known to be so or not yet.
        check(&[1, 2], 0, &[3], &[1, 2], None);
        check(&[1, 2, 3], 3, &[3], &[1, 2], None);
        check(&[1, 2, 3], 0, &[3], &[1, 2, 3], Some("broker 1 is not in sync for t-4"));
    }
}
