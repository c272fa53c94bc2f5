//! One real Apache Kafka in a container, for tests.
//!
//! Tests of what a broker really does need one: transactions, restarts, DeleteRecords, durability. [`Kafka::shared`]
//! serves a whole test binary, each test in a [namespace](Kafka::namespace) of its own; a test that stops or pauses
//! Kafka takes a private one by [`Kafka::start`].
//!
//! Not for anything but tests: nothing here is tuned, secured or kept.
//!
//! # Invariants
//! * A container goes with the process that started it, whichever way that ends: a watchdog process waits
//!   for its death, and the next start removes what even the watchdog could not.
//! * The image is chosen by `image/image.sh`, which says why not the ones before it.
//! * Nothing listens but on the loopback interface, unless `DOCKER_HOST` names another machine.
//!
//! # Example
//! ```no_run
//! use modelcast_testcontainers::Kafka;
//!
//! let kafka = Kafka::shared();
//! let namespace = kafka.namespace("story");
//! println!("topics {namespace}.* on {}", kafka.bootstrap_servers());
//! ```

mod engine;
mod image;
pub mod jars;
mod kafka;
mod owner;
mod port;
mod proxy;
mod watchdog;

pub use kafka::{Error, Kafka};
pub use proxy::{Faults, LoseAcks, Proxy, ProxyCounts};
