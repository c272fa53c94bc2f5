//! Somebody else's open transaction on the announcements: readers that wait for its end would wait for ever, ours
//! do not.

use std::time::Duration;

use modelcast::protocol::topic;
use modelcast::settings::KafkaSettings;
use modelcast_testcontainers::{Ability, offers};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::support::scene::Scene;
use crate::support::{DEADLINE, linear, runtime, wait_for};

const MODEL: &str = "price";
const FOREIGN: &[u8] = b"what a foreign producer writes";
/// The broker's longest; it ends no transaction of ours before the test does.
const TRANSACTION_MS: &str = "900000";
const POLL: Duration = Duration::from_millis(100);

fn config(kafka: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    config
}

/// A producer whose transaction is open, with a record in the announcements.
fn open_transaction(kafka: &KafkaSettings) -> BaseProducer {
    let mut config = config(kafka);
    config.set("transactional.id", format!("foreign-{}", kafka.namespace));
    let producer: BaseProducer = config.set("transaction.timeout.ms", TRANSACTION_MS).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    let topic = topic::announcements(&kafka.namespace).name;
    producer.send(BaseRecord::to(&topic).partition(0).key("foreign").payload(FOREIGN)).unwrap();
    producer.flush(DEADLINE).unwrap();
    producer
}

/// How many announcements a reader at this level gets to see.
struct Reader(BaseConsumer, usize);

impl Reader {
    fn new(kafka: &KafkaSettings, isolation: &str) -> Self {
        let mut config = config(kafka);
        config.set("group.id", "foreign").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.set("isolation.level", isolation).create().unwrap();
        let mut all = TopicPartitionList::new();
        let topic = topic::announcements(&kafka.namespace).name;
        all.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&all).unwrap();
        Self(consumer, 0)
    }

    fn seen(&mut self) -> usize {
        while let Some(record) = self.0.poll(POLL) {
            self.1 += usize::from(record.unwrap().payload() != Some(FOREIGN));
        }
        self.1
    }
}

#[test]
fn a_rollback_arrives_while_a_foreign_transaction_is_open() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let (runtime, scene) = (runtime(), Scene::new("foreign", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    let app = scene.app("app-1", &[MODEL]);
    for weight in [1.0, 2.0] {
        runtime.block_on(linear::publish(&publisher, linear::request(MODEL, weight)));
    }
    app.wait_until_live(MODEL, 2, 2);

    let foreign = open_transaction(&scene.kafka);
    scene.modelcast(&["rollback", MODEL, "--reason", "a story"]).must_end_with(0);
    app.wait_until_live(MODEL, 1, 3);
    // Who starts now reads past it too.
    let late = scene.app("app-2", &[MODEL]);
    late.wait_until_live(MODEL, 1, 3);

    // It really was in the way: who reads only what is committed does not see the rollback.
    let mut committed = Reader::new(&scene.kafka, "read_committed");
    let mut all = Reader::new(&scene.kafka, "read_uncommitted");
    wait_for("all announcements", || (all.seen() == 3).then_some(()));
    wait_for("those before the transaction", || (committed.seen() == 2).then_some(()));
    assert_eq!(committed.seen(), 2);
    // And it still is open: one that had ended could not be aborted.
    foreign.abort_transaction(DEADLINE).unwrap();
    wait_for("the rollback, now for everybody", || (committed.seen() == 3).then_some(()));
}
