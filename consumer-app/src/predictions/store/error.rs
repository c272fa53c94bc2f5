//! What can go wrong with stored predictions, and what to do about it.
//!
//! # Invariants
//! * A place is named by host and database or by file; never with a password.

use modelcast_protocol::ModelName;
use thiserror::Error;

use crate::predictions::run::{RunId, RunState};

/// Why the store does not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The setting names no store.
    #[error("predictions.store is no file of SQLite and no URL of PostgreSQL: {cause}")]
    Address {
        /// What is wrong with it; the value itself may hold a password.
        cause: String,
    },
    /// The database cannot be reached, or was lost in the middle.
    #[error("{place} cannot be reached: {cause}")]
    Unreachable {
        /// Which database.
        place: String,
        /// What it, or the system, said.
        cause: String,
    },
    /// Another process holds the database, or the statement took too long.
    #[error("{place} did not answer within {seconds} s (predictions.statement_timeout_seconds): try again")]
    Slow {
        /// Which database.
        place: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The tables were made by a newer release.
    #[error(
        "{place} has tables of version {found}, and this release knows up to {known}: use the newer release"
    )]
    Newer {
        /// Which database.
        place: String,
        /// The version there.
        found: i64,
        /// The version known here.
        known: i64,
    },
    /// The database does not do what it was told.
    #[error("{place}: {cause}")]
    Database {
        /// Which database.
        place: String,
        /// What it said.
        cause: String,
    },
    /// Something stands in the tables that was not written by this program.
    #[error("{place}: {what} in the tables is not what this program writes")]
    Unexpected {
        /// Which database.
        place: String,
        /// Which column.
        what: &'static str,
    },
    /// There is no such run.
    #[error("there is no run {run}: `consumer-app predictions list` shows those that there are")]
    NoRun {
        /// The name asked for.
        run: RunId,
    },
    /// The run is of another state than this needs.
    #[error("run {run} is {state}{}, and can no longer become {wanted}", by(.decided))]
    State {
        /// The run.
        run: RunId,
        /// Where it stands.
        state: RunState,
        /// Who decided that, if it was a person.
        decided: Option<String>,
        /// What it should have become.
        wanted: RunState,
    },
    /// A run of that name was begun for something else.
    #[error("run {run} was begun with another {what}: give this run another name")]
    Differs {
        /// The run.
        run: RunId,
        /// What is different.
        what: &'static str,
    },
    /// Another process goes on with the same run.
    #[error("another process goes on with run {run}: this one ends, and what it did not write is not lost")]
    Overtaken {
        /// The run.
        run: RunId,
    },
    /// A row has more or fewer values than the run has outputs, or one that is not finite.
    #[error("row {row} of run {run} does not have {outputs} finite values, one for each output")]
    Values {
        /// The run.
        run: RunId,
        /// Number of the row.
        row: u64,
        /// Outputs of the run.
        outputs: usize,
    },
    /// No run of the model is approved.
    #[error("no run of model {model} is approved")]
    NoneApproved {
        /// The model.
        model: ModelName,
    },
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Open the store anew and try again: it may work later.
    Retry,
    /// Tell who asked: the same again fails again.
    Refuse,
    /// A person must mend settings or database.
    Mend,
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } => Remedy::Retry,
            Self::NoRun { .. }
            | Self::State { .. }
            | Self::Differs { .. }
            | Self::Overtaken { .. }
            | Self::Values { .. }
            | Self::NoneApproved { .. } => Remedy::Refuse,
            Self::Address { .. } | Self::Newer { .. } | Self::Database { .. } | Self::Unexpected { .. } => {
                Remedy::Mend
            }
        }
    }
}

fn by(decided: &Option<String>) -> String {
    decided.as_ref().map(|who| format!(" by {who}")).unwrap_or_default()
}
