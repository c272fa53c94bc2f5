//! The status record: what one instance says of one model.
//!
//! Written on change and as a heartbeat, keyed `<model>/<instance>`; null at an orderly shutdown. Not signed: it
//! informs people and publishers, and decides nothing that an instance runs.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, CodecError, Record},
    desired::Labels,
    digest::Digest,
    limits::{LABELS_MAX, REASON_MAX_BYTES, SCHEMA_TEXT_MAX_BYTES, STATUS_MAX_BYTES},
    name::{InstanceName, ModelName},
    number::{Generation, Version},
};

/// An instance without a heartbeat for this long is silent.
pub const SILENT_AFTER_MS: u64 = 30_000;
/// How often an instance reports when nothing changes.
pub const HEARTBEAT_MS: u64 = 10_000;
/// Most warnings in one record.
pub const WARNINGS_MAX: usize = 8;
/// Longest boot id; ours have 16.
const BOOT_ID_MAX_BYTES: usize = 64;

/// What one instance says of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Major version of this record.
    pub v: u16,
    /// Of which model.
    pub model: ModelName,
    /// Which instance.
    pub instance: InstanceName,
    /// 16 hexadecimal digits drawn at its start: two that take turns are two processes with one name.
    pub boot_id: String,
    /// Counts this process's records.
    pub sequence: u64,
    /// When it was written, by the instance's clock, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Labels of the instance.
    #[serde(default)]
    pub labels: Labels,
    /// Where it stands with the version it should run.
    pub phase: Phase,
    /// What it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<StatusVersion>,
    /// What it serves meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
    /// The generation of the announcement in force that it has seen.
    pub generation_seen: Generation,
    /// Digest of that announcement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcement_seen: Option<Digest>,
    /// What a person should know: `history lost`, an announcement that is not understood, no news.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What it answered since its start.
    #[serde(default)]
    pub traffic: Traffic,
}

/// A version by number and manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusVersion {
    /// Its number.
    pub version: Version,
    /// Digest of its manifest.
    pub manifest: Digest,
}

/// What an instance serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Its number.
    pub version: Version,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// The generation at which it was swapped in.
    pub generation: Generation,
    /// Since when, Unix milliseconds.
    pub since_unix_ms: u64,
}

/// Where an instance stands with the version that it should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is announced yet.
    Waiting,
    /// The announcement was seen.
    Seen,
    /// The artifact is coming in.
    Fetching {
        /// Raw bytes there.
        done_bytes: u64,
        /// Raw bytes in all.
        total_bytes: u64,
    },
    /// All bytes are there, as the manifest says.
    Verified,
    /// It is a model.
    Decoded,
    /// Its golden rows agree.
    Tested,
    /// It is on disk, about to be swapped in.
    Staged,
    /// It answers requests.
    Live,
    /// It was refused.
    Refused {
        /// By which check.
        stage: Stage,
        /// For what reason.
        cause: String,
    },
}

/// The check that refused a version, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Manifest or chunk cannot be had.
    Fetch,
    /// Larger than this instance allows.
    Size,
    /// Bytes are not the stated ones.
    Digest,
    /// Not signed by a trusted key.
    Signature,
    /// The manifest contradicts itself.
    Manifest,
    /// No decoder for this format or a feature it requires.
    Format,
    /// The decoder refused, or panicked.
    Decode,
    /// The application asks for another feature schema.
    Schema,
    /// A golden row came out differently.
    Golden,
    /// A warm-up prediction failed.
    WarmUp,
    /// The process died while decoding it.
    Crash,
}

/// What an instance answered since its start.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Rows predicted.
    pub predictions: u64,
    /// Rows that could not be.
    pub errors: u64,
    /// Median latency of a prediction, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p50_seconds: Option<f64>,
    /// 99th percentile, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p99_seconds: Option<f64>,
    /// Mean of the first output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_mean: Option<f64>,
    /// Standard deviation of the first output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_deviation: Option<f64>,
}

impl Record for Status {
    const VERSION: u16 = 1;
    const NOUN: &'static str = "status";
}

impl Status {
    /// The record's key.
    #[must_use]
    pub fn key(&self) -> String {
        key(&self.model, &self.instance)
    }

