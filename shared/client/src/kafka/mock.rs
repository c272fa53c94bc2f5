//! librdkafka's mock brokers, for what a test cannot have real ones answer.

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

pub(crate) use rdkafka::types::{RDKafkaApiKey as ApiKey, RDKafkaRespErr as Answer};

use crate::settings::KafkaSettings;

pub(crate) type Brokers = MockCluster<'static, DefaultProducerContext>;

/// Three, with a topic of one partition.
pub(crate) fn brokers(topic: &str) -> Brokers {
    let brokers = MockCluster::new(3).unwrap();
    brokers.create_topic(topic, 1, 3).unwrap();
    brokers
}

/// Where they are.
pub(crate) fn settings(brokers: &Brokers) -> KafkaSettings {
    KafkaSettings { bootstrap_servers: brokers.bootstrap_servers(), ..KafkaSettings::default() }
}
