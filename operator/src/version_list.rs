//! The versions of a model, newest first, with what marks each: a pure function of what was read.
//!
//! Does not read: `verbs::versions` does.

use std::{collections::BTreeMap, fmt::Write as _};

use modelcast_protocol::{
    Digest, Generation, ModelName, Version,
    announcement::Announcement,
    desired::{DesiredState, Stamp},
    fold::InForce,
    manifest::Manifest,
};
use serde::Serialize;

use crate::{
    printable::{metric, percent, time},
    table::{self, Field, Look, Tone},
};

/// Most pins of a version that the table spells out; `--json` has them all.
const PINS_SHOWN: usize = 3;

/// A model's versions.
#[derive(Debug, Serialize)]
pub(crate) struct VersionList {
    /// The model.
    pub(crate) model: ModelName,
    /// The generation in force.
    pub(crate) generation: Generation,
    /// Digest of the announcement in force.
    pub(crate) digest: Digest,
    /// Where it stands in the announcements topic.
    pub(crate) offset: i64,
    /// What everybody runs.
    pub(crate) champion: Version,
    /// Newest first.
    pub(crate) versions: Vec<VersionRow>,
}

/// One version.
#[derive(Debug, Serialize)]
pub(crate) struct VersionRow {
    /// Its number.
    pub(crate) version: Version,
    /// When it was published, Unix milliseconds; none for a quarantined one that is not kept any more.
    pub(crate) published_at_unix_ms: Option<u64>,
    /// Digest of its manifest.
    pub(crate) manifest: Option<Digest>,
    /// Digest of its artifact.
    pub(crate) artifact: Digest,
    /// What marks it.
    pub(crate) marks: Vec<Mark>,
    /// Who published it; none when that announcement is not in the log any more.
    pub(crate) author: Option<String>,
    /// Why.
    pub(crate) reason: Option<String>,
    /// What its manifest says, where it could be had.
    #[serde(flatten)]
    pub(crate) described: Described,
}

/// What a version's manifest says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Described {
    /// It was fetched and verified.
    Manifest {
        /// Size of the artifact.
        size_bytes: u64,
        /// Its format.
        format: String,
        /// Hold-out metrics.
        metrics: BTreeMap<String, f64>,
    },
    /// It could not be had.
    Unavailable {
        /// Why.
        manifest_unavailable: String,
    },
}

/// What marks a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
pub(crate) enum Mark {
    /// Everybody runs it.
    Champion,
    /// A cohort tries it.
    Challenger {
        /// How large a part, in hundredths of a percent.
        basis_points: u16,
    },
    /// Instances are held on it.
    Pinned {
        /// Whom.
        target: String,
        /// Who, why, when.
        #[serde(flatten)]
        stamp: Stamp,
    },
    /// It is forbidden.
    Quarantined {
        /// Who, why, when.
        #[serde(flatten)]
        stamp: Stamp,
    },
}

impl Described {
    /// What a verified manifest says.
    pub(crate) fn by(manifest: &Manifest) -> Self {
        Self::Manifest {
            size_bytes: manifest.size_bytes,
            format: manifest.format.clone(),
            metrics: manifest.metrics.clone(),
        }
    }
}

/// Who published which version and why, from the announcements that are still in the log.
pub(crate) fn publishers<'a>(
    history: impl IntoIterator<Item = &'a Announcement>,
) -> BTreeMap<Version, Stamp> {
    let mut publishers = BTreeMap::new();
    let mut highest = None;
    for announcement in history {
        let Ok(state) = &announcement.body else { continue };
        // The last entry has the highest version ever published: where it rises, this announcement introduced it. Of
        // the oldest announcement in the log that is known only when it says so.
        let newest = state.versions.last().map(|entry| entry.version);
        let first = highest.is_none() && state.summary.starts_with("publish version");
        if newest > highest && (highest.is_some() || first) {
            publishers.extend(newest.map(|version| (version, state.stamp.clone())));
        }
        highest = highest.max(newest);
    }
    publishers
}

