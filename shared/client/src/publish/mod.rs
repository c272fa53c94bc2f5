//! Publishing versions and changing what runs.
//!
//! [`Publisher::publish`] takes an artifact through the whole sequence: read, gates, chunks, manifest, read back,
//! announce, outcome, audit. [`Publisher::change`] announces an operator's change. Both are a compare-and-set on the
//! log: see `modelcast_protocol::fold`. What the log has lost, [`recover`] brings back.
//!
//! # Invariants
//! * Nothing is announced that was not read back from the brokers and verified as a subscriber would.
//! * An outcome is judged by the log, never by an acknowledgement.
//! * A change that lost is decided again on the state that won, never written over it.

mod announce;
mod gate;
mod mend;
mod outcome;
mod package;
pub mod recover;
mod sequence;
mod upload;

pub use announce::{Committed, Conflict};
pub use gate::{Direction, GatePolicy, GateResult, GateVerdict, MetricGate};
pub use outcome::{Class, PublishError};
pub use package::{PublishRequest, ScoreChampion};
pub use sequence::{OnEvent, PublishEvent, Published, PublishedVersion};

use std::time::Duration;

use modelcast_protocol::{
    ModelName,
    key::{SigningKey, TrustedKeys},
};

use crate::{
    catalog::Catalog,
    kafka::{
        KafkaError,
        connect::{self, Purpose},
        producer::Producer,
        topics,
    },
    settings::KafkaSettings,
};

/// Publishes versions and announces changes; cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    catalog: Catalog,
    signing: SigningKey,
    announce_deadline: Duration,
}

impl Publisher {
    /// Makes contact with Kafka, as [`Catalog::connect`] does. The topics of a model are checked when something is
    /// published for it.
    ///
    /// The signing key is trusted too: a publisher that could not read its own announcements would be of no use.
    ///
    /// # Errors
    /// As of [`Catalog::connect`].
    pub async fn connect(
        kafka: &KafkaSettings,
        keys: &TrustedKeys,
        signing: SigningKey,
    ) -> Result<Self, KafkaError> {
        let catalog = Catalog::connect(kafka, &keys.with(signing.public())).await?;
        connect::validate(kafka)?;
        Ok(Self { catalog, signing, announce_deadline: announce::ANNOUNCE_DEADLINE })
    }

    /// Sets how long an announcement is sent again, while the log does not say what became of it, before that is
    /// [`PublishError::Unknown`]: 60 s unless set. Looked at after each send and look at the log, which are not cut
    /// short by it: together they can take a minute more.
    #[must_use]
    pub fn with_announce_deadline(self, announce_deadline: Duration) -> Self {
        Self { announce_deadline, ..self }
    }

    /// Reads what is published, with the same connection settings and keys.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// A producer that nobody used yet, so that nothing of an earlier publish is still on its way; and that did not rest,
    /// since the one broker that a resting client is connected to may hang meanwhile, and cost it a timeout.
    fn producer(&self) -> Result<Producer, KafkaError> {
        let producer = Producer::new(self.catalog.kafka(), Purpose::Publish)?;
        tokio::spawn(producer.clone().go_on_without_an_id());
        Ok(producer)
    }

    async fn check_topics(&self, model: &ModelName) -> Result<(), KafkaError> {
        let kafka = self.catalog.kafka();
        let specs = topics::specs(&kafka.namespace, std::slice::from_ref(model));
        topics::check(kafka, &specs).await
    }
}
