//! Publish model versions to Kafka, and subscribe to them live.
//!
//! The crate that an application adds.

pub mod admission;
pub mod artifact;
pub mod clock;
mod fixed;
pub mod live;
pub mod loaded;
pub mod settings;
pub mod slot;
pub mod traffic;

pub use artifact::Artifact;
pub use fixed::FixedModelError;
pub use live::{LiveModel, ModelState, Rejection};
pub use loaded::LoadedModel;
pub use modelcast_models as models;
pub use modelcast_protocol as protocol;
