//! Everything that talks to Kafka, and the only place that names rdkafka.
//!
//! Reads single partitions from an offset, without groups and commits; writes with an idempotent producer; creates and
//! checks topics. For records of an application's own, [`group`] reads as a member of a group and [`transaction`]
//! writes all or nothing. Knows bytes, keys and offsets, not what they mean.

pub(crate) mod closing;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod group;
pub(crate) mod headers;
#[cfg(test)]
pub(crate) mod mock;
pub(crate) mod producer;
pub(crate) mod reader;
mod spread;
pub(crate) mod topics;
pub(crate) mod transaction;

pub use closing::wait_until_closed;
pub use error::KafkaError;
pub use group::Incoming;
pub use headers::Headers;
