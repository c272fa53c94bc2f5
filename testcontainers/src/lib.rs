//! A real Apache Kafka for tests: one broker, or three with what can happen to them.
//!
//! In a container, or [elsewhere](#where-the-kafka-comes-from): a test that needs what not each can show says so first,
//! by [`offers`].
//!
//! Tests of what a broker really does need one: transactions, restarts, DeleteRecords, durability. [`Kafka::shared`]
//! serves a whole test binary, each test in a [namespace](Kafka::namespace) of its own; a test that stops or pauses
//! Kafka takes a private one by [`Kafka::start`], or by [`Kafka::builder`] one with other settings, more listeners or
//! faults. [`Cluster::exclusive`] is one of a test binary's two clusters, for one test at a time. A [`Stage`] is what
//! a test of an application plays on, a [`TinyModel`] what it publishes there, a [`Fleet`] the application several
//! times over.
//!
//! Not for anything but tests: nothing here is tuned, secured or kept.
//!
//! # Invariants
//! * A container, or the processes and their folder, go with the process that started them, whichever way that ends:
//!   a watchdog process waits for its death. A container that outlived even the watchdog the next start removes.
//! * The image is chosen by `image/image.sh`, which says why not the ones before it.
//! * Nothing listens but on the loopback interface, unless `DOCKER_HOST` names another machine.
//!
//! # A whole integration test
//! `tests/users_test.rs`, which runs with our own tests:
#![doc = "```ignore"]
#![doc = include_str!("../tests/users_test.rs")]
#![doc = "```"]
//! In `Cargo.toml`: `modelcast = { git = "…" }`, and under `[dev-dependencies]` the same for
//! `modelcast-testcontainers`, and `tokio` with `macros` and `rt-multi-thread` for `#[tokio::test]`. The build compiles
//! librdkafka: it needs a C and C++ compiler, `make`, `pkg-config`, and OpenSSL's headers.
//!
//! # Where the Kafka comes from
//! The first of these that the machine can offer, or the one that `MODELCAST_TEST_KAFKA` names; standard error says
//! which, and why not the ones before.
//!
//! | `MODELCAST_TEST_KAFKA` | what it needs |
//! |---|---|
//! | `container` | Docker, or Podman with its socket in `DOCKER_HOST`; the image that `MODELCAST_KAFKA_IMAGE` names (`java` on its `PATH`, Kafka's jars in its `/opt/kafka/libs`), or `apache/kafka`, pulled, or as root on Debian one that is built |
//! | `process` | Linux and Java 17, in `JAVA_HOME` or on the `PATH`; fetches 56 MB once, from `MODELCAST_MAVEN_REPOSITORY` or Maven Central, into `MODELCAST_CACHE` or `~/.cache/modelcast` |
//! | `embedded` | Linux and `modelcast-broker`, in `MODELCAST_BROKER` or on the `PATH` |
//! | `HOST:PORT` | a Kafka for tests alone: their topics stay there |

mod backend;
mod blocking;
mod brokers;
mod cluster;
pub mod damage;
mod engine;
mod error;
mod fleet;
pub mod history;
pub mod hostile;
mod image;
pub mod jars;
mod java;
mod kafka;
mod machine;
mod namespace;
mod node;
mod owner;
mod port;
mod process;
mod proxy;
pub mod security;
mod stage;
mod tiny;
mod topics;
mod topology;
mod wait;
mod watchdog;

pub use backend::{Ability, Backend, BackendError, offers, skip};
pub use cluster::{Cluster, ClusterBuilder, ClusterGuard};
pub use error::Error;
pub use fleet::{Fleet, FleetError};
pub use kafka::{Kafka, KafkaBuilder};
pub use node::BrokerId;
pub use process::{Process, bound_command};
pub use proxy::{Faults, LoseAcks, Proxy, ProxyCounts};
pub use stage::{Stage, StageError, publish};
pub use tiny::TinyModel;
pub use wait::{DEADLINE, NotYet, wait_until, wait_until_blocking};
