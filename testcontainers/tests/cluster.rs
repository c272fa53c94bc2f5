//! The cluster of the kit: what other tests take for granted of it, and that its faults really strike.
//!
//! Not for Modelcast's own behaviour.
//!
//! # Invariants
//! * Tests take turns at two clusters.
//! * Whatever is waited for has a deadline.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/machine.rs"]
mod machine;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use modelcast_testcontainers::{Ability, BrokerId, Cluster, Faults, offers};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use machine::{runs, shell};

const DEADLINE: Duration = Duration::from_secs(60);

fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.max.ms", "500")
        .set("socket.timeout.ms", "6000")
        .set("message.timeout.ms", "60000")
        .set("group.id", "unused")
        .set("acks", "all")
        .set("enable.idempotence", "true");
    config
}

/// A topic of one partition and its name.
fn topic(cluster: &Cluster, stem: &str) -> String {
    let topic = format!("{}.records", cluster.namespace(stem));
    let admin: AdminClient<DefaultClientContext> = client(cluster.direct_servers()).create().unwrap();
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(3));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    runtime.block_on(admin.create_topics([&new], &options)).unwrap()[0].as_ref().unwrap();
    cluster.leader(&topic, 0).unwrap();
    topic
}

/// Sends so many, and waits until all are acknowledged.
fn produce(producer: &BaseProducer, topic: &str, payloads: std::ops::Range<u32>) -> Result<(), KafkaError> {
    for payload in payloads {
        producer.send(BaseRecord::<(), str>::to(topic).partition(0).payload(&payload.to_string())).unwrap();
    }
    producer.flush(DEADLINE)
}

fn consume(servers: &str, topic: &str, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = client(servers).create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut found = Vec::new();
    let started = Instant::now();
    while found.len() < count && started.elapsed() < DEADLINE {
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(200)) {
            found.push(String::from_utf8(record.payload().unwrap().to_vec()).unwrap());
        }
    }
    found
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// In-sync replicas of the topic, as one broker tells that is asked around the proxies.
fn in_sync(cluster: &Cluster, broker: BrokerId, topic: &str) -> BTreeSet<i32> {
    let address =
        cluster.direct_servers().split(',').nth(usize::try_from(broker.get()).unwrap() - 1).unwrap();
    let consumer: BaseConsumer = client(address).create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).unwrap();
    metadata.topics()[0].partitions()[0].isr().iter().copied().collect()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_leader_hands_over_and_what_was_acknowledged_survives() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let topic = topic(&cluster, "kill");
    let producer: BaseProducer = client(cluster.bootstrap_servers()).create().unwrap();
    produce(&producer, &topic, 0..100).unwrap();
    let first = cluster.leader(&topic, 0).unwrap();

    cluster.kill(first).unwrap();
    let next = cluster.leader(&topic, 0).unwrap();
    assert_ne!(next, first);
    produce(&producer, &topic, 100..200).unwrap();
    assert_eq!(consume(cluster.bootstrap_servers(), &topic, 200), numbers(0..200));

    cluster.restart(first).unwrap();
    for broker in cluster.brokers() {
        assert_eq!(in_sync(&cluster, broker, &topic), BTreeSet::from([1, 2, 3]));
    }
    // What it missed while it was away it has now: with the one that had it all gone, nothing is missing.
    cluster.kill(next).unwrap();
    assert_ne!(cluster.leader(&topic, 0).unwrap(), next);
    assert_eq!(consume(cluster.direct_servers(), &topic, 200), numbers(0..200));
}

#[test]
fn a_frozen_leader_hands_over_and_is_in_sync_again_once_thawed() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let topic = topic(&cluster, "freeze");
    let first = cluster.leader(&topic, 0).unwrap();
    cluster.freeze(first).unwrap();
    assert_ne!(cluster.leader(&topic, 0).unwrap(), first);
    let producer: BaseProducer = client(cluster.bootstrap_servers()).create().unwrap();
    produce(&producer, &topic, 0..10).unwrap();

    cluster.thaw(first).unwrap();
    cluster.wait_until_in_sync().unwrap();
    assert_eq!(in_sync(&cluster, first, &topic), BTreeSet::from([1, 2, 3]));
}

