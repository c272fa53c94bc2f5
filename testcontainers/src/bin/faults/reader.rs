//! Reads what is there when all was over: announcements and status records, around the client that is under test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use modelcast::protocol::key::TrustedKeys;
use modelcast::protocol::status::Status;
use modelcast::protocol::topic::TopicSpec;
use modelcast::protocol::{announcement, topic};
use modelcast::settings::KafkaSettings;
use modelcast_testcontainers::history::{Announced, Event, Recorder, Reported};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const DEADLINE: Duration = Duration::from_secs(60);

/// A record: partition, offset, key, value.
type Record = (i32, i64, Vec<u8>, Option<Vec<u8>>);

/// Writes down every announcement, whether or not it took force.
pub(crate) fn announcements(
    kafka: &KafkaSettings,
    keys: &TrustedKeys,
    recorder: &Recorder,
) -> anyhow::Result<()> {
    for (_, offset, _, value) in read(kafka, &topic::announcements(&kafka.namespace))? {
        let opened = announcement::open(&value.unwrap_or_default(), keys);
        recorder.record(match opened.map(|opened| (opened.frame, opened.digest, opened.body)) {
            Ok((frame, digest, Ok(mut state))) => {
                state.inline = None;
                let (model, generation, recent) = (frame.model, frame.generation, frame.recent);
                Event::Announced(Announced { offset, model, generation, digest, recent, state })
            }
            Ok((_, _, Err(error))) => Event::NotVerified { offset, cause: error.to_string() },
            Err(error) => Event::NotVerified { offset, cause: error.to_string() },
        })?;
    }
    Ok(())
}

/// Writes down every status record.
pub(crate) fn statuses(kafka: &KafkaSettings, recorder: &Recorder) -> anyhow::Result<()> {
    for (partition, offset, _, value) in read(kafka, &topic::fleet(&kafka.namespace))? {
        // A withdrawn record says nothing.
        let Some(value) = value else { continue };
        let status = Box::new(Status::decode(&value).context("a status record is damaged")?);
        recorder.record(Event::Reported(Reported { partition, offset, status }))?;
    }
    Ok(())
}

/// All records of a topic, each partition in its order.
fn read(kafka: &KafkaSettings, topic: &TopicSpec) -> anyhow::Result<Vec<Record>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap_servers).set("group.id", "fault-run");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("auto.offset.reset", "error").set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..topic.partitions {
        list.add_partition_offset(&topic.name, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut reading: BTreeSet<i32> = (0..topic.partitions).collect();
    let (until, mut records) = (Instant::now() + DEADLINE, Vec::new());
    while !reading.is_empty() {
        if Instant::now() >= until {
            bail!("{} is not read to its end within {DEADLINE:?}", topic.name);
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Ok(message)) => records.push((
                message.partition(),
                message.offset(),
                message.key().unwrap_or_default().to_vec(),
                message.payload().map(<[u8]>::to_vec),
            )),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(reading.remove(&partition)),
            Some(Err(error)) => return Err(error).with_context(|| format!("cannot read {}", topic.name)),
        }
    }
    Ok(records)
}
