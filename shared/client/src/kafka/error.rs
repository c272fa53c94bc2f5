//! What can go wrong with Kafka, in terms of what to do about it.

use rdkafka::{error::KafkaError as Rdkafka, types::RDKafkaErrorCode as Code};
use thiserror::Error;

/// Kafka did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KafkaError {
    /// No broker answered.
    #[error("cannot reach Kafka at {servers}: {cause}")]
    Unreachable {
        /// The bootstrap servers.
        servers: String,
        /// What the client met.
        cause: String,
    },
    /// A property that librdkafka does not take.
    #[error("librdkafka does not take a property of [kafka.properties]: {cause}")]
    Property {
        /// Which, and why.
        cause: String,
    },
    /// A topic is not there.
    #[error("topic {topic} is missing; create it with `{mend}`")]
    MissingTopic {
        /// Which.
        topic: String,
        /// The command.
        mend: String,
    },
    /// A topic is not as it must be.
    #[error("topic {topic} has {found}, it must have {wanted}; mend it with `{mend}`")]
    WrongTopic {
        /// Which.
        topic: String,
        /// What is wrong.
        found: String,
        /// What would be right.
        wanted: String,
        /// The command.
        mend: String,
    },
    /// The broker does not let this client do it.
    #[error(
        "Kafka grants this client no {right} on {resource}; see \"Who may do what\" in docs/operations.md"
    )]
    NotGranted {
        /// The right that is missing, as `kafka-acls.sh --operation` takes it.
        right: &'static str,
        /// On what, as `topic modelcast.fleet`.
        resource: String,
    },
    /// The broker does not know how.
    #[error("this broker has no {what}: {cause}")]
    Unsupported {
        /// What it lacks.
        what: String,
        /// Its answer.
        cause: String,
    },
    /// The broker or the client refused, and trying again gives the same.
    #[error("Kafka refuses {what}: {cause}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        cause: String,
    },
    /// An offset that the partition does not have (any more): the topic was cut, or created anew.
    #[error("the offset to read next in topic {topic} is gone (the topic was cut, or created anew)")]
    OffsetGone {
        /// Which topic.
        topic: String,
    },
    /// Something that may pass.
    #[error("Kafka did not complete {what}: {cause}")]
    Transient {
        /// What was asked.
        what: String,
        /// What the client met.
        cause: String,
    },
}

impl KafkaError {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // Gone for good, but whoever starts again from the beginning finds what there is now.
            Self::Unreachable { .. } | Self::Transient { .. } | Self::OffsetGone { .. } => true,
            Self::Property { .. }
            | Self::MissingTopic { .. }
            | Self::WrongTopic { .. }
            | Self::NotGranted { .. }
            | Self::Unsupported { .. }
            | Self::Refused { .. } => false,
        }
    }
}

/// A right on a topic is missing.
pub(crate) fn not_granted(right: &'static str, topic: &str) -> KafkaError {
    KafkaError::NotGranted { right, resource: format!("topic {topic}") }
}

/// Sorts an rdkafka error by what to do about it.
pub(crate) fn sorted(what: &str, error: &Rdkafka) -> KafkaError {
    let (what, cause) = (what.to_owned(), error.to_string());
    let code = match error {
        Rdkafka::AdminOp(code) => Some(*code),
        _ => error.rdkafka_error_code(),
    };
    match code {
        Some(
            Code::MessageSizeTooLarge
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::InvalidConfig
            | Code::InvalidArgument
            | Code::PolicyViolation,
        ) => KafkaError::Refused { what, cause },
        _ => KafkaError::Transient { what, cause },
    }
}
