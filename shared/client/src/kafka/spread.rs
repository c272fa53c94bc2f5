//! Waiting until every broker knows of new topics.
//!
//! The answer to a creation comes from the controller. Who then asks a broker that has not heard of it yet is told that
//! there is no such topic.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{error::KafkaResult, metadata::Metadata, types::RDKafkaErrorCode as Code};
use tracing::warn;

use super::{
    error::KafkaError,
    topics::{Admin, administer},
};
use crate::settings::KafkaSettings;

/// How long one broker may take for an answer; it is asked again.
const ANSWER: Duration = Duration::from_secs(2);
/// Who answers on a connection to an address that was given, and not learned.
const BOOTSTRAP: i32 = -1;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Blocks until each broker that is in the cluster knows these topics, and a leader of each partition. After so long
/// the log says which does not: the topics are there all the same.
pub(super) fn wait_until_known(
    kafka: &KafkaSettings,
    mut topics: Vec<String>,
    within: Duration,
) -> Result<(), KafkaError> {
    let until = Instant::now() + within;
    let any = administer(kafka)?;
    // Who may create a topic and not see it has nothing to wait for.
    topics.retain(|topic| !is_hidden(&any, topic));
    let mut informed = HashSet::new();
    while let Some(lack) = lack(kafka, &any, &topics, &mut informed)? {
        if Instant::now() > until {
            warn!("{lack}, {} s after its creation", within.as_secs());
            break;
        }
        thread::park_timeout(LOOK_EVERY);
    }
    Ok(())
}

fn is_hidden(any: &Admin, topic: &str) -> bool {
    ask(any, Some(topic)).is_ok_and(|metadata| {
        let error = metadata.topics().first().and_then(|topic| topic.error());
        error.map(Code::from) == Some(Code::TopicAuthorizationFailed)
    })
}

/// What the first broker lacks that does not know all; remembers those that do.
fn lack(
    kafka: &KafkaSettings,
    any: &Admin,
    topics: &[String],
    informed: &mut HashSet<String>,
) -> Result<Option<String>, KafkaError> {
    let Ok(metadata) = ask(any, None) else {
        return Ok(Some(format!("nobody at {} says who is in the cluster", kafka.bootstrap_servers)));
    };
    for broker in metadata.brokers() {
        let address = address(broker.host(), broker.port());
        if informed.contains(&address) {
            continue;
        }
        // With a client of its own, and not by a topic's name, with which the client would turn to that topic's
        // leader: it is this broker that is to answer. Once a client knows the others it may turn to one of them.
        let client = administer(&KafkaSettings { bootstrap_servers: address.clone(), ..kafka.clone() })?;
        let known = ask(&client, None).ok();
        let known = known.filter(|known| [BOOTSTRAP, broker.id()].contains(&known.orig_broker_id()));
        let unknown = |topic: &&String| !known.as_ref().is_some_and(|known| knows(known, topic));
        if let Some(topic) = topics.iter().find(unknown) {
            return Ok(Some(format!("the broker at {address} does not know all leaders of topic {topic}")));
        }
        informed.insert(address);
    }
    Ok(None)
}

fn ask(client: &Admin, topic: Option<&str>) -> KafkaResult<Metadata> {
    client.inner().fetch_metadata(topic, ANSWER)
}

fn knows(known: &Metadata, topic: &str) -> bool {
    known.topics().iter().find(|one| one.name() == topic).is_some_and(|topic| {
        let partitions = topic.partitions();
        !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0)
    })
}

fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
