//! Creating topics, and checking that those there are as the protocol wants them.

use std::time::Duration;

use modelcast_protocol::{ModelName, Namespace, topic::TopicSpec};
use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
        TopicReplication,
    },
    error::KafkaResult,
    types::RDKafkaErrorCode as Code,
};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{
    closing::Closing,
    connect::{self, Purpose, Quiet},
    error::{KafkaError, not_granted, sorted},
    spread,
};
use crate::{catalog::blocking, settings::KafkaSettings};

const DEADLINE: Duration = Duration::from_secs(20);
/// How long one request may take.
const ATTEMPT: Duration = Duration::from_secs(6);
/// Pause before a request is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub(super) type Admin = Closing<AdminClient<Quiet>>;

/// What became of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It was made.
    Created,
    /// It was there already.
    Existed,
}

/// Creates the topics that are missing; gives each with what became of it, once all brokers know of them.
pub(crate) async fn create(
    kafka: &KafkaSettings,
    specs: &[TopicSpec],
    replication: Option<i32>,
) -> Result<Vec<(String, Creation)>, KafkaError> {
    // -1 asks for the broker's own default.
    let replication = replication.unwrap_or(-1);
    let new: Vec<_> = specs
        .iter()
        .map(|spec| {
            let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(replication));
            spec.settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let (new, options) = (&new, &options().operation_timeout(Some(DEADLINE)));
    let ask = |admin: Admin| async move { admin.create_topics(new, options).await };
    let results = answered(kafka, "new topics", ask).await?;
    let creations = results
        .into_iter()
        .map(|result| match result {
            Ok(name) => Ok((name, Creation::Created)),
            Err((name, Code::TopicAlreadyExists)) => Ok((name, Creation::Existed)),
            Err((name, Code::TopicAuthorizationFailed)) => Err(not_granted("Create", &name)),
            Err((name, code)) => {
                Err(KafkaError::Refused { what: format!("new topic {name}"), cause: code.to_string() })
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Those that existed too: they may be the work of a request that was made again.
    let (kafka, names) = (kafka.clone(), specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>());
    let wait = move || spread::wait_until_known(&kafka, names, DEADLINE);
    blocking("a look for the new topics", wait).await?;
    Ok(creations)
}

/// Checks partitions and settings of topics; the first that differs is the error, with the command that mends it.
pub(crate) async fn check(kafka: &KafkaSettings, specs: &[TopicSpec]) -> Result<(), KafkaError> {
    {
        let (kafka, specs) = (kafka.clone(), specs.to_vec());
        blocking("a look at the topics", move || check_partitions(&kafka, &specs)).await?;
    }
    let resources: Vec<_> = specs.iter().map(|spec| ResourceSpecifier::Topic(&spec.name)).collect();
    let (resources, options) = (&resources, &options());
    let ask = |admin: Admin| async move { admin.describe_configs(resources, options).await };
    let results = answered(kafka, "topic settings", ask).await?;
    for result in results {
        let resource = match result {
            Ok(resource) => resource,
            // Who may only read may not be allowed to see settings; whoever publishes is.
            Err(Code::TopicAuthorizationFailed) => continue,
            Err(code) => {
                return Err(KafkaError::Refused { what: "topic settings".into(), cause: code.to_string() });
            }
        };
        let spec = specs.iter().find(
            |spec| matches!(&resource.specifier, OwnedResourceSpecifier::Topic(name) if *name == spec.name),
        );
        if let Some(spec) = spec {
            check_settings(kafka, spec, &resource)?;
        }
    }
    Ok(())
}

/// Makes a request until it is answered, or the deadline has passed: librdkafka does not make it again when the broker
/// is silent for `socket.timeout.ms`, or its connection breaks. Each time with a new client, which turns to another
/// broker where one hangs. For requests that may be made twice.
async fn answered<T, F>(
    kafka: &KafkaSettings,
    what: &str,
    request: impl Fn(Admin) -> F,
) -> Result<T, KafkaError>
where
    F: Future<Output = KafkaResult<T>>,
{
    let until = Instant::now() + DEADLINE;
    loop {
        match request(administer(kafka)?).await.map_err(|error| sorted(what, &error)) {
            Err(error) if error.is_transient() && Instant::now() < until => {
                debug!(%error, "asking Kafka again");
                sleep(RETRY_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ATTEMPT))
}

/// Blocks.
fn check_partitions(kafka: &KafkaSettings, specs: &[TopicSpec]) -> Result<(), KafkaError> {
    let admin = administer(kafka)?;
    for spec in specs {
        let found = partitions(kafka, &admin, spec)?;
        if found != spec.partitions {
            let (found, mend) = (format!("{found} partitions"), mend_partitions(kafka, spec, found));
            return Err(wrong(spec, found, spec.partitions.to_string(), mend));
        }
    }
    Ok(())
}

fn check_settings(kafka: &KafkaSettings, spec: &TopicSpec, found: &ConfigResource) -> Result<(), KafkaError> {
    for (key, wanted) in &spec.settings {
        // A broker that does not know a setting does not act on it either.
        let value = found.get(key).and_then(|entry| entry.value.as_deref());
        let Some(value) = value.filter(|value| !same(value, wanted)) else { continue };
        let mend = format!(
            "kafka-configs.sh --bootstrap-server {} --alter --topic {} --add-config '{key}=[{wanted}]'",
            kafka.bootstrap_servers, spec.name
        );
        return Err(wrong(spec, format!("{key}={value}"), format!("{key}={wanted}"), mend));
    }
    Ok(())
}

/// The topics that a namespace needs for some models.
pub(crate) fn specs(namespace: &Namespace, models: &[ModelName]) -> Vec<TopicSpec> {
    use modelcast_protocol::topic::{announcements, audit, blobs, fleet};
    let blobs = models.iter().map(|model| blobs(namespace, model));
    [announcements(namespace), fleet(namespace), audit(namespace)].into_iter().chain(blobs).collect()
}

/// `compact,delete` and `delete,compact` say the same.
fn same(found: &str, wanted: &str) -> bool {
    let sorted = |list: &str| {
        let mut parts: Vec<_> = list.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort();
        parts
    };
    sorted(found) == sorted(wanted)
}

pub(super) fn administer(kafka: &KafkaSettings) -> Result<Admin, KafkaError> {
    connect::create(&connect::config(kafka, Purpose::Administer)).map(Closing::new)
}

fn partitions(kafka: &KafkaSettings, admin: &Admin, spec: &TopicSpec) -> Result<i32, KafkaError> {
    let metadata =
        admin.inner().fetch_metadata(Some(&spec.name), connect::CONTACT_DEADLINE).map_err(|error| {
            KafkaError::Unreachable { servers: kafka.bootstrap_servers.clone(), cause: error.to_string() }
        })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == spec.name);
    if let Some(Code::TopicAuthorizationFailed) =
        topic.and_then(|topic| topic.error()).map(rdkafka::types::RDKafkaErrorCode::from)
    {
        return Err(not_granted("Describe", &spec.name));
    }
    let count = topic.filter(|topic| topic.error().is_none()).map_or(0, |topic| topic.partitions().len());
    if count == 0 {
        return Err(KafkaError::MissingTopic { topic: spec.name.clone(), mend: create_command(kafka, spec) });
    }
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

fn wrong(spec: &TopicSpec, found: String, wanted: String, mend: String) -> KafkaError {
    KafkaError::WrongTopic { topic: spec.name.clone(), found, wanted, mend }
}

/// Partitions can be added, not taken away; and a topic with history is never deleted on our word.
fn mend_partitions(kafka: &KafkaSettings, spec: &TopicSpec, found: i32) -> String {
    let (servers, wanted) = (&kafka.bootstrap_servers, spec.partitions);
    if found < wanted {
        let topic = &spec.name;
        return format!(
            "kafka-topics.sh --bootstrap-server {servers} --alter --topic {topic} --partitions {wanted}"
        );
    }
    format!("modelcast topics create --kafka {servers} --namespace ANOTHER")
}

fn create_command(kafka: &KafkaSettings, spec: &TopicSpec) -> String {
    let base = format!(
        "modelcast topics create --kafka {} --namespace {}",
        kafka.bootstrap_servers, kafka.namespace
    );
    match spec.name.split_once(".blobs.") {
        Some((_, model)) => format!("{base} --model {model}"),
        None => base,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::error::KafkaError as Rdkafka;

    use super::*;

    /// Fails twice with a code, then succeeds; gives how often it was asked.
    async fn asked(code: Code) -> (Result<(), KafkaError>, u32) {
        let asked = Cell::new(0);
        let ask = |_| {
            asked.set(asked.get() + 1);
            std::future::ready(if asked.get() < 3 { Err(Rdkafka::AdminOp(code)) } else { Ok(()) })
        };
        let answer = answered(&KafkaSettings::default(), "a question", ask).await;
        (answer, asked.get())
    }

    #[tokio::test]
    async fn a_request_that_nobody_answered_is_made_again_and_a_refused_one_is_not() {
        let (answer, times) = asked(Code::OperationTimedOut).await;
        assert!(answer.is_ok() && times == 3, "{answer:?} after {times}");
        let (answer, times) = asked(Code::PolicyViolation).await;
        assert!(matches!(answer, Err(KafkaError::Refused { .. })) && times == 1, "{answer:?} after {times}");
    }
}
