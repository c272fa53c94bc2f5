//! Publish model versions to Kafka, and subscribe to them live: the crate that an application adds.
//!
//! A [`Publisher`] makes a version current, all at once. A [`Subscriber`] follows what is current and gives a
//! [`LiveModel`] for each model, which is swapped while it serves. `examples/live_service.rs` puts a live model into a
//! service in 20 lines; `examples/test_without_kafka.rs` tests such a service. Without the default feature `kafka` an
//! application links no Kafka, and has [`LoadedModel::embedded`] and [`LiveModel::fixed`].
//!
//! In reading order: [`slot`] and [`live`] are what predictions see; [`admission`] is the gate before them;
//! [`subscribe`] brings versions there; [`publish`] sends them; [`catalog`] and [`fleet`] read what is there; [`pipe`]
//! takes an application's own records from topic to topic.
//!
//! # Invariants
//! * A prediction uses one snapshot: model, version and digest in one `Arc`.
//! * The predict path never blocks, allocates or frees a model.

pub mod admission;
#[cfg(feature = "kafka")]
mod announcements;
pub mod artifact;
#[cfg(feature = "kafka")]
pub mod catalog;
mod causes;
pub mod clock;
pub mod embedded;
#[cfg(feature = "kafka")]
mod fetch;
mod fixed;
#[cfg(test)]
mod fixture;
#[cfg(feature = "kafka")]
pub mod fleet;
#[cfg(feature = "kafka")]
mod kafka;
pub mod live;
pub mod loaded;
#[cfg(feature = "kafka")]
pub mod pipe;
#[cfg(feature = "kafka")]
pub mod publish;
pub mod settings;
pub mod slot;
#[cfg(feature = "kafka")]
pub mod subscribe;
#[cfg(feature = "kafka")]
pub mod topics;
pub mod traffic;

pub use artifact::Artifact;
#[cfg(feature = "kafka")]
pub use catalog::Catalog;
pub use causes::with_causes;
pub use embedded::{Embedded, EmbeddedError};
#[cfg(feature = "kafka")]
pub use fetch::FetchError;
pub use fixed::FixedModelError;
#[cfg(feature = "kafka")]
pub use kafka::{KafkaError, wait_until_closed};
pub use live::{LiveModel, ModelState, Rejection};
pub use loaded::{LoadedModel, Origin};
pub use modelcast_models as models;
pub use modelcast_protocol as protocol;
#[cfg(feature = "kafka")]
pub use publish::{PublishError, PublishRequest, Published, Publisher};
#[cfg(feature = "kafka")]
pub use subscribe::{SubscribeError, Subscriber};