    /// Encodes the record. A cause or warning that is too long is cut, and surplus warnings are left out: a refusal
    /// must reach its readers however much it has to say.
    ///
    /// # Errors
    /// [`CodecError`] when labels or boot id are too long or too many, or the record is larger than a status may be.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let shortened = self.shortened();
        shortened.validate()?;
        let bytes = codec::encode(&shortened)?;
        if bytes.len() > STATUS_MAX_BYTES {
            let cause = format!("{} bytes are more than {STATUS_MAX_BYTES}", bytes.len());
            return Err(CodecError::Unencodable { noun: Self::NOUN, cause });
        }
        Ok(bytes)
    }

    /// Decodes a record that came from outside.
    ///
    /// # Errors
    /// [`CodecError`] when it is too large, malformed, or says more than a status may.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() > STATUS_MAX_BYTES {
            return Err(invalid(format!("{} bytes are more than {STATUS_MAX_BYTES}", bytes.len())));
        }
        let status: Self = codec::decode(bytes)?;
        status.validate()?;
        Ok(status)
    }

    fn validate(&self) -> Result<(), CodecError> {
        let text_max = SCHEMA_TEXT_MAX_BYTES;
        let long_label =
            self.labels.iter().any(|(name, value)| name.len() > text_max || value.len() > text_max);
        if self.labels.len() > LABELS_MAX || long_label || self.boot_id.len() > BOOT_ID_MAX_BYTES {
            return Err(invalid("a label or the boot id is too long, or there are too many labels".into()));
        }
        let long_warning = self.warnings.iter().any(|warning| warning.len() > REASON_MAX_BYTES);
        let long_cause =
            matches!(&self.phase, Phase::Refused { cause, .. } if cause.len() > REASON_MAX_BYTES);
        if self.warnings.len() > WARNINGS_MAX || long_warning || long_cause {
            return Err(invalid("a cause or warning is too long, or there are too many warnings".into()));
        }
        Ok(())
    }

    fn shortened(&self) -> Self {
        let mut status = self.clone();
        status.warnings.truncate(WARNINGS_MAX);
        status.warnings.iter_mut().for_each(cut);
        if let Phase::Refused { cause, .. } = &mut status.phase {
            cut(cause);
        }
        status
    }
}

fn invalid(cause: String) -> CodecError {
    CodecError::Invalid { noun: Status::NOUN, cause }
}

/// Cuts a text to what a reader accepts, between two characters.
fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(REASON_MAX_BYTES));
}

/// The key of a status record.
#[must_use]
pub fn key(model: &ModelName, instance: &InstanceName) -> String {
    format!("{model}/{instance}")
}

/// The partition of a status record: BLAKE3 of the key, the first 8 bytes big-endian, modulo the partitions. All
/// records of an instance must go to one partition, or compaction would keep several.
#[must_use]
pub fn partition(key: &str, partitions: i32) -> i32 {
    let digest = Digest::of(key.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    let place = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % u64::from(partitions.max(1).unsigned_abs());
    i32::try_from(place).unwrap_or(0)
}

/// Reads the key of a status record.
#[must_use]
pub fn parse_key(key: &str) -> Option<(ModelName, InstanceName)> {
    let (model, instance) = key.split_once('/')?;
    Some((ModelName::parse(model).ok()?, InstanceName::parse(instance).ok()?))
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::Size => "size",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Manifest => "manifest",
            Self::Format => "format",
            Self::Decode => "decode",
            Self::Schema => "schema",
            Self::Golden => "golden",
            Self::WarmUp => "warm_up",
            Self::Crash => "crash",
        })
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Seen => f.write_str("seen"),
            Self::Fetching { done_bytes, total_bytes } => {
                write!(f, "fetching {done_bytes} of {total_bytes} bytes")
            }
            Self::Verified => f.write_str("verified"),
            Self::Decoded => f.write_str("decoded"),
            Self::Tested => f.write_str("tested"),
            Self::Staged => f.write_str("staged"),
            Self::Live => f.write_str("live"),
            Self::Refused { stage, cause } => write!(f, "refused at {stage}: {cause}"),
        }
    }
}
