//! One real Apache Kafka in a container, for tests.
//!
//! Tests of what a broker really does need one: transactions, restarts, DeleteRecords, durability. [`Kafka::shared`]
//! serves a whole test binary, each test in a [namespace](Kafka::namespace) of its own; a test that stops or pauses
//! Kafka takes a private one by [`Kafka::start`].
//! A [`Stage`] is what a test of an application plays on, a [`TinyModel`] what it publishes there, a [`Fleet`] the
//! application several times over.
//!
//! Not for anything but tests: nothing here is tuned, secured or kept.
//!
//! # Invariants
//! * A container goes with the process that started it, whichever way that ends: a watchdog process waits
//!   for its death, and the next start removes what even the watchdog could not.
//! * The image is chosen by `image/image.sh`, which says why not the ones before it.
//! * Nothing listens but on the loopback interface, unless `DOCKER_HOST` names another machine.
//!
//! # A whole integration test
//! `tests/users_test.rs`, which runs with our own tests:
#![doc = "```ignore"]
#![doc = include_str!("../tests/users_test.rs")]
#![doc = "```"]
//! In `Cargo.toml`: `modelcast = { git = "…" }`, and under `[dev-dependencies]` the same for
//! `modelcast-testcontainers`.

mod engine;
mod fleet;
mod image;
pub mod jars;
mod kafka;
mod owner;
mod port;
mod process;
mod proxy;
mod stage;
mod tiny;
mod wait;
mod watchdog;

pub use fleet::{Fleet, FleetError};
pub use kafka::{Error, Kafka};
pub use process::{Process, bound_command};
pub use proxy::{Faults, LoseAcks, Proxy, ProxyCounts};
pub use stage::{Stage, StageError, publish};
pub use tiny::TinyModel;
pub use wait::{DEADLINE, NotYet, wait_until, wait_until_blocking};
