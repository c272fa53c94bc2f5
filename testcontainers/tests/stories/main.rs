//! Stories: what users do, told to a real Kafka from beginning to end.
//!
//! One module a story. In most, apps and commands are the built programs: `cargo xtask test` builds them first, and a
//! program that is missing fails its story by name. Many publish in this process, where a model of one weight says
//! more than a data set would, or where a step of the publish is held; some write by hand what no publisher would
//! (`admission`, `damaged_records`). What else needs a process of its own is a further one of this test binary
//! (`support/part.rs`). Not for what can be proven without Kafka: that is in the crates' own tests.
//!
//! # Invariants
//! * All stories share one Kafka; each has a namespace of its own, and one that stops Kafka has its own. Faults strike
//!   a cluster that one story has at a time, or a Kafka behind a proxy.
//! * Whatever is waited for has a deadline; nothing sleeps for luck.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod acks_cut;
mod admission;
mod auto_created_topic;
mod batch_versions;
mod broker_restart;
mod brokers_gone;
mod committed_survives;
mod conflict;
mod damaged_records;
mod disk_full;
mod embedded;
mod equality;
mod foreign_transaction;
mod history_lost;
mod hostile_models;
mod large_artifacts;
mod late_joiner;
mod leader_killed;
mod leader_stopped;
mod many_subscribers;
mod mirrored_topic;
mod new_leader;
mod publish_and_swap;
mod publish_by_hand;
mod publisher_killed;
mod restart_without_kafka;
mod rollback;
mod security;
mod slow_network;
mod stopped_publisher;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod swap_under_load;
mod topic_anew;
mod topics_created;
mod two_models;
mod wrong_settings;
