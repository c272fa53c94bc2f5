//! Properties of the protocol: what must hold for every log, every change and every byte string.
//!
//! Each runs on fixed seeds, so that a run that was green stays green. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` widen
//! the search. The rules that decide are behind [`rule::Rule`], so that the very same property is shown to fail for
//! rules that are wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test says no")]

mod bytes;
mod changes;
mod continuity;
mod log;
mod mutants;
mod resolving;
mod round_trip;
mod rule;
mod runner;
mod sample;
mod world;
