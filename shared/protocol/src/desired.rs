//! The desired state of one model: what an announcement's body says.
//!
//! Holds which version whom it concerns should run. How it changes is `change`'s, what it means for one instance is
//! `resolve`'s.
//!
//! # Invariants
//! * A valid state names, outside of its quarantine list, only versions that `versions` has and the quarantine has
//!   not.
//! * `versions` is in rising order, and its last entry has the highest version ever published.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    codec::{CodecError, Record},
    digest::Digest,
    limits::{
        INLINE_ARTIFACT_MAX_BYTES, INLINE_MANIFEST_MAX_BYTES, LABELS_MAX, PINS_MAX, QUARANTINE_MAX,
        REASON_MAX_BYTES, SCHEMA_TEXT_MAX_BYTES, VERSIONS_KEPT,
    },
    name::InstanceName,
    number::Version,
};

/// Labels of an instance or of a selector: name to value.
pub type Labels = BTreeMap<String, String>;

/// What the instances of one model should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Major version of this record.
    pub v: u16,
    /// 16 random bytes that make two announcements differ even when they say the same: who wins must be decidable.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 16],
    /// Who made this change, for what reason and when.
    pub stamp: Stamp,
    /// What was changed, in one line for the log of changes.
    pub summary: String,
    /// What everybody runs.
    pub champion: Version,
    /// What a cohort tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger: Option<Challenger>,
    /// Instances held on a version.
    #[serde(default)]
    pub pins: Vec<Pin>,
    /// Forbidden versions.
    #[serde(default)]
    pub quarantine: Vec<Quarantined>,
    /// The last 16 versions and those that the fields above name, in rising order.
    pub versions: Vec<VersionEntry>,
    /// Records of the version that this announcement introduces, to save a small model a second hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Inline>,
}

/// Who, why, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The person or program.
    pub author: String,
    /// Their reason.
    pub reason: String,
    /// Unix milliseconds; shown, never compared.
    pub at_unix_ms: u64,
}

/// One version that an announcement names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEntry {
    /// Its number.
    pub version: Version,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Where the manifest stands in the model's blobs topic: a hint, checked by the digest.
    pub manifest_offset: i64,
    /// Digest of its artifact: publishing a quarantined one again, as another version, is refused.
    pub artifact: Digest,
    /// When it was published, Unix milliseconds; shown, never compared.
    pub published_at_unix_ms: u64,
}

/// A version that a cohort tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenger {
    /// Which version.
    pub version: Version,
    /// Who tries it.
    pub cohort: Cohort,
}

/// The instances that a percentage and a label selector pick: the same ones on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Part of the instances in hundredths of a percent, 0 to 10,000.
    pub basis_points: u16,
    /// Labels that an instance must have; none picks from all.
    #[serde(default)]
    pub labels: Labels,
}

/// Instances held on a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Whom it holds; one pin for each target.
    pub target: PinTarget,
    /// On which version.
    pub version: Version,
    /// Who, why, when.
    pub stamp: Stamp,
}

/// Whom a pin holds. The more exact pin wins: instance, then label, then all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinTarget {
    /// One instance.
    Instance(InstanceName),
    /// Every instance with this label.
    Label(String, String),
    /// Every instance.
    All,
}

/// A forbidden version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its number.
    pub version: Version,
    /// Its artifact: publishing the same bytes again is refused.
    pub artifact: Digest,
    /// Who, why, when.
    pub stamp: Stamp,
}

/// Records that travel inside an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inline {
    /// The version whose records these are.
    pub version: Version,
    /// The signed manifest.
    #[serde(with = "serde_bytes")]
    pub manifest: Vec<u8>,
    /// The artifact's raw bytes, when it is small.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Vec<u8>>,
}

impl Record for DesiredState {
    const VERSION: u16 = 1;
    const NOUN: &'static str = "announcement body";
}

impl DesiredState {
    /// The entry of a version, if it is still named.
    #[must_use]
    pub fn entry(&self, version: Version) -> Option<&VersionEntry> {
        self.versions.iter().find(|entry| entry.version == version)
    }

