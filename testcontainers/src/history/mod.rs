//! Histories: what everybody did and saw during a run, and whether it kept the guarantees.
//!
//! Publishers, subscribers, requests and a final reader write [`Event`]s with a [`Recorder`], each process into a file
//! of its own; [`History::load`] reads them, and [`check`] says of each guarantee whether it held, with file and line of
//! what contradicts it. `cargo run -p modelcast-testcontainers --bin check-history -- FOLDER` does both.
//!
//! # Invariants
//! * No verdict compares the clocks of two processes. The times in a history are for reading; only a status record is
//!   held against the answers of its own process by that process's clock.
//! * What is checked is stated here a second time, not asked of the code that is under test: who wins a generation,
//!   what a change does to a state, what an instance should run, what a version answers.
//! * A guarantee for which there was nothing to check is reported as that, never as held.

mod check;
mod event;
mod read;
mod record;
mod report;
mod table;

pub use check::check;
pub use event::{
    Action, Announced, Answer, Ended, Event, Line, Lost, Outcome, Refusal, Reported, Seen, Settlement,
    Started,
};
pub use read::{History, HistoryError, Process};
pub use record::Recorder;
pub use report::{Counts, Finding, Place, Report, Verdict, Violation};
pub use table::Table;
