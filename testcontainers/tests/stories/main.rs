//! Stories: what users do, told to the built programs and a real Kafka from beginning to end.
//!
//! One module a story. `cargo xtask test` builds the programs first; a program that is missing fails its story by
//! name. Not for what can be proven without Kafka: that is in the crates' own tests.
//!
//! # Invariants
//! * All stories share one Kafka; each has a namespace of its own, and one that stops Kafka has its own.
//! * Whatever is waited for has a deadline; nothing sleeps for luck.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod admission;
mod conflict;
mod history_lost;
mod hostile_models;
mod large_artifacts;
mod late_joiner;
mod publish_and_swap;
mod publish_by_hand;
mod restart_without_kafka;
mod rollback;
#[path = "../support/mod.rs"]
mod support;
mod swap_under_load;
mod wrong_settings;
