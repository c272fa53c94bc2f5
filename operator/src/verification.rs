//! The result of verifying a version: which checks it passed, which one stopped it, which could not be made.
//!
//! Pure: `verbs::verify` fetches and runs the checks; this says how far it came.

use std::fmt::Write as _;

use modelcast::admission::Refusal;
use modelcast_protocol::{
    Digest, ModelName, Version,
    manifest::SignedManifest,
    status::{Phase, Stage},
};
use serde::Serialize;

use crate::{
    printable::printable,
    table::{self, Field, Look, Tone},
};

/// What a check said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckVerdict {
    /// It is as it should be.
    Passed,
    /// It is not.
    Failed,
    /// It was not made: an earlier one failed, or this program cannot.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) check: &'static str,
    /// What it said.
    pub(crate) verdict: CheckVerdict,
    /// What it looked at, or what is wrong.
    pub(crate) detail: String,
}

/// All checks of one version.
#[derive(Debug, Serialize)]
pub(crate) struct Verification {
    /// Of which model.
    pub(crate) model: ModelName,
    /// Which version.
    pub(crate) version: Version,
    /// Digest of its manifest.
    pub(crate) manifest: Digest,
    /// Whether no check failed.
    pub(crate) ok: bool,
    /// In the order in which a subscriber makes them.
    pub(crate) checks: Vec<Check>,
}

/// How far a subscriber's admission came.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// To the end.
    Whole,
    /// To a refusal.
    Refused(Refusal),
    /// To the decoder, which this program does not have.
    NoDecoder {
        /// The format.
        format: String,
    },
}

/// The checks after the manifest's, in the order in which they are made.
const ADMISSION: [(&str, Phase); 4] = [
    ("artifact", Phase::Verified),
    ("decoding", Phase::Decoded),
    ("golden rows", Phase::Tested),
    ("warm-up", Phase::Live),
];

impl Check {
    /// A check that passed.
    pub(crate) fn passed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: CheckVerdict::Passed, detail: detail.into() }
    }

    /// A check that failed.
    pub(crate) fn failed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: CheckVerdict::Failed, detail: detail.into() }
    }

    /// A check that was not made.
    pub(crate) fn skipped(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: CheckVerdict::Skipped, detail: detail.into() }
    }
}

/// The checks of a version whose manifest was not admitted: none of the others was made.
pub(crate) fn after_bad_manifest() -> impl Iterator<Item = Check> {
    ADMISSION.iter().map(|(check, _)| Check::skipped(check, "the manifest comes first"))
}

/// The checks after the manifest's, from the phases that were reached and how it ended.
pub(crate) fn admission(manifest: &SignedManifest, phases: &[Phase], end: &Admitted) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut stopped = false;
    for (check, phase) in ADMISSION {
        let reached = phases.contains(&phase) || matches!(end, Admitted::Whole);
        checks.push(match end {
            _ if reached => Check::passed(check, detail(manifest, check)),
            _ if stopped => Check::skipped(check, "an earlier check stopped it"),
            Admitted::Refused(refusal) => Check::failed(check, refusal.to_string()),
            Admitted::NoDecoder { format } => {
                Check::skipped(check, format!("this program has no decoder for format {format:?}"))
            }
            Admitted::Whole => Check::passed(check, detail(manifest, check)),
        });
        stopped |= !reached;
    }
    checks
}

/// Where a refusal belongs that came before the first phase.
pub(crate) fn is_of_manifest(stage: Stage) -> bool {
    match stage {
        Stage::Size | Stage::Signature | Stage::Manifest | Stage::Format | Stage::Schema => true,
        Stage::Fetch | Stage::Digest | Stage::Decode | Stage::Golden | Stage::WarmUp | Stage::Crash => false,
    }
}

fn detail(manifest: &SignedManifest, check: &str) -> String {
    let stated = manifest.manifest();
    match check {
        "artifact" => {
            let (bytes, chunks) = (stated.size_bytes, stated.chunks.entries.len());
            format!("{bytes} bytes, chunks: {chunks}, {}", stated.artifact)
        }
        "decoding" => format!("format {:?}", stated.format),
        "golden rows" => format!("{} rows agree", stated.golden.len()),
        _ => "predicts again without an error".to_owned(),
    }
}

impl Verification {
    /// A verification from its checks.
    pub(crate) fn new(model: ModelName, version: Version, manifest: Digest, checks: Vec<Check>) -> Self {
        let ok = checks.iter().all(|check| check.verdict != CheckVerdict::Failed);
        Self { model, version, manifest, ok, checks }
    }

