//! What happens to topics behind everybody's back: deleted and created anew, copied elsewhere, cut.

use std::time::{Duration, Instant};

use modelcast::protocol::topic::TopicSpec;
use modelcast::settings::KafkaSettings;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::{DEADLINE, wait_for};

const SEND_DEADLINE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Key and value of a record.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

pub(crate) fn config(kafka: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    config
}

/// Deletes topics and creates them empty, with the settings that they must have.
pub(crate) async fn create_anew(kafka: &KafkaSettings, topics: &[TopicSpec]) {
    let admin: AdminClient<DefaultClientContext> = config(kafka).create().unwrap();
    let names: Vec<_> = topics.iter().map(|spec| spec.name.as_str()).collect();
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    for deleted in admin.delete_topics(&names, &options).await.unwrap() {
        deleted.unwrap();
    }
    let new: Vec<_> = topics
        .iter()
        .map(|spec| {
            let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(-1));
            spec.settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    // The controller refuses a name until the old topic is gone, and the broker takes a moment to hear of the new one.
    let mut missing = new.iter().collect::<Vec<_>>();
    let started = Instant::now();
    while !missing.is_empty() {
        assert!(started.elapsed() < DEADLINE, "Kafka still refuses {missing:?}");
        let created = admin.create_topics(missing.iter().copied(), &options).await.unwrap();
        let done: Vec<_> = created.iter().map(Result::is_ok).collect();
        let mut done = done.iter();
        missing.retain(|_| !done.next().unwrap());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for spec in topics {
        wait_for("the new topic", || is_known(kafka, &spec.name).then_some(()));
    }
}

/// Whether the broker at this address knows a topic and all its leaders. Not asked by the topic's name: with it a client
/// turns to the topic's leader.
pub(crate) fn is_known(kafka: &KafkaSettings, topic: &str) -> bool {
    let metadata = wait_for("an answer of this broker", || {
        let looker: BaseConsumer = config(kafka).create().unwrap();
        let metadata = looker.fetch_metadata(None, DEADLINE).unwrap();
        // Once a client knows the others it may turn to one of them; -1 answers where it was sent.
        (metadata.orig_broker_id() == -1).then_some(metadata)
    });
    metadata.topics().iter().find(|one| one.name() == topic).is_some_and(|topic| {
        let partitions = topic.partitions();
        !partitions.is_empty() && partitions.iter().all(|one| one.leader() >= 0)
    })
}

/// All records of partition 0, in order.
pub(crate) fn records(kafka: &KafkaSettings, topic: &str) -> Vec<Pair> {
    let mut config = config(kafka);
    config.set("group.id", "story").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    loop {
        match consumer.poll(DEADLINE) {
            Some(Ok(message)) => {
                let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
                records.push((bytes(message.key()), bytes(message.payload())));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return records,
            other => panic!("topic {topic}: {other:?}"),
        }
    }
}

/// Appends records to partition 0, in order.
pub(crate) async fn append(kafka: &KafkaSettings, topic: &str, records: &[Pair]) {
    let producer: FutureProducer = config(kafka).set("acks", "all").create().unwrap();
    for (key, value) in records {
        let record = FutureRecord::to(topic).partition(0).key(key).payload(value);
        producer.send(record, SEND_DEADLINE).await.unwrap();
    }
}

/// Removes every record of partition 0; the topic stays, and so do its offsets.
pub(crate) async fn cut_all(kafka: &KafkaSettings, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = config(kafka).create().unwrap();
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(topic, 0, Offset::End).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    admin.delete_records(&cut, &options).await.unwrap();
}