/// The list for the announcement in force.
pub(crate) fn list(
    in_force: &InForce,
    state: &DesiredState,
    publishers: &BTreeMap<Version, Stamp>,
    mut described: BTreeMap<Version, Described>,
) -> VersionList {
    let mut described_as = |version: &Version, otherwise: &str| {
        let unavailable = || Described::Unavailable { manifest_unavailable: otherwise.to_owned() };
        described.remove(version).unwrap_or_else(unavailable)
    };
    let kept = state.versions.iter().map(|entry| VersionRow {
        version: entry.version,
        published_at_unix_ms: Some(entry.published_at_unix_ms),
        manifest: Some(entry.manifest),
        artifact: entry.artifact,
        marks: marks(state, entry.version),
        author: publishers.get(&entry.version).map(|stamp| stamp.author.clone()),
        reason: publishers.get(&entry.version).map(|stamp| stamp.reason.clone()),
        described: described_as(&entry.version, "it was not fetched"),
    });
    let mut versions: Vec<_> = kept.collect();
    let forgotten = state.quarantine.iter().filter(|quarantined| state.entry(quarantined.version).is_none());
    versions.extend(forgotten.map(|quarantined| VersionRow {
        version: quarantined.version,
        published_at_unix_ms: None,
        manifest: None,
        artifact: quarantined.artifact,
        marks: marks(state, quarantined.version),
        author: publishers.get(&quarantined.version).map(|stamp| stamp.author.clone()),
        reason: publishers.get(&quarantined.version).map(|stamp| stamp.reason.clone()),
        described: described_as(&quarantined.version, "this version is not kept any more"),
    }));
    versions.sort_by_key(|row| std::cmp::Reverse(row.version));
    VersionList {
        model: in_force.announcement.frame.model.clone(),
        generation: in_force.generation(),
        digest: in_force.announcement.digest,
        offset: in_force.offset,
        champion: state.champion,
        versions,
    }
}

fn marks(state: &DesiredState, version: Version) -> Vec<Mark> {
    let champion = (state.champion == version).then_some(Mark::Champion);
    let challenger = state.challenger.iter().filter(|challenger| challenger.version == version);
    let challenger =
        challenger.map(|challenger| Mark::Challenger { basis_points: challenger.cohort.basis_points });
    let pins = state.pins.iter().filter(|pin| pin.version == version);
    let pins = pins.map(|pin| Mark::Pinned { target: pin.target.to_string(), stamp: pin.stamp.clone() });
    let quarantine = state.quarantine.iter().filter(|quarantined| quarantined.version == version);
    let quarantine = quarantine.map(|quarantined| Mark::Quarantined { stamp: quarantined.stamp.clone() });
    champion.into_iter().chain(challenger).chain(pins).chain(quarantine).collect()
}

/// The list as a table.
pub(crate) fn render(list: &VersionList, look: Look) -> String {
    const HEADER: [&str; 7] =
        ["version", "published (UTC)", "marks", "manifest", "author", "reason", "metrics"];
    let rows = list.versions.iter().map(row).collect();
    format!(
        "{}\n\n{}: generation {} at offset {}, champion {}, {}\n",
        table::render(look, &HEADER, rows),
        list.model,
        list.generation,
        list.offset,
        list.champion,
        list.digest
    )
}

fn row(version: &VersionRow) -> Vec<Field> {
    let dash = || "-".to_owned();
    let marks = shown_marks(&version.marks);
    let tone = if version.marks.iter().any(|mark| matches!(mark, Mark::Quarantined { .. })) {
        Tone::Bad
    } else if version.marks.contains(&Mark::Champion) {
        Tone::Good
    } else {
        Tone::Neutral
    };
    vec![
        Field::toned(&version.version.to_string(), tone),
        Field::from(version.published_at_unix_ms.map_or_else(dash, time)),
        Field::toned(&marks, tone),
        Field::from(version.manifest.map_or_else(dash, |digest| digest.short())),
        Field::from(version.author.clone().unwrap_or_else(dash)),
        Field::from(version.reason.clone().unwrap_or_else(dash)),
        Field::from(described(&version.described)),
    ]
}

fn shown_marks(marks: &[Mark]) -> String {
    let is_pin = |mark: &&Mark| matches!(mark, Mark::Pinned { .. });
    let pins = marks.iter().filter(is_pin).count();
    let spelt_out = marks.iter().filter(|mark| pins <= PINS_SHOWN || !is_pin(mark));
    let counted = (pins > PINS_SHOWN).then(|| format!("pinned: {pins} targets"));
    spelt_out.map(ToString::to_string).chain(counted).collect::<Vec<_>>().join(", ")
}

fn described(described: &Described) -> String {
    match described {
        Described::Unavailable { manifest_unavailable } => format!("? ({manifest_unavailable})"),
        Described::Manifest { metrics, .. } => {
            let mut text = String::new();
            for (name, value) in metrics {
                let _ = write!(text, "{name} {}  ", metric(*value));
            }
            text.trim_end().to_owned()
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Champion => f.write_str("champion"),
            Self::Challenger { basis_points } => write!(f, "challenger {}", percent(*basis_points)),
            Self::Pinned { target, .. } => write!(f, "pinned: {target}"),
            Self::Quarantined { stamp } => write!(f, "quarantined by {}: {}", stamp.author, stamp.reason),
        }
    }
}

#[cfg(test)]
mod tests;
