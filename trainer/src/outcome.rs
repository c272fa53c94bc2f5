//! What became of a publish, for people and as one JSON object.

use std::{collections::BTreeMap, fmt::Write as _};

use modelcast::{
    Published,
    publish::{GateResult, GateVerdict},
};
use modelcast_protocol::{Digest, Generation, Version, name::ModelName};
use serde::Serialize;

use crate::{cycle::Candidate, wait::Waited};

/// What became of a publish.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The model.
    pub model: ModelName,
    /// In one word.
    pub outcome: Verdict,
    /// The version in force; none after a dry run or a refusal.
    pub version: Option<Version>,
    /// The generation in force.
    pub generation: Option<Generation>,
    /// Digest of the announcement that was made.
    pub digest: Option<Digest>,
    /// Digest of the manifest.
    pub manifest: Option<Digest>,
    /// Digest of the artifact.
    pub artifact_digest: Digest,
    /// Size of the artifact.
    pub artifact_bytes: u64,
    /// Chunks sent.
    pub chunks_sent: usize,
    /// Bytes of chunks and manifest sent.
    pub bytes_sent: u64,
    /// What the gates said.
    pub gates: Vec<GateResult>,
    /// Metrics on the held-out rows.
    pub metrics: BTreeMap<String, f64>,
    /// Seconds that each stage took.
    pub seconds: BTreeMap<String, f64>,
    /// When the announcement was first sent, Unix milliseconds.
    pub announced_at_unix_ms: Option<u64>,
    /// What the fleet did with it, where that was waited for.
    pub waited: Option<Waited>,
}

/// What became of a publish, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A new version is in force.
    Committed,
    /// The champion is this artifact already.
    Unchanged,
    /// Nothing was sent, as asked.
    DryRun,
    /// A gate said no.
    Refused,
}

impl Outcome {
    /// What a publish ended with.
    #[must_use]
    pub fn of(candidate: &Candidate, published: Published) -> Self {
        let start = Self::start(candidate);
        match published {
            Published::Unchanged { version, generation, manifest } => Self {
                outcome: Verdict::Unchanged,
                version: Some(version),
                generation: Some(generation),
                manifest: Some(manifest),
                ..start
            },
            Published::DryRun { gates, .. } => Self { outcome: Verdict::DryRun, gates, ..start },
            Published::Committed(published) => {
                let mut seconds = start.seconds.clone();
                let stages = published.took.iter();
                seconds.extend(stages.map(|(stage, took)| (stage.replace(' ', "_"), took.as_secs_f64())));
                Self {
                    outcome: Verdict::Committed,
                    version: Some(published.version),
                    generation: Some(published.generation),
                    digest: Some(published.announcement),
                    manifest: Some(published.manifest),
                    chunks_sent: published.chunks_sent,
                    bytes_sent: published.bytes_sent,
                    gates: published.gates,
                    announced_at_unix_ms: Some(published.announced_at_unix_ms),
                    seconds,
                    ..start
                }
            }
        }
    }

    /// A publish that gates refused.
    #[must_use]
    pub fn refused(candidate: &Candidate, gates: Vec<GateResult>) -> Self {
        Self { gates, ..Self::start(candidate) }
    }

    fn start(candidate: &Candidate) -> Self {
        let package = &candidate.package;
        let seconds = candidate.seconds.iter();
        Self {
            model: package.model.clone(),
            outcome: Verdict::Refused,
            version: None,
            generation: None,
            digest: None,
            manifest: None,
            artifact_digest: package.artifact_digest(),
            artifact_bytes: u64::try_from(package.artifact.len()).unwrap_or(u64::MAX),
            chunks_sent: 0,
            bytes_sent: 0,
            gates: Vec::new(),
            metrics: package.metrics.clone(),
            seconds: seconds.map(|&(stage, seconds)| (stage.to_owned(), seconds)).collect(),
            announced_at_unix_ms: None,
            waited: None,
        }
    }

    /// For people, several lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.headline();
        let _ = write!(text, "\n  artifact  {} bytes, {}", self.artifact_bytes, self.artifact_digest.short());
        if self.outcome == Verdict::Committed {
            let _ = write!(text, "; sent {} bytes, chunks: {}", self.bytes_sent, self.chunks_sent);
        }
        let _ = write!(text, "\n  metrics   {}", numbers(&self.metrics));
        for gate in &self.gates {
            let verdict = verdict(&gate.verdict);
            let _ = write!(text, "\n  gate      {} {verdict}: {}", gate.gate, gate.detail);
        }
        let _ = write!(text, "\n  seconds   {}", numbers(&self.seconds));
        if let Some(waited) = &self.waited {
            let _ = write!(text, "\n  fleet     {}", waited.finding());
        }
        text.push('\n');
        text
    }

    fn headline(&self) -> String {
        let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let model = &self.model;
        let version = number(self.version.map(Version::get));
        let generation = number(self.generation.map(Generation::get));
        match self.outcome {
            Verdict::Committed => format!("{model} version {version} is in force at generation {generation}"),
            Verdict::Unchanged => {
                format!(
                    "{model} stays at version {version}, generation {generation}: the artifact is the same"
                )
            }
            Verdict::DryRun => format!("{model}: dry run, nothing was sent"),
            Verdict::Refused => format!("{model}: refused, nothing was sent"),
        }
    }
}

fn verdict(verdict: &GateVerdict) -> &'static str {
    match verdict {
        GateVerdict::Passed => "passed",
        GateVerdict::Failed => "FAILED",
        GateVerdict::Overridden => "overridden",
        GateVerdict::Skipped => "skipped",
    }
}

/// Names and values on one line, four significant digits or all digits before the point.
#[must_use]
pub fn numbers(values: &BTreeMap<String, f64>) -> String {
    let show = |(name, value): (&String, &f64)| {
        let digits = if value.abs() >= 1000.0 { 0 } else { 4 };
        format!("{name} {value:.digits$}")
    };
    values.iter().map(show).collect::<Vec<_>>().join(", ")
}
