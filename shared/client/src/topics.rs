//! Creating and checking the topics of a namespace.

use modelcast_protocol::{ModelName, topic::TopicSpec};

pub use crate::kafka::topics::Creation;
use crate::{
    catalog::blocking,
    kafka::{KafkaError, connect, topics},
    settings::KafkaSettings,
};

/// The topics that a namespace needs for some models.
#[must_use]
pub fn specs(kafka: &KafkaSettings, models: &[ModelName]) -> Vec<TopicSpec> {
    topics::specs(&kafka.namespace, models)
}

/// Creates what is missing; a topic that is there is left as it is. Replication is the brokers' default unless given.
/// Ends when every broker of the cluster knows them all; after 20 s the log says which does not.
///
/// # Errors
/// [`KafkaError`] when Kafka cannot be reached or refuses.
pub async fn create(
    kafka: &KafkaSettings,
    models: &[ModelName],
    replication: Option<i32>,
) -> Result<Vec<(String, Creation)>, KafkaError> {
    reach(kafka).await?;
    topics::create(kafka, &specs(kafka, models), replication).await
}

/// Checks partitions and settings.
///
/// # Errors
/// [`KafkaError::MissingTopic`] or [`KafkaError::WrongTopic`] for the first that differs, with the command that mends
/// it.
pub async fn check(kafka: &KafkaSettings, models: &[ModelName]) -> Result<(), KafkaError> {
    reach(kafka).await?;
    topics::check(kafka, &specs(kafka, models)).await
}

async fn reach(kafka: &KafkaSettings) -> Result<(), KafkaError> {
    let kafka = kafka.clone();
    blocking("the first contact", move || connect::contact(&kafka)).await
}