#[test]
fn an_orderly_stop_hands_over_at_once() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let topic = topic(&cluster, "stop");
    let first = cluster.leader(&topic, 0).unwrap();
    cluster.stop(first).unwrap();
    let others: BTreeSet<_> = [1, 2, 3].into_iter().filter(|id| *id != first.get()).collect();
    let next = cluster.leader(&topic, 0).unwrap();
    assert!(others.contains(&next.get()));
    // A killed one stays until its session ends, 9 s; this one said that it goes.
    assert_eq!(in_sync(&cluster, next, &topic), others);
    assert!(cluster.log(first).unwrap().contains("shut down completed"));
    cluster.restart(first).unwrap();
    assert_eq!(in_sync(&cluster, next, &topic), BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_broker_whose_disk_is_full_ends_and_comes_back_once_it_is_free() {
    if !offers(&[Ability::Cluster, Ability::DiskFull]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let topic = topic(&cluster, "disk");
    let first = cluster.leader(&topic, 0).unwrap();
    cluster.fill_disk(first).unwrap();
    let producer: BaseProducer = client(cluster.bootstrap_servers()).create().unwrap();
    produce(&producer, &topic, 0..100).unwrap();
    assert_eq!(consume(cluster.bootstrap_servers(), &topic, 100), numbers(0..100));
    wait_for("the broker to end", || !runs(cluster.machine(), first.get()));
    assert_ne!(cluster.leader(&topic, 0).unwrap(), first);

    cluster.free_disk(first).unwrap();
    cluster.restart(first).unwrap();
    assert_eq!(in_sync(&cluster, first, &topic), BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_topic_anew_is_another_one_on_every_broker() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let topic = topic(&cluster, "anew");
    let producer: BaseProducer = client(cluster.bootstrap_servers()).create().unwrap();
    produce(&producer, &topic, 0..10).unwrap();
    let identities = || {
        let identity = |broker: BrokerId| {
            shell(cluster.machine(), &format!("cat data-{broker}/kafka/{topic}-0/partition.metadata"))
        };
        cluster.brokers().map(identity)
    };
    let before = identities();
    assert!(before[0].contains("topic_id") && before.iter().all(|one| *one == before[0]), "{before:?}");

    cluster.recreate_topic(&topic).unwrap();
    wait_for("every replica", || {
        identities().iter().all(|one| one.contains("topic_id") && *one != before[0])
    });
    let producer: BaseProducer = client(cluster.bootstrap_servers()).create().unwrap();
    produce(&producer, &topic, 50..51).unwrap();
    assert_eq!(consume(cluster.bootstrap_servers(), &topic, 1), ["50"]);
}

#[test]
fn faults_strike_one_broker_and_only_those_who_come_through_its_proxy() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let topic = topic(&cluster, "faults");
    let leader = cluster.leader(&topic, 0).unwrap();
    let through: BaseProducer =
        client(cluster.bootstrap_servers()).set("message.timeout.ms", "3000").create().unwrap();
    produce(&through, &topic, 0..1).unwrap();
    // A new leader may ask for it once more.
    assert!(cluster.proxy(leader).counts().produces() >= 1);

    cluster.proxy(leader).set(Faults { black_hole: true, ..Faults::default() });
    let around: BaseProducer = client(cluster.direct_servers()).create().unwrap();
    produce(&around, &topic, 1..2).unwrap();
    through.send(BaseRecord::<(), str>::to(&topic).partition(0).payload("lost")).unwrap();
    through.flush(DEADLINE).unwrap();
    let end = client(cluster.direct_servers()).create::<BaseConsumer>().unwrap();
    assert_eq!(end.fetch_watermarks(&topic, 0, DEADLINE).unwrap(), (0, 2), "what was to be lost arrived");
    assert_eq!(consume(cluster.direct_servers(), &topic, 2), numbers(0..2));
    // Whoever else it is, that one answers.
    let other = cluster.brokers().into_iter().find(|broker| *broker != leader).unwrap();
    let address =
        cluster.bootstrap_servers().split(',').nth(usize::try_from(other.get()).unwrap() - 1).unwrap();
    let metadata = client(address).create::<BaseConsumer>().unwrap().fetch_metadata(None, DEADLINE);
    assert_eq!(metadata.unwrap().brokers().len(), 3);
}

#[test]
fn whoever_comes_next_finds_the_cluster_whole() {
    if !offers(&[Ability::Cluster, Ability::DiskFull]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let topic = topic(&cluster, "heal");
    let [first, second, third] = cluster.brokers();
    cluster.proxy(first).set(Faults { black_hole: true, ..Faults::default() });
    cluster.freeze(first).unwrap();
    cluster.kill(second).unwrap();
    cluster.fill_disk(third).unwrap();
    cluster.kill(third).unwrap();
    let machine = cluster.machine().to_owned();
    drop(cluster);

    // There are two: whoever gets the other one takes the next too.
    let mut turns = vec![Cluster::exclusive()];
    if turns[0].machine() != machine {
        turns.push(Cluster::exclusive());
    }
    let cluster = turns.last().unwrap();
    assert_eq!(cluster.machine(), machine);
    for broker in cluster.brokers() {
        assert_eq!(in_sync(cluster, broker, &topic), BTreeSet::from([1, 2, 3]));
    }
    let producer: BaseProducer = client(cluster.bootstrap_servers()).create().unwrap();
    produce(&producer, &topic, 0..1).unwrap();
}

#[test]
fn all_brokers_come_back_one_after_the_other() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let cluster = Cluster::exclusive();
    for broker in cluster.brokers() {
        cluster.kill(broker).unwrap();
    }
    assert!(cluster.leader("any", 0).unwrap_err().to_string().contains("no broker runs"));
    for broker in cluster.brokers() {
        cluster.restart(broker).unwrap();
    }
    cluster.wait_until_in_sync().unwrap();
}

#[test]
fn a_controller_that_dies_has_a_successor() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let cluster = Cluster::exclusive();
    let claims = || {
        let count = |broker: BrokerId| {
            let script = format!("grep -c 'Becoming the active controller' node-{}/log", broker.get());
            shell(cluster.machine(), &script).parse::<u32>().unwrap()
        };
        cluster.brokers().map(count)
    };
    let (died, before) = (cluster.controller().unwrap(), claims());
    cluster.kill(died).unwrap();
    let successor = cluster.controller().unwrap();
    let grown = cluster.brokers().into_iter().zip(before.into_iter().zip(claims()));
    let grown: Vec<_> = grown.filter(|(_, (before, now))| now > before).map(|(broker, _)| broker).collect();
    assert_eq!(grown, [successor], "after {died}, by what the brokers say themselves");
}

#[test]
fn a_cluster_starts_with_settings_of_its_own() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let turn = Cluster::exclusive();
    let started = Instant::now();
    let cluster = Cluster::builder().setting("broker.session.timeout.ms", "3000").start().unwrap();
    eprintln!("three brokers started in {:.1} s", started.elapsed().as_secs_f64());
    let told = shell(cluster.machine(), "grep session.timeout node-3/server.properties");
    assert_eq!(told, "broker.session.timeout.ms=3000");
    drop(cluster);
    drop(turn);
}
