//! Making topics of an application's own, and putting records into them: for trying a stream out, and measuring it.
//!
//! A stream itself creates no topic.

use modelcast_protocol::topic::TopicSpec;

use super::PipeError;
use crate::{
    catalog::blocking,
    kafka::{
        Headers, KafkaError, topics,
        transaction::{Courier, Parcel},
    },
    settings::KafkaSettings,
};

/// Creates topics that are missing, with the brokers' own settings but that nothing expires.
///
/// # Errors
/// [`KafkaError`] when Kafka cannot be reached or refuses.
pub async fn create_topics(kafka: &KafkaSettings, names: &[&str], partitions: i32) -> Result<(), KafkaError> {
    let spec = |name: &&str| TopicSpec {
        name: (*name).to_owned(),
        partitions,
        settings: vec![("retention.ms", "-1")],
    };
    let specs: Vec<_> = names.iter().map(spec).collect();
    topics::create(kafka, &specs, None).await.map(drop)
}

/// Puts values into a topic, with their places in `values` for keys, spread over `partitions`; returns when all are
/// acknowledged.
///
/// # Errors
/// [`PipeError::Kafka`] when one is not.
pub async fn fill(
    kafka: &KafkaSettings,
    topic: &str,
    partitions: i32,
    values: Vec<Vec<u8>>,
) -> Result<(), PipeError> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    blocking("filling a topic", move || {
        let keys: Vec<String> = (0..values.len()).map(|place| place.to_string()).collect();
        let parcels =
            values.iter().zip(&keys).zip((0..partitions).cycle()).map(|((value, key), partition)| Parcel {
                topic: &topic,
                partition: Some(partition),
                key: Some(key.as_bytes()),
                value: Some(value.into()),
                at_unix_ms: None,
                headers: Headers::new(),
            });
        Ok(Courier::plain(&kafka)?.pour(parcels)?)
    })
    .await
}
