//! Everything that talks to Kafka, and the only place that names rdkafka.
//!
//! Reads single partitions from an offset, without groups and commits; writes with an idempotent producer; creates and
//! checks topics. Knows bytes, keys and offsets, not what they mean.

pub(crate) mod closing;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod producer;
pub(crate) mod reader;
pub(crate) mod topics;

pub use closing::wait_until_closed;
pub use error::KafkaError;
