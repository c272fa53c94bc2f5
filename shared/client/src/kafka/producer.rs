//! Writing records: idempotent, acknowledged by all in-sync replicas, to a named partition.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::KafkaError as Rdkafka,
    producer::{FutureProducer, FutureRecord, Producer as _},
    types::RDKafkaErrorCode as Code,
    util::Timeout,
};

use super::{
    closing::Closing,
    connect::{self, Purpose, Quiet},
    error::{KafkaError, not_granted, sorted},
};
use crate::settings::KafkaSettings;

/// A producer; cheap to clone. A publish takes a new one, so that nothing of an earlier one is still on its way.
#[derive(Clone)]
pub(crate) struct Producer {
    producer: Arc<Closing<FutureProducer<Quiet>>>,
}

impl Producer {
    pub(crate) fn new(kafka: &KafkaSettings) -> Result<Self, KafkaError> {
        let producer = connect::create(&connect::config(kafka, Purpose::Produce))?;
        Ok(Self { producer: Arc::new(Closing::new(producer)) })
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
        let mut record = FutureRecord::<str, [u8]>::to(topic).partition(partition).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        let queue_timeout = Timeout::After(Duration::from_secs(20));
        match self.producer.send(record, queue_timeout).await {
            Ok(delivery) => Ok(delivery.offset),
            Err((error, _)) => Err(self.explain(topic, &error)),
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

fn explain(topic: &str, error: &Rdkafka) -> KafkaError {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => not_granted("Write", topic),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            KafkaError::MissingTopic { topic: topic.to_owned(), mend: "modelcast topics create".to_owned() }
        }
        _ => sorted(&format!("a record for topic {topic}"), error),
    }
}
