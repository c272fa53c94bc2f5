//! Scoring files: the built program over embedded models, without Kafka.

mod formats;
mod kills;
mod place;
mod refusals;
mod signals;
