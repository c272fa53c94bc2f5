//! Topics deleted and created anew, as an operator's mistake or a lost cluster does it.

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult};

use crate::blocking::on_runtime;
use crate::error::Error;
use crate::topology::{self, Topology};

const DEADLINE: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What makes a topic what it is, apart from its records and its identity.
struct Shape {
    partitions: i32,
    replicas: i32,
    settings: Vec<(String, String)>,
}

/// Deletes a topic and creates it with the same partitions, replication and settings, but empty and with another
/// identity; returns when each of the brokers at these addresses has seen both.
pub(crate) fn recreate(addresses: &[&str], topic: &str) -> Result<(), Error> {
    let admin: AdminClient<DefaultClientContext> = topology::client(&addresses.join(","))
        .create()
        .map_err(|source| Error::Client { task: "make an admin client", source })?;
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE)).request_timeout(Some(DEADLINE));
    let shape = shape(&admin, &options, topic)?;

    let deleted = on_runtime(admin.delete_topics(&[topic], &options));
    accepted("delete", topic, deleted)?;
    wait(addresses, "delete", topic, |topology| topology.partitions_of(topic).next().is_none())?;

    let mut new = NewTopic::new(topic, shape.partitions, TopicReplication::Fixed(shape.replicas));
    for (key, value) in &shape.settings {
        new = new.set(key, value);
    }
    let created = on_runtime(admin.create_topics([&new], &options));
    accepted("create", topic, created)?;
    let expected = usize::try_from(shape.partitions).unwrap_or_default();
    wait(addresses, "create", topic, |topology| {
        topology.partitions_of(topic).filter(|partition| partition.leader.is_some()).count() == expected
    })
}

fn shape(
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
    topic: &str,
) -> Result<Shape, Error> {
    let task = "describe a topic";
    let client = |source: KafkaError| Error::Client { task, source };
    let metadata = admin.inner().fetch_metadata(Some(topic), ANSWER).map_err(client)?;
    let topology = Topology::from(&metadata);
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let Some(first) = topology.partitions_of(topic).next() else {
        return Err(refused("describe", topic, &"there is none"));
    };
    let resource = [ResourceSpecifier::Topic(topic)];
    let described = on_runtime(admin.describe_configs(&resource, options)).map_err(client)?;
    let described = described.into_iter().next().ok_or_else(|| refused("describe", topic, &"no answer"))?;
    let entries = described.map_err(|code| refused("describe", topic, &code))?.entries;
    let own = entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    Ok(Shape {
        partitions: count(topology.partitions_of(topic).count()),
        replicas: count(first.replicas.len()),
        settings: own.filter_map(|entry| Some((entry.name, entry.value?))).collect(),
    })
}

fn accepted(task: &'static str, topic: &str, result: KafkaResult<Vec<TopicResult>>) -> Result<(), Error> {
    let results = result.map_err(|source| Error::Client { task, source })?;
    let failed = results.into_iter().find_map(Result::err);
    failed.map_or(Ok(()), |(_, code)| Err(refused(task, topic, &code)))
}

fn wait(
    addresses: &[&str],
    task: &'static str,
    topic: &str,
    is_so: impl Fn(&Topology) -> bool,
) -> Result<(), Error> {
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        if addresses.iter().all(|address| topology::ask(address, ANSWER).is_ok_and(|found| is_so(&found))) {
            return Ok(());
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    let reason = format!("not every broker has heard of it after {} s", DEADLINE.as_secs());
    Err(refused(task, topic, &reason))
}

fn refused(task: &'static str, topic: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Topic { task, topic: topic.to_owned(), reason: reason.to_string() }
}
