//! Writing records: idempotent, acknowledged by all in-sync replicas, to a named partition.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::KafkaError as Rdkafka,
    producer::{FutureProducer, FutureRecord, Producer as _, future_producer::DeliveryFuture},
    types::RDKafkaErrorCode as Code,
};
use tokio::time::Instant;

use super::{
    closing::Closing,
    connect::{self, Purpose, Quiet},
    error::{KafkaError, not_granted, sorted},
};
use crate::settings::KafkaSettings;

/// How long a record may wait for its place in a full queue.
const QUEUE_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two looks at a full queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// A producer; cheap to clone. A publish takes a new one, so that nothing of an earlier one is still on its way.
#[derive(Clone)]
pub(crate) struct Producer {
    producer: Arc<Closing<FutureProducer<Quiet>>>,
}

/// A record on its way.
pub(crate) struct Delivery {
    delivery: DeliveryFuture,
    producer: Producer,
    topic: String,
}

impl Producer {
    pub(crate) fn new(kafka: &KafkaSettings) -> Result<Self, KafkaError> {
        let producer = connect::create(&connect::config(kafka, Purpose::Produce))?;
        Ok(Self { producer: Arc::new(Closing::new(producer)) })
    }

    /// Whether it is the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.producer, &other.producer)
    }

    /// Sends one record and waits for its acknowledgement; gives its offset.
    ///
    /// An error does not mean that the record is not there, only that nobody said so.
    pub(crate) async fn send(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<i64, KafkaError> {
        self.enqueue(topic, partition, key, value).await?.acknowledged().await
    }

    /// Hands over one record, which the partition gets after those that were handed over before. Waits only while
    /// the queue is full.
    pub(crate) async fn enqueue(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<Delivery, KafkaError> {
        let deadline = Instant::now() + QUEUE_DEADLINE;
        let mut record = FutureRecord { payload: value, ..FutureRecord::<str, [u8]>::to(topic) }
            .partition(partition)
            .key(key);
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => {
                    return Ok(Delivery { delivery, producer: self.clone(), topic: topic.to_owned() });
                }
                Err((error, unsent)) => {
                    let is_full = error.rdkafka_error_code() == Some(Code::QueueFull);
                    if !is_full || Instant::now() >= deadline {
                        return Err(self.explain(topic, &error));
                    }
                    record = unsent;
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
            }
        }
    }

    fn explain(&self, topic: &str, error: &Rdkafka) -> KafkaError {
        // Who may write nowhere gets no producer id: the record was thrown away, and never sent.
        let fatal = self.producer.client().fatal_error();
        if fatal.is_some_and(|(code, _)| code == Code::ClusterAuthorizationFailed) {
            return not_granted("Write", topic);
        }
        explain(topic, error)
    }
}

impl Delivery {
    /// Waits for the acknowledgement; gives the record's offset.
    pub(crate) async fn acknowledged(self) -> Result<i64, KafkaError> {
        match self.delivery.await {
            Ok(Ok(delivery)) => Ok(delivery.offset),
            Ok(Err((error, _))) => Err(self.producer.explain(&self.topic, &error)),
            Err(gone) => Err(KafkaError::Transient {
                what: format!("a record for topic {}", self.topic),
                cause: gone.to_string(),
            }),
        }
    }
}

fn explain(topic: &str, error: &Rdkafka) -> KafkaError {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => not_granted("Write", topic),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            KafkaError::MissingTopic { topic: topic.to_owned(), mend: "modelcast topics create".to_owned() }
        }
        _ => sorted(&format!("a record for topic {topic}"), error),
    }
}
