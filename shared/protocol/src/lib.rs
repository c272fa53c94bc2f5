//! What crosses Kafka, as pure functions: no tokio, no rdkafka, no clock, no I/O.
//!
//! Everything a reader and a publisher must agree on is here, and nothing else: how a record is signed and laid
//! out, which announcement is in force, what an instance should run, and how an artifact is cut into chunks.
//! `docs/protocol.md` says the same in prose, for a reader or a publisher in another language.
//!
//! In reading order: [`name`], [`number`] and [`digest`] name things; [`limits`] caps them; [`codec`] and
//! [`envelope`] put them into bytes; [`announcement`], [`manifest`], [`chunk`] and [`status`] are the records;
//! [`fold`], [`outcome`] and [`resolve`] decide.
//!
//! # Invariants
//! * No function here panics on bytes from outside.
//! * Time is an argument, in Unix milliseconds, and decides nothing: it is shown to people.

pub mod announcement;
pub mod change;
pub mod chunk;
pub mod chunking;
pub mod codec;
pub mod desired;
pub mod digest;
pub mod envelope;
pub mod fold;
pub mod golden;
pub mod key;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod number;
pub mod outcome;
pub mod resolve;
pub mod schema;
pub mod status;
pub mod topic;

pub use digest::Digest;
pub use name::{InstanceName, ModelName, Namespace};
pub use number::{Generation, Version};
