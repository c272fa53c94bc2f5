//! The librdkafka configuration that every client of ours has, and the first contact.
//!
//! # Invariants
//! * No client creates a topic by asking for it: a default producer would create it with the wrong settings.
//! * A property that the protocol relies on cannot be overridden from the settings.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError as Rdkafka,
    types::RDKafkaErrorCode as Code,
};
use tracing::{debug, warn};

use super::{closing::Closing, error::KafkaError, producer::Producer};
use crate::settings::KafkaSettings;

/// How long the first contact may take before Kafka counts as unreachable.
pub(crate) const CONTACT_DEADLINE: Duration = Duration::from_secs(6);

/// How long reading takes what the first contact met.
const REFUSAL_DEADLINE: Duration = Duration::from_millis(100);

/// A dummy: librdkafka wants a group even for assign() without commits.
pub(crate) const GROUP: &str = "modelcast";

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Announcements and statuses: news at once.
    News,
    /// Everything up to the end, once: the end soon.
    Scan,
    /// Manifests and chunks: throughput.
    Bulk,
    /// The same over a line that is slow, or breaks: small answers, each with time to come through.
    Trickle,
    /// Announcements, manifests and chunks going out.
    Publish,
    /// The same where no broker gives a producer id.
    PublishWithoutId,
    /// Statuses going out.
    Report,
    /// Topics and their settings.
    Administer,
    /// Records of an application's own, as a member of a group.
    Join,
    /// The same going out.
    Deliver,
}

/// The configuration for one purpose: our defaults, the operator's properties, then what the protocol relies on.
pub(crate) fn config(kafka: &KafkaSettings, purpose: Purpose) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "modelcast");
    config.set("log.connection.close", "false");
    // With librdkafka's default of 60 s a leader that is stopped, not killed, costs a minute.
    config.set("socket.timeout.ms", "6000");
    // While it waits for a greeting librdkafka takes the broker for one that is there, and asks nobody who leads now:
    // with its default of 10 s news can be missing for more than 20 s. Not much shorter: clients that connect all at
    // once to a busy broker could give up together, and come back together (not measured).
    config.set("api.version.request.timeout.ms", "5000");
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "2000");
    match purpose {
        Purpose::News | Purpose::Scan => {
            config.set("fetch.queue.backoff.ms", "10").set("queued.max.messages.kbytes", "4096");
        }
        Purpose::Bulk => {
            config.set("fetch.queue.backoff.ms", "10").set("queued.max.messages.kbytes", "16384");
            config.set("fetch.message.max.bytes", "8388608").set("fetch.max.bytes", "16777216");
        }
        Purpose::Trickle => {
            // A request ends with its answer's last byte, or is made again from its beginning: within 6 s 8 MB come
            // through only at 11 Mbit/s, and a record of the largest size within 20 s at 0.4 Mbit/s. A broker answers
            // with a whole batch however little is asked for, and what it gives of a second one in vain comes twice.
            config.set("fetch.queue.backoff.ms", "10").set("queued.max.messages.kbytes", "16384");
            config.set("fetch.message.max.bytes", "1");
            config.set("socket.timeout.ms", "20000");
        }
        Purpose::Publish | Purpose::PublishWithoutId | Purpose::Report => {
            config.set("linger.ms", "0").set("message.timeout.ms", "20000");
            config.set("queue.buffering.max.kbytes", "32768");
        }
        Purpose::Join => {
            config.set("fetch.queue.backoff.ms", "10").set("queued.max.messages.kbytes", "16384");
            // What the lag is known by.
            config.set("statistics.interval.ms", "1000");
        }
        Purpose::Deliver => {
            // A flush does not cut a linger short; records of one batch come within microseconds of each other.
            config.set("linger.ms", "2").set("batch.num.messages", "10000");
            config.set("queue.buffering.max.kbytes", "65536").set("message.timeout.ms", "20000");
            // As the Java clients place a key.
            config.set("partitioner", "murmur2_random");
        }
        Purpose::Administer => {}
    }
    for (key, value) in &kafka.properties {
        config.set(key, value);
    }
    if matches!(purpose, Purpose::Scan | Purpose::Bulk | Purpose::Trickle) {
        // The broker says that there is no more only after this wait; and a jump waits for the fetch that is on its
        // way, which at the end of the log is answered only then.
        config.set("fetch.wait.max.ms", "10");
    }
    config.set("bootstrap.servers", &kafka.bootstrap_servers);
    config.set("allow.auto.create.topics", "false");
    match purpose {
        Purpose::News | Purpose::Scan | Purpose::Bulk | Purpose::Trickle => {
            config.set("group.id", GROUP).set("enable.auto.commit", "false");
            config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
            config.set("check.crcs", "true").set("isolation.level", "read_uncommitted");
        }
        Purpose::Publish => {
            config.set("enable.idempotence", "true").set("acks", "all");
            // Says whether it has an id.
            config.set("statistics.interval.ms", "500");
        }
        Purpose::PublishWithoutId => {
            // Another name of acks: the one that librdkafka gets last would win.
            config.remove("request.required.acks");
            config.set("enable.idempotence", "false").set("acks", "all");
        }
        Purpose::Report | Purpose::Deliver => {
            config.set("enable.idempotence", "true").set("acks", "all");
        }
        Purpose::Join => {
            config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
            config.set("check.crcs", "true").set("isolation.level", "read_committed");
            // Where a committed offset was cut off by retention, what is left of the partition comes.
            config.set("auto.offset.reset", "earliest");
            // Who knows what it owns hands over single partitions, and goes on with the others.
            config.set("partition.assignment.strategy", "cooperative-sticky");
            config.set("group.protocol", "classic");
        }
        Purpose::Administer => {}
    }
    config
}