    /// Whether a version is forbidden.
    #[must_use]
    pub fn is_quarantined(&self, version: Version) -> bool {
        self.quarantine.iter().any(|quarantined| quarantined.version == version)
    }

    /// The versions that somebody should run: of the champion, the challenger and the pins.
    pub fn wanted(&self) -> impl Iterator<Item = Version> {
        let challenger = self.challenger.as_ref().map(|challenger| challenger.version);
        [self.champion].into_iter().chain(challenger).chain(self.pins.iter().map(|pin| pin.version))
    }

    /// Checks a state that came from outside, or is about to be announced.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] with the first thing wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        self.validate_versions()
            .and_then(|()| self.validate_counts())
            .and_then(|()| self.validate_texts())
            .map_err(|cause| CodecError::Invalid { noun: Self::NOUN, cause })
    }

    fn validate_versions(&self) -> Result<(), String> {
        let rising = self.versions.is_sorted_by(|a, b| a.version < b.version);
        if !rising {
            return Err("its versions are not in rising order".into());
        }
        for version in self.wanted() {
            if self.entry(version).is_none() {
                return Err(format!("it wants version {version} without naming its manifest"));
            }
            if self.is_quarantined(version) {
                return Err(format!("it wants version {version}, which it quarantines"));
            }
        }
        let last = self.versions.last().map(|entry| entry.version);
        match &self.inline {
            Some(inline) if Some(inline.version) != last => {
                Err(format!("it carries records of version {}, which it does not introduce", inline.version))
            }
            _ => Ok(()),
        }
    }

    fn validate_counts(&self) -> Result<(), String> {
        let labels = self.challenger.as_ref().map_or(0, |challenger| challenger.cohort.labels.len());
        let (manifest, artifact) = self
            .inline
            .as_ref()
            .map_or((0, 0), |inline| (inline.manifest.len(), inline.artifact.as_ref().map_or(0, Vec::len)));
        let basis_points =
            self.challenger.as_ref().map_or(0, |challenger| challenger.cohort.basis_points.into());
        let targets: BTreeSet<_> = self.pins.iter().map(|pin| &pin.target).collect();
        let caps = [
            ("versions", self.versions.len(), VERSIONS_KEPT + PINS_MAX + 2),
            ("pins", self.pins.len(), PINS_MAX),
            ("pins of one target", self.pins.len() - targets.len(), 0),
            ("quarantined versions", self.quarantine.len(), QUARANTINE_MAX),
            ("labels of the cohort", labels, LABELS_MAX),
            ("basis points", basis_points, 10_000),
            ("bytes of an inline manifest", manifest, INLINE_MANIFEST_MAX_BYTES),
            ("bytes of an inline artifact", artifact, INLINE_ARTIFACT_MAX_BYTES),
        ];
        match caps.iter().find(|(_, count, cap)| count > cap) {
            Some((noun, count, cap)) => Err(format!("it has {count} {noun}, above {cap}")),
            None => Ok(()),
        }
    }

    fn validate_texts(&self) -> Result<(), String> {
        let stamps = [&self.stamp]
            .into_iter()
            .chain(self.pins.iter().map(|pin| &pin.stamp))
            .chain(self.quarantine.iter().map(|quarantined| &quarantined.stamp));
        let stamp_texts = stamps.flat_map(|stamp| [&stamp.author, &stamp.reason]);
        let too_long = |text: &&String| text.len() > REASON_MAX_BYTES;
        if stamp_texts.chain([&self.summary]).any(|text| too_long(&text)) {
            return Err(format!("an author, reason or summary is longer than {REASON_MAX_BYTES} bytes"));
        }
        let cohort = self.challenger.iter().flat_map(|challenger| &challenger.cohort.labels);
        let pins = self.pins.iter().filter_map(|pin| match &pin.target {
            PinTarget::Label(name, value) => Some((name, value)),
            PinTarget::Instance(_) | PinTarget::All => None,
        });
        let long_label =
            |(name, value): (&String, &String)| name.len().max(value.len()) > SCHEMA_TEXT_MAX_BYTES;
        if cohort.chain(pins).any(long_label) {
            return Err(format!("a label is longer than {SCHEMA_TEXT_MAX_BYTES} bytes"));
        }
        Ok(())
    }
}
