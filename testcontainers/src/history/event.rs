//! What can be written into a history.
//!
//! One line is one event as JSON; people read it too. Says what was done and seen, never what to make of it.

use std::collections::BTreeMap;

use modelcast::protocol::desired::{DesiredState, Labels, PinTarget};
use modelcast::protocol::status::{Phase, Served, Status, StatusVersion};
use modelcast::protocol::{Digest, Generation, InstanceName, ModelName, Version};
use serde::{Deserialize, Serialize};

use super::table::Table;

/// One line of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Who writes, as `pub-1.2` for the second process named pub-1; the file's name without `.jsonl`.
    pub process: String,
    /// Counts the lines of the process, from 1 and without gaps.
    pub sequence: u64,
    /// Microseconds since the process began to write.
    pub mono_us: u64,
    /// Unix milliseconds, by the clock of the process.
    pub wall_ms: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A process began.
    Started(Started),
    /// A process ended in an orderly way.
    Stopped,
    /// A publisher is about to do something. Written before anything is sent.
    Attempt {
        /// Its name, in the announcement as the reason.
        operation: String,
        /// Of which model.
        model: ModelName,
        /// What.
        action: Action,
        /// How long the publisher must have tried before it may call the outcome unknown.
        patience_ms: u64,
    },
    /// The manifest of a version is about to be read back and announced.
    Uploaded {
        /// By which operation.
        operation: String,
        /// Its digest.
        manifest: Digest,
    },
    /// What an operation was told became of it.
    Ended(Ended),
    /// What the log said later of an outcome that was unknown.
    Settled {
        /// Of which operation.
        operation: String,
        /// Of which model.
        model: ModelName,
        /// The generation it proposed.
        generation: Generation,
        /// Its announcement.
        announcement: Digest,
        /// What the log said.
        settlement: Settlement,
    },
    /// What a subscriber says of a model now.
    Seen(Seen),
    /// What a request was answered.
    Answer(Answer),
    /// A record of the announcements, read when all was over.
    Announced(Announced),
    /// A record of the announcements that nobody can verify.
    NotVerified {
        /// Where it stands.
        offset: i64,
        /// What is wrong with it.
        cause: String,
    },
    /// A status record, read when all was over.
    Reported(Reported),
    /// Whether a version that is still named reads back whole, when all was over.
    ReadBack {
        /// Of which model.
        model: ModelName,
        /// Which.
        version: Version,
        /// Digest of its manifest.
        manifest: Digest,
        /// Why not.
        error: Option<String>,
    },
    /// An instance runs, and should be where everybody should be, when all was over.
    Expected {
        /// Which.
        instance: InstanceName,
        /// Of which model.
        model: ModelName,
    },
    /// What was done to brokers, connections and processes.
    Fault {
        /// What, as `kill-broker`.
        kind: String,
        /// To whom.
        target: String,
        /// How much, for how long.
        detail: String,
    },
    /// From here on nothing is done to anybody.
    Healed,
}

/// A process began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The instance, for a subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// Its labels. The one named `boot` has [`boot`](Self::boot), so that status records tell whose they are.
    #[serde(default)]
    pub labels: Labels,
    /// Counts the processes of one name; one begins when the one before is gone.
    pub boot: u64,
}

/// What a publisher can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Publish a version.
    Publish {
        /// What it computes.
        table: Table,
        /// Digest of its artifact.
        artifact: Digest,
        /// The part of the instances that tries it, in hundredths of a percent; without one it is the champion.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cohort: Option<u16>,
    },
    /// Go back to the newest older version, and forbid the one that is left.
    Rollback,
    /// Hold instances on a version.
    Pin {
        /// Whom.
        target: PinTarget,
        /// On which.
        version: Version,
    },
    /// Let go of instances.
    Unpin {
        /// Whom.
        target: PinTarget,
    },
    /// Forbid a version.
    Quarantine {
        /// Which.
        version: Version,
        /// What runs instead, where it is the champion.
        instead: Option<Version>,
    },
    /// Allow a version again.
    Release {
        /// Which.
        version: Version,
    },
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which operation.
    pub operation: String,
    /// What it was told.
    pub outcome: Outcome,
    /// Who was first before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
}

/// What a publisher was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in force, or was.
    Committed {
        /// The version that it introduced.
        version: Option<Version>,
        /// Its generation.
        generation: Generation,
        /// The announcement.
        announcement: Digest,
    },
    /// There was nothing to publish.
    Unchanged {
        /// The champion.
        version: Version,
        /// At which generation.
        generation: Generation,
        /// Digest of its manifest.
        manifest: Digest,
    },
    /// Others were first, too often.
    Conflict,
    /// Nobody knows.
    Unknown {
        /// The generation it proposed.
        generation: Generation,
        /// The announcement.
        announcement: Digest,
        /// Why nobody knows.
        cause: String,
    },
    /// A rule said no: nothing was announced.
    Refused {
        /// Which rule.
        rule: Refusal,
        /// In words.
        cause: String,
    },
    /// Kafka did not do its part: nothing was announced.
    Unavailable {
        /// In words.
        cause: String,
    },
}

/// The rule that said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The change makes no sense for what is in force.
    Change,
    /// The log has less than the fleet has seen.
    HistoryLost {
        /// What the fleet reports.
        reported: Generation,
    },
    /// Anything else: in a run in which nobody lies, nothing else is ever refused.
    Other,
}

/// A generation that somebody else announced first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Which.
    pub generation: Generation,
    /// Their announcement.
    pub announcement: Digest,
    /// Who, as the publisher was told.
    pub by: String,
}

/// What a log says of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// It took force.
    Committed,
    /// Another took force in its place.
    Conflict {
        /// Which.
        by: Digest,
    },
    /// It does not say.
    Undecided,
}

/// What a subscriber says of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Which model.
    pub model: ModelName,
    /// Where it stands.
    pub phase: Phase,
    /// What it should run.
    pub wanted: Option<StatusVersion>,
    /// What it serves.
    pub served: Option<Served>,
    /// The generation seen last.
    pub generation_seen: Generation,
    /// The announcement at it.
    pub announcement_seen: Option<Digest>,
    /// Versions swapped in since the start.
    pub swaps: u64,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What one request was answered; all of it from one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Which thread asked; the answers of one thread are in the order in which it asked.
    pub thread: u32,
    /// When it asked, Unix milliseconds by the clock of the process.
    pub asked_ms: u64,
    /// Which model.
    pub model: ModelName,
    /// What answered.
    pub version: Version,
    /// The generation at which it served.
    pub generation: Generation,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its artifact.
    pub artifact: Digest,
    /// Places of the table that were asked for.
    pub places: Vec<u32>,
    /// What came back.
    pub values: Vec<f64>,
}

/// A record of the announcements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// Where it stands.
    pub offset: i64,
    /// Of which model.
    pub model: ModelName,
    /// Which generation it proposes.
    pub generation: Generation,
    /// Its digest.
    pub digest: Digest,
    /// Its predecessors, oldest first.
    pub recent: Vec<Digest>,
    /// What it says; without the bytes that it carries along.
    pub state: DesiredState,
}

/// A status record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// The partition.
    pub partition: i32,
    /// Where it stands in it.
    pub offset: i64,
    /// What it says.
    pub status: Box<Status>,
}

/// How often each kind of fault struck.
pub(super) type FaultCounts = BTreeMap<String, u64>;