/// Takes in what librdkafka says beside its answers. What matters comes as an answer too, and is told there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: Rdkafka, reason: &str) {
        debug!(target: "librdkafka", %error, reason);
    }
}

/// Under a target of its own, as rdkafka's does it: `--log warn,librdkafka=debug` shows it.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            warn!(target: "librdkafka", facility, "{message}");
        }
        _ => debug!(target: "librdkafka", facility, "{message}"),
    }
}

impl ConsumerContext for Quiet {}

/// Our consumer.
pub(crate) type Consumer = BaseConsumer<Quiet>;

/// Makes a client; a property that librdkafka does not take is named.
pub(crate) fn create<C: FromClientConfigAndContext<Quiet>>(config: &ClientConfig) -> Result<C, KafkaError> {
    create_with(config, Quiet)
}

/// The same with a context of one's own.
pub(crate) fn create_with<X: ClientContext, C: FromClientConfigAndContext<X>>(
    config: &ClientConfig,
    context: X,
) -> Result<C, KafkaError> {
    config.create_with_context(context).map_err(|error| KafkaError::Property { cause: error.to_string() })
}

/// Finds a property that librdkafka does not take; contacts nobody.
pub(crate) fn validate(kafka: &KafkaSettings) -> Result<(), KafkaError> {
    // One property may be a consumer's, another a producer's, and two may contradict each other.
    create::<Consumer>(&config(kafka, Purpose::News)).map(Closing::new)?;
    Producer::new(kafka, Purpose::Publish).map(drop)
}

/// Waits until a broker answers, or says which address does not, and what kept us out. Blocks.
pub(crate) fn contact(kafka: &KafkaSettings) -> Result<(), KafkaError> {
    let consumer: BaseConsumer<Entrance> = create_with(&config(kafka, Purpose::News), Entrance::default())?;
    let consumer = Closing::new(consumer);
    let answer = consumer.client().fetch_metadata(None, CONTACT_DEADLINE);
    answer.map(drop).map_err(|error| {
        // What the client met waits in its queue, between lines of its log.
        let until = Instant::now() + REFUSAL_DEADLINE;
        while Instant::now() < until && consumer.poll(REFUSAL_DEADLINE).is_some() {}
        let refusal = consumer.context().refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        let servers = kafka.bootstrap_servers.clone();
        KafkaError::Unreachable { servers, cause: refusal.unwrap_or_else(|| error.to_string()) }
    })
}

/// Remembers why no broker let the client in: an answer to the client's questions does not say.
#[derive(Default)]
struct Entrance {
    refusal: Mutex<Option<String>>,
}

impl ClientContext for Entrance {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: Rdkafka, reason: &str) {
        Quiet.error(error.clone(), reason);
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let tells_more = match error {
            Rdkafka::Global(Code::Authentication | Code::SSL) => true,
            Rdkafka::Global(Code::AllBrokersDown) => false,
            _ => refusal.is_none(),
        };
        if tells_more {
            *refusal = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Entrance {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_asks_for_more_as_soon_as_there_is_room() {
        for purpose in [Purpose::News, Purpose::Scan, Purpose::Bulk, Purpose::Trickle, Purpose::Join] {
            let config = config(&KafkaSettings::default(), purpose);
            // Unless set a second, whenever the queue was full.
            assert_eq!(config.get("fetch.queue.backoff.ms"), Some("10"), "{purpose:?}");
        }
    }

    #[test]
    fn no_property_lets_a_publish_go_on_before_all_acknowledged() {
        for name in ["acks", "request.required.acks"] {
            let mut kafka = KafkaSettings::default();
            kafka.properties.insert(name.into(), "1".into());
            let config = config(&kafka, Purpose::PublishWithoutId);
            assert_eq!(
                (config.get("acks"), config.get("request.required.acks")),
                (Some("all"), None),
                "{name}"
            );
        }
    }

    #[test]
    fn no_property_takes_the_order_from_what_goes_out() {
        for purpose in [Purpose::Publish, Purpose::Report, Purpose::Deliver] {
            let mut kafka = KafkaSettings::default();
            kafka.properties.insert("enable.idempotence".into(), "false".into());
            kafka.properties.insert("acks".into(), "1".into());
            let config = config(&kafka, purpose);
            assert_eq!(config.get("enable.idempotence"), Some("true"), "{purpose:?}");
            assert_eq!(config.get("acks"), Some("all"), "{purpose:?}");
        }
    }
}
