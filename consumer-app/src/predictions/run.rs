//! A run: one pass of a model over one input, what came of it, and what was decided about it.
//!
//! Plain values. What may become of a run, and who may decide it, is the store's business (see `store`).

use std::{fmt, str::FromStr};

use modelcast_protocol::{Digest, Generation, InstanceName, ModelName, Version, schema::Output};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Longest key of a row, in bytes: an index of PostgreSQL holds it with room to spare.
pub const KEY_MAX_BYTES: usize = 512;
/// Longest name of who decides, in bytes.
pub const WHO_MAX_BYTES: usize = 256;

/// Name of a run: of the grammar of all our names, unique in a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

/// A text that is no run's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("run {text:?} does not match [a-z0-9]([a-z0-9._-]{{0,62}}[a-z0-9])?")]
pub struct RunIdError {
    text: String,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Rows are still coming; it may be resumed.
    Running,
    /// Finished, and waits for somebody to inspect it.
    Waiting,
    /// Served: at most one run of each model.
    Approved,
    /// Was served until another was approved; approving it again is the rollback.
    Superseded,
    /// Never served.
    Rejected,
    /// Given up before it was finished.
    Abandoned,
    /// Too old: its rows are deleted, and what it was stays.
    Pruned,
}

/// What a run read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// What the settings call it.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last changed, in Unix milliseconds.
    pub modified_at_unix_ms: u64,
    /// Digest of its bytes, or of as much of them as tells it from another.
    pub digest: Digest,
}

/// A run that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its name.
    pub run: RunId,
    /// The model.
    pub model: ModelName,
    /// The version that scores.
    pub version: Version,
    /// Digest of that version's manifest.
    pub digest: Digest,
    /// Generation at which that version was in force.
    pub generation: Generation,
    /// What is read.
    pub input: Input,
    /// The model's outputs: their number and order are those of the values of each row.
    pub outputs: Vec<Output>,
    /// When, in Unix milliseconds.
    pub started_at_unix_ms: u64,
}

/// A run as the store has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its name.
    pub run: RunId,
    /// The model.
    pub model: ModelName,
    /// The version that scored.
    pub version: Version,
    /// Digest of that version's manifest.
    pub digest: Digest,
    /// Generation at which that version was in force.
    pub generation: Generation,
    /// What was read.
    pub input: Input,
    /// The model's outputs.
    pub outputs: Vec<Output>,
    /// Where it stands.
    pub state: RunState,
    /// Rows of the input that are done, stored or failed.
    pub position: u64,
    /// Predictions stored.
    pub rows: u64,
    /// Rows that have none.
    pub failures: u64,
    /// When it began, in Unix milliseconds.
    pub started_at_unix_ms: u64,
    /// When it was finished or given up.
    pub finished_at_unix_ms: Option<u64>,
    /// Why it was given up.
    pub cause: Option<String>,
    /// The last decision about it.
    pub decision: Option<Decision>,
    /// The summary that the batch made: JSON.
    #[serde(skip)]
    pub summary: Option<String>,
    /// The store's own number for it.
    #[serde(skip)]
    pub(crate) number: i64,
}

/// Who decided what about a run, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What the run became by it.
    pub verdict: Verdict,
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
    /// When, in Unix milliseconds.
    pub at_unix_ms: u64,
}

/// What can be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Serve it.
    Approved,
    /// Never serve it.
    Rejected,
}

/// A row with its prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRow {
    /// Number of the row in the input, from 0; a header does not count.
    pub row: u64,
    /// Its key, unique in the input, from 1 to [`KEY_MAX_BYTES`] bytes without a zero byte.
    pub key: String,
    /// One finite value for each output, in their order.
    pub values: Vec<f64>,
}

/// A row that has no prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureRow {
    /// Number of the row in the input, from 0; a header does not count.
    pub row: u64,
    /// Its key, where it has a usable one.
    pub key: Option<String>,
    /// What is wrong with it.
    pub cause: String,
}

/// A prediction that differs between two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mover {
    /// The key.
    pub key: String,
    /// Name of the output.
    pub output: String,
    /// The value in the run compared against.
    pub before: f64,
    /// The value in this run.
    pub now: f64,
}

impl RunId {
    /// Checks a text against the grammar.
    ///
    /// # Errors
    /// [`RunIdError`] when it does not match.
    pub fn parse(text: &str) -> Result<Self, RunIdError> {
        // The grammar of instances' names, which is that of all names.
        let checked = InstanceName::parse(text);
        checked
            .map(|_| Self(text.to_owned()))
            .map_err(|_| RunIdError { text: text.chars().take(80).collect() })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl RunState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Waiting,
        Self::Approved,
        Self::Superseded,
        Self::Rejected,
        Self::Abandoned,
        Self::Pruned,
    ];

    /// The word for it, in the tables too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Superseded => "superseded",
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
            Self::Pruned => "pruned",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Verdict {
    /// The word for it, in the tables too.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.state().name()
    }

    /// What a run becomes by it.
    pub(crate) fn state(self) -> RunState {
        match self {
            Self::Approved => RunState::Approved,
            Self::Rejected => RunState::Rejected,
        }
    }

    /// From which states it can be decided.
    pub(crate) fn possible_from(self) -> &'static [RunState] {
        match self {
            Self::Approved => &[RunState::Waiting, RunState::Superseded],
            Self::Rejected => &[RunState::Waiting],
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Approved, Self::Rejected].into_iter().find(|verdict| verdict.name() == name)
    }
}

impl Run {
    /// Whether somebody may decide that about it now.
    #[must_use]
    pub fn can_become(&self, verdict: Verdict) -> bool {
        verdict.possible_from().contains(&self.state)
    }
}
