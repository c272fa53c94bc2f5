//! Publish model versions to Kafka, and subscribe to them live.
//!
//! The crate that an application adds.

pub mod admission;
#[cfg(feature = "kafka")]
mod announcements;
pub mod artifact;
#[cfg(feature = "kafka")]
pub mod catalog;
pub mod clock;
#[cfg(feature = "kafka")]
mod fetch;
mod fixed;
#[cfg(feature = "kafka")]
pub mod fleet;
#[cfg(feature = "kafka")]
mod kafka;
pub mod live;
pub mod loaded;
#[cfg(feature = "kafka")]
pub mod publish;
pub mod settings;
pub mod slot;
#[cfg(feature = "kafka")]
pub mod topics;
pub mod traffic;

pub use artifact::Artifact;
#[cfg(feature = "kafka")]
pub use catalog::Catalog;
#[cfg(feature = "kafka")]
pub use fetch::FetchError;
pub use fixed::FixedModelError;
#[cfg(feature = "kafka")]
pub use kafka::KafkaError;
pub use live::{LiveModel, ModelState, Rejection};
pub use loaded::LoadedModel;
pub use modelcast_models as models;
pub use modelcast_protocol as protocol;
#[cfg(feature = "kafka")]
pub use publish::{PublishError, PublishRequest, Published, Publisher};
