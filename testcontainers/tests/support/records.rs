//! Topics as they are: all records, without Modelcast's reader between.

use std::time::Duration;

use modelcast::protocol::announcement;
use modelcast::protocol::key::TrustedKeys;
use modelcast::protocol::{Generation, topic};
use modelcast::settings::KafkaSettings;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::DEADLINE;

/// The values of partition 0 of a topic, in order.
pub(crate) fn values(kafka: &KafkaSettings, topic: &str) -> Vec<Vec<u8>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("allow.auto.create.topics", "false")
        .set("group.id", "records")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut values = Vec::new();
    loop {
        match consumer.poll(DEADLINE).expect("a record, or the end") {
            Ok(record) => values.push(record.payload().unwrap_or_default().to_vec()),
            Err(KafkaError::PartitionEOF(_)) => return values,
            // It goes on by itself; there is a deadline for each.
            Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}

/// The records that announce this generation, whether or not they took force; of all models.
pub(crate) fn announcing(kafka: &KafkaSettings, keys: &TrustedKeys, generation: Generation) -> Vec<Vec<u8>> {
    let mut values = values(kafka, &topic::announcements(&kafka.namespace).name);
    values.retain(|value| announcement::open(value, keys).unwrap().frame.generation == generation);
    values
}
