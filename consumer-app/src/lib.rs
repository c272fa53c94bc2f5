//! An application that serves live models over HTTP.
//!
//! It subscribes to models, and answers with whichever version was admitted last: by the Open Inference Protocol for
//! programs, by a page per model for people. What admits and swaps is the crate `modelcast`; here is what an
//! application puts around it.
//!
//! In reading order: [`cli`] and [`settings`] say what is wanted; [`app`] is the story; [`feed`] brings the models and
//! [`served`] holds them; [`server`], [`router`] and [`body`] take requests in; [`oip`] and [`grpc`] answer programs
//! and [`page`] people; [`status`], [`events`] and [`metrics`] say how it goes; [`refusal`] is every way not to answer.
//! Beside what is live, [`batch`] scores files, [`predictions`] keeps and serves what it scored, and [`stream`] scores
//! records from topic to topic.
//!
//! # Invariants
//! * One request uses one snapshot from start to end: no answer mixes two versions.
//! * What a caller sends ends in an answer or a 4xx, within memory that is capped; never in a panic.

pub mod app;
pub mod auth;
pub mod batch;
pub mod body;
pub mod cli;
mod connections;
pub mod events;
pub mod feed;
pub mod grpc;
pub mod guard;
pub mod metrics;
pub mod oip;
pub mod openapi;
pub mod pace;
pub mod page;
pub mod predictions;
pub mod refusal;
pub mod router;
pub mod routes;
pub mod served;
pub mod server;
pub mod settings;
pub mod status;
pub mod stream;
mod tls;
mod warnings;
