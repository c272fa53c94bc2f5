//! Why something was not published, by what to do about it.

use modelcast_protocol::{
    Digest, Generation, ModelName, announcement::AnnouncementError, change::ChangeError,
    manifest::ManifestError,
};
use thiserror::Error;

use super::{announce::Conflict, gate::GateResult, recover::RecoveryError};
use crate::{fetch::FetchError, kafka::KafkaError};

/// Nothing new is in force, or nobody knows.
#[derive(Debug, Error)]
pub enum PublishError {
    /// Kafka did not do its part. Try again when [`KafkaError::is_transient`].
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The change makes no sense for what is in force.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A gate said no.
    #[error("refused by {}", failed(.0))]
    Gates(Vec<GateResult>),
    /// An override names a gate that does not exist.
    #[error("there is no gate {name:?} to override; there are {known}")]
    UnknownGate {
        /// The name.
        name: String,
        /// The gates there are.
        known: String,
    },
    /// A record at a generation to come that cannot be verified: somebody with a key that is not trusted here may
    /// have decided it.
    #[error(
        "refused: offset {offset} of the announcements holds generation {generation}, which cannot be verified ({cause}); \
         trust its key, or remove it as docs/operations.md says"
    )]
    UnverifiedRecord {
        /// Where it stands.
        offset: i64,
        /// What it claims.
        generation: Generation,
        /// Why it is not trusted.
        cause: String,
    },
    /// What is in force was written by a newer program.
    #[error("refused: the announcement in force is not understood ({cause}); upgrade this program")]
    NotUnderstood {
        /// Why not.
        cause: String,
    },
    /// The log has less than the fleet has seen.
    #[error(
        "refused: history lost: instance {instance} reports generation {reported} of {model}, the log ends at {found}"
    )]
    HistoryLost {
        /// Of which model.
        model: ModelName,
        /// Who reports it.
        instance: String,
        /// What it reports.
        reported: Generation,
        /// What the log has.
        found: Generation,
    },
    /// What is lost cannot be recovered like this.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Others announced first, again and again.
    #[error("conflict: {} announced first {} times in a row, last at generation {}", .0.by, .1, .0.generation)]
    Conflict(Box<Conflict>, usize),
    /// The log does not say whether the announcement took force.
    #[error(
        "unknown: the announcement of generation {generation} was sent, and the log does not say what became of it; \
         settle it later with `modelcast settle {model} {generation} {digest}`"
    )]
    Unknown {
        /// Of which model.
        model: ModelName,
        /// Which generation it proposed.
        generation: Generation,
        /// The announcement.
        digest: Digest,
        /// Why it does not: it cannot be read, or does not have the announcement, which may still come.
        #[source]
        cause: Box<KafkaError>,
    },
    /// The artifact cannot be read.
    #[error("cannot read the artifact")]
    Artifact(#[from] std::io::Error),
    /// What was to be published makes no manifest.
    #[error("cannot describe the artifact")]
    Manifest(#[from] ManifestError),
    /// The desired state makes no announcement.
    #[error("cannot announce this")]
    Announcement(#[from] AnnouncementError),
    /// The version does not come back from the brokers as it was sent.
    #[error("the version was sent, and does not read back: nothing was announced")]
    ReadBack(#[source] FetchError),
    /// A version that was to be read is not whole.
    #[error("version {version} does not verify")]
    Version {
        /// Which.
        version: modelcast_protocol::Version,
        /// What is wrong with it.
        #[source]
        source: FetchError,
    },
    /// A part of this process died.
    #[error("{what} ended unexpectedly: {cause}")]
    Internal {
        /// Which part.
        what: String,
        /// How.
        cause: String,
    },
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again later.
    Unavailable,
    /// Somebody else was first; look again.
    Conflict,
    /// A rule said no; change what is published, or override it with a reason.
    Refused,
    /// Settle it later.
    Unknown,
    /// Mend the cause.
    Failed,
}

impl PublishError {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Kafka(error) | Self::ReadBack(FetchError::Kafka(error)) if error.is_transient() => {
                Class::Unavailable
            }
            Self::Recovery(RecoveryError::Moved { .. }) | Self::Conflict(..) => Class::Conflict,
            Self::Kafka(_) | Self::ReadBack(_) | Self::Artifact(_) | Self::Internal { .. } => Class::Failed,
            Self::Change(_)
            | Self::Gates(_)
            | Self::UnknownGate { .. }
            | Self::UnverifiedRecord { .. }
            | Self::NotUnderstood { .. }
            | Self::HistoryLost { .. }
            | Self::Recovery(_)
            | Self::Manifest(_)
            | Self::Announcement(_)
            | Self::Version { .. } => Class::Refused,
            Self::Unknown { .. } => Class::Unknown,
        }
    }
}

fn failed(gates: &[GateResult]) -> String {
    let failed: Vec<_> = gates
        .iter()
        .filter(|gate| gate.is_failed())
        .map(|gate| format!("gate {}: {}", gate.gate, gate.detail))
        .collect();
    failed.join("; ")
}
