//! What an embedded file holds, as it is shown: a pure function of what was opened and checked.
//!
//! Does not read files: `verbs::inspect` and `verbs::pull` do.

use std::{collections::BTreeMap, path::Path};

use modelcast::embedded::EmbeddedVersion;
use modelcast_protocol::{
    Digest, Generation, Namespace, Version,
    desired::{DesiredState, Stamp},
    schema::OutputKind,
};
use serde::Serialize;

use crate::{
    printable::{metric, time},
    table::{self, Field, Look},
    verification::Verification,
};

/// A file and what it holds.
#[derive(Debug, Serialize)]
pub(crate) struct EmbeddedReport {
    /// The file.
    file: String,
    /// Where the version was announced.
    namespace: Namespace,
    /// The generation that was in force when it was pulled.
    generation: Generation,
    /// Digest of that announcement.
    announcement: Digest,
    /// What everybody ran then.
    champion: Version,
    /// Who announced it, why and when.
    stamp: Stamp,
    /// The key that signed the announcement.
    announcement_signer: String,
    /// The key that signed the manifest.
    manifest_signer: String,
    /// When the version was published, Unix milliseconds.
    published_at_unix_ms: u64,
    /// The artifact's format.
    format: String,
    /// Its size.
    size_bytes: u64,
    /// The features that it takes.
    features: Vec<String>,
    /// What it gives.
    outputs: Vec<String>,
    /// The data set that it was trained on.
    data_name: String,
    /// Hold-out metrics.
    metrics: BTreeMap<String, f64>,
    /// The version, and whether it is good.
    #[serde(flatten)]
    verification: Verification,
}

impl EmbeddedReport {
    /// Of a file that was opened and checked.
    pub(crate) fn of(
        file: &Path,
        version: &EmbeddedVersion,
        state: &DesiredState,
        verification: Verification,
    ) -> Self {
        let (announcement, manifest) = (version.announcement(), version.manifest());
        let stated = manifest.manifest();
        let unit = |kind: &OutputKind| match kind {
            OutputKind::Numeric { unit: Some(unit) } => format!(" ({unit})"),
            _ => String::new(),
        };
        let outputs = stated.schema.outputs.iter();
        Self {
            file: file.display().to_string(),
            namespace: announcement.frame.namespace.clone(),
            generation: announcement.frame.generation,
            announcement: announcement.digest,
            champion: state.champion,
            stamp: state.stamp.clone(),
            announcement_signer: announcement.signer.to_string(),
            manifest_signer: manifest.signer().to_string(),
            published_at_unix_ms: version.entry().published_at_unix_ms,
            format: stated.format.clone(),
            size_bytes: stated.size_bytes,
            features: stated.schema.features.iter().map(|feature| feature.name.clone()).collect(),
            outputs: outputs.map(|output| format!("{}{}", output.name, unit(&output.kind))).collect(),
            data_name: stated.lineage.data_name.clone(),
            metrics: stated.metrics.clone(),
            verification,
        }
    }

    /// Whether no check failed.
    pub(crate) fn is_good(&self) -> bool {
        self.verification.ok
    }

    /// What it holds as a table, then the checks, then the verdict.
    pub(crate) fn render(&self, look: Look) -> String {
        let metrics = self.metrics.iter().map(|(name, value)| format!("{name} {}", metric(*value)));
        let metrics = metrics.collect::<Vec<_>>().join(", ");
        let Verification { model, version, manifest, .. } = &self.verification;
        let Stamp { author, reason, at_unix_ms } = &self.stamp;
        let rows = [
            ("file", self.file.clone()),
            ("model", format!("{model} version {version}, published {}", time(self.published_at_unix_ms))),
            ("manifest", format!("{manifest}, signed by key {}", self.manifest_signer)),
            (
                "announced",
                format!(
                    "generation {} of namespace {}, {}, by {author}: {reason}",
                    self.generation,
                    self.namespace,
                    time(*at_unix_ms)
                ),
            ),
            ("champion then", format!("version {}", self.champion)),
            ("artifact", format!("format {}, {} bytes", self.format, self.size_bytes)),
            ("takes", self.features.join(", ")),
            ("gives", self.outputs.join(", ")),
            ("trained on", self.data_name.clone()),
            ("metrics", metrics),
        ];
        let rows = rows.into_iter().map(|(what, value)| vec![Field::from(what), Field::from(value)]);
        let table = table::render(look, &["embedded model", ""], rows.collect());
        format!("{table}\n\n{}", self.verification.render(look))
    }
}