    /// The checks as a table, and the verdict.
    pub(crate) fn render(&self, look: Look) -> String {
        let rows = self.checks.iter().map(row).collect();
        let mut text = table::render(look, &["check", "verdict", "detail"], rows);
        let skipped = self.checks.iter().any(|check| check.verdict == CheckVerdict::Skipped);
        let verdict = match (self.ok, skipped) {
            (true, false) => "good",
            (true, true) => "good as far as this program can tell",
            (false, _) => "NOT good",
        };
        let _ = writeln!(text, "\n\n{} version {}: {verdict}", self.model, self.version);
        text
    }
}

fn row(check: &Check) -> Vec<Field> {
    let (verdict, tone) = match check.verdict {
        CheckVerdict::Passed => ("passed", Tone::Good),
        CheckVerdict::Failed => ("FAILED", Tone::Bad),
        CheckVerdict::Skipped => ("skipped", Tone::Faded),
    };
    vec![Field::from(check.check), Field::toned(verdict, tone), Field::from(printable(&check.detail))]
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::{
        chunk::{ChunkTable, store},
        codec::Record as _,
        golden::{Column, GoldenRows, RELATIVE_TOLERANCE},
        key::SigningKey,
        manifest::{Lineage, Manifest},
        schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
    };

    use super::*;

    fn manifest() -> SignedManifest {
        let bytes = b"weights".as_slice();
        let feature =
            Feature { name: "x".into(), title: None, kind: FeatureKind::Numeric(Numeric::default()) };
        let output = Output { name: "y".into(), title: None, kind: OutputKind::Numeric { unit: None } };
        let manifest = Manifest {
            v: Manifest::VERSION,
            model: ModelName::parse("house").unwrap(),
            format: "weights".into(),
            required_features: Vec::new(),
            size_bytes: bytes.len() as u64,
            artifact: Digest::of(bytes),
            chunks: ChunkTable { entries: vec![store(bytes).entry] },
            schema: FeatureSchema { features: vec![feature], outputs: vec![output] },
            golden: GoldenRows {
                inputs: vec![Column::Numbers(vec![1.0])],
                outputs: vec![vec![2.0]],
                relative_tolerance: RELATIVE_TOLERANCE,
            },
            lineage: Lineage::default(),
            metrics: std::collections::BTreeMap::new(),
        };
        manifest.sign(&SigningKey::from_seed(&[7; 32])).unwrap()
    }

    fn verdicts(phases: &[Phase], end: &Admitted) -> Vec<CheckVerdict> {
        admission(&manifest(), phases, end).iter().map(|check| check.verdict).collect()
    }

    fn refused(stage: Stage) -> Admitted {
        Admitted::Refused(Refusal { stage, cause: "row 1 differs".into() })
    }

    #[test]
    fn exactly_the_check_that_stopped_it_failed() {
        use CheckVerdict::{Failed, Passed, Skipped};
        let (seen, verified, decoded) = (Phase::Seen, Phase::Verified, Phase::Decoded);
        let tested = Phase::Tested;
        for (phases, end, wanted) in [
            (vec![seen.clone()], refused(Stage::Digest), [Failed, Skipped, Skipped, Skipped]),
            (vec![verified.clone()], refused(Stage::Decode), [Passed, Failed, Skipped, Skipped]),
            (
                vec![verified.clone(), decoded.clone()],
                refused(Stage::Golden),
                [Passed, Passed, Failed, Skipped],
            ),
            (
                vec![verified.clone(), decoded.clone(), tested.clone()],
                refused(Stage::WarmUp),
                [Passed, Passed, Passed, Failed],
            ),
            (vec![seen, verified.clone(), decoded, tested], Admitted::Whole, [Passed; 4]),
            (
                vec![verified],
                Admitted::NoDecoder { format: "weights".into() },
                [Passed, Skipped, Skipped, Skipped],
            ),
        ] {
            assert_eq!(verdicts(&phases, &end), wanted, "{phases:?} {end:?}");
        }
    }

    #[test]
    fn what_could_not_be_checked_is_not_called_good_without_a_word() {
        let manifest = manifest();
        let verification = |phases: &[Phase], end: &Admitted| {
            let checks = admission(&manifest, phases, end);
            let model = manifest.manifest().model.clone();
            Verification::new(model, Version::FIRST, manifest.digest(), checks)
        };
        let no_decoder = Admitted::NoDecoder { format: "weights".into() };
        for (phases, end, ok, says) in [
            (&[Phase::Verified][..], no_decoder, true, "as far as this program can tell"),
            (&[], Admitted::Whole, true, "house version 1: good\n"),
            (&[Phase::Verified, Phase::Decoded], refused(Stage::Golden), false, "NOT good"),
        ] {
            let verification = verification(phases, &end);
            assert_eq!(verification.ok, ok);
            let text = verification.render(Look::Plain);
            assert!(text.contains(says), "{says:?} is not in {text}");
        }
        let text = verification(&[Phase::Verified, Phase::Decoded], &refused(Stage::Golden));
        assert!(text.render(Look::Plain).contains("row 1 differs"));
    }
}
