//! A producer that writes any bytes anywhere, with or without the right key.
//!
//! [`Draft`] writes on paper what a good publisher would send next; a test keeps it, damages it (see `damage`) or signs
//! it with another key, and [`Hostile`] sends the records as they are. Not a publisher: no gates, no read-back, no
//! outcome. Our own never send such records, so a test that needs them has to make them by hand.
//!
//! # Invariants
//! * What a test does not change is as a publisher makes it: sent undamaged, a [`Draft`] goes live.
//! * Records go out in the order given; one for another topic waits until those before it are acknowledged.

mod draft;

use std::time::{Duration, Instant};

use modelcast::protocol::announcement::AnnouncementError;
use modelcast::protocol::change::ChangeError;
use modelcast::protocol::codec::CodecError;
use modelcast::protocol::key::{KeyError, SigningKey, TrustedKeys};
use modelcast::protocol::manifest::ManifestError;
use modelcast::protocol::{ModelName, topic};
use modelcast::settings::KafkaSettings;
use modelcast::{Catalog, KafkaError};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as Rdkafka;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

pub use draft::{Draft, Package};

/// A loaded machine included.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a record is written as. What it really is, its reader decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A piece of an artifact.
    Chunk,
    /// The signed description of a version.
    Manifest,
    /// The signed desired state of a model.
    Announcement,
    /// An instance's report.
    Status,
}

/// One record, as it goes to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is written as.
    pub kind: Kind,
    /// The topic's full name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Why something could not be drafted or written.
#[derive(Debug, thiserror::Error)]
pub enum HostileError {
    /// Kafka did not take a record, or did not say so in time.
    #[error("a record for topic {topic} is not written")]
    Write {
        /// Which topic.
        topic: String,
        /// What librdkafka says.
        #[source]
        source: Rdkafka,
    },
    /// The end of a topic cannot be read.
    #[error("the end of topic {topic} cannot be read")]
    End {
        /// Which topic.
        topic: String,
        /// What librdkafka says.
        #[source]
        source: Rdkafka,
    },
    /// A client cannot be made.
    #[error("there is no producer")]
    Client(#[source] Rdkafka),
    /// The announcements cannot be read.
    #[error("what is in force cannot be read")]
    Log(#[from] KafkaError),
    /// The change makes no sense for what is in force.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The announcement cannot be signed, or not read again.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// The manifest cannot be signed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The state in force is not understood, or a report cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The signer's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no generation after the one in force.
    #[error("there is no generation after {0}")]
    Generation(u64),
}

/// Writes records into one namespace.
pub struct Hostile {
    kafka: KafkaSettings,
    catalog: Catalog,
    producer: FutureProducer,
}

impl Hostile {
    /// Makes contact. `trusted` says what counts as in force when it drafts.
    ///
    /// # Errors
    /// [`HostileError::Log`] when Kafka does not answer, [`HostileError::Client`] for settings that it does not take.
    pub async fn connect(kafka: &KafkaSettings, trusted: &TrustedKeys) -> Result<Self, HostileError> {
        let catalog = Catalog::connect(kafka, trusted).await?;
        let mut config = ClientConfig::new();
        config.extend(kafka.properties.clone());
        config.set("bootstrap.servers", &kafka.bootstrap_servers);
        config.set("allow.auto.create.topics", "false");
        // Order is what a test of damaged order relies on.
        config.set("enable.idempotence", "true");
        let producer = config.create().map_err(HostileError::Client)?;
        Ok(Self { kafka: kafka.clone(), catalog, producer })
    }

    /// What a good publisher that holds this key would write next for a model: reads the log and the end of the blobs.
    ///
    /// # Errors
    /// [`HostileError::Log`] and [`HostileError::End`] when they cannot be read.
    pub async fn draft(&self, model: &ModelName, signing: &SigningKey) -> Result<Draft, HostileError> {
        let in_force = self.catalog.in_force(model).await?;
        let namespace = self.kafka.namespace.clone();
        let blobs_end = self.end(&topic::blobs(&namespace, model).name).await?;
        Ok(Draft { namespace, model: model.clone(), signing: signing.clone(), in_force, blobs_end })
    }

    /// Writes records in this order; gives the offset of each.
    ///
    /// # Errors
    /// [`HostileError::Write`] for the first that was not acknowledged.
    pub async fn write(&self, records: &[Record]) -> Result<Vec<i64>, HostileError> {
        let mut offsets = Vec::with_capacity(records.len());
        for run in records.chunk_by(|one, next| one.topic == next.topic) {
            let sent: Vec<_> = run.iter().map(|record| self.send(record)).collect::<Result<_, _>>()?;
            for (record, delivery) in run.iter().zip(sent) {
                let failed = |source| HostileError::Write { topic: record.topic.clone(), source };
                let delivered = delivery.await.map_err(|_| failed(Rdkafka::Canceled))?;
                offsets.push(delivered.map_err(|(error, _)| failed(error))?.offset);
            }
        }
        Ok(offsets)
    }

    /// The offset that the next record of a topic's partition 0 gets.
    async fn end(&self, topic: &str) -> Result<i64, HostileError> {
        let until = Instant::now() + DEADLINE;
        loop {
            let (producer, name) = (self.producer.clone(), topic.to_owned());
            let look = move || producer.client().fetch_watermarks(&name, 0, DEADLINE);
            match tokio::task::spawn_blocking(look).await.unwrap_or(Err(Rdkafka::Canceled)) {
                Ok((_, end)) => return Ok(end),
                // A topic that was created just now may not have a leader that every broker knows.
                Err(_) if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
                Err(source) => return Err(HostileError::End { topic: topic.to_owned(), source }),
            }
        }
    }

    fn send(&self, record: &Record) -> Result<rdkafka::producer::DeliveryFuture, HostileError> {
        let Record { topic, partition, key, value, .. } = record;
        let mut message = FutureRecord::<[u8], [u8]>::to(topic).partition(*partition).key(key);
        if let Some(value) = value {
            message = message.payload(value);
        }
        self.producer
            .send_result(message)
            .map_err(|(source, _)| HostileError::Write { topic: topic.clone(), source })
    }
}
