//! What is to be published, and its manifest.

use std::{collections::BTreeMap, io, sync::Arc};

use modelcast_models::Decoders;
use modelcast_protocol::{
    Digest, ModelName,
    change::NewRole,
    chunk::{ChunkEntry, ChunkTable},
    chunking::{ChunkSizes, cut},
    codec::Record as _,
    desired::Stamp,
    golden::GoldenRows,
    limits::ARTIFACT_MAX_BYTES,
    manifest::{Lineage, Manifest},
    schema::FeatureSchema,
};

use super::gate::GatePolicy;
use crate::{admission::Policy, artifact::Artifact, loaded::LoadedModel};

/// Computes the champion's metrics on the candidate's hold-out rows, or says why it cannot.
pub type ScoreChampion = Arc<dyn Fn(&LoadedModel) -> Result<BTreeMap<String, f64>, String> + Send + Sync>;

/// A version to publish.
#[derive(Clone)]
pub struct PublishRequest {
    /// Of which model.
    pub model: ModelName,
    /// Its bytes.
    pub artifact: Artifact,
    /// Name of the format that decodes them.
    pub format: String,
    /// What a decoder must be able to do beyond that.
    pub required_features: Vec<String>,
    /// What the model takes and gives.
    pub schema: FeatureSchema,
    /// Inputs with the outputs that the trainer computed.
    pub golden: GoldenRows,
    /// Where it came from.
    pub lineage: Lineage,
    /// Hold-out metrics.
    pub metrics: BTreeMap<String, f64>,
    /// What it must pass.
    pub gates: GatePolicy,
    /// Gates that may fail, each with its reason.
    pub overrides: BTreeMap<String, String>,
    /// How to score the champion on the same rows; without it relative gates are skipped.
    pub score_champion: Option<ScoreChampion>,
    /// The decoders that try it before anybody else has to.
    pub decoders: Arc<Decoders>,
    /// Who runs it.
    pub role: NewRole,
    /// Who publishes it, why, when.
    pub stamp: Stamp,
    /// Whether to stop before anything is sent.
    pub dry_run: bool,
}

/// Size, digest and cuts of an artifact.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) size_bytes: u64,
    pub(super) digest: Digest,
    /// The chunks as they would be without compression: for a manifest that is tried, not sent.
    uncompressed: ChunkTable,
}

impl PublishRequest {
    /// How a subscriber with these decoders would admit it.
    pub(super) fn policy(&self) -> Policy {
        Policy { decoders: Arc::clone(&self.decoders), artifact_max_bytes: ARTIFACT_MAX_BYTES, schema: None }
    }

    /// Reads the artifact twice: its digest, and its cuts.
    pub(super) fn measure(&self) -> io::Result<Measured> {
        let (size_bytes, digest) = self.artifact.measure()?;
        let mut uncompressed = ChunkTable::default();
        for raw in cut(self.artifact.reader()?, ChunkSizes::for_artifact(size_bytes)) {
            let raw = raw?;
            let size = u32::try_from(raw.len()).map_err(io::Error::other)?;
            let digest = Digest::of(&raw);
            uncompressed.entries.push(ChunkEntry {
                digest,
                stored_bytes: size,
                raw_bytes: size,
                offset: None,
            });
        }
        Ok(Measured { size_bytes, digest, uncompressed })
    }

    /// The manifest with a chunk table.
    pub(super) fn manifest(&self, measured: &Measured, chunks: ChunkTable) -> Manifest {
        Manifest {
            v: Manifest::VERSION,
            model: self.model.clone(),
            format: self.format.clone(),
            required_features: self.required_features.clone(),
            size_bytes: measured.size_bytes,
            artifact: measured.digest,
            chunks,
            schema: self.schema.clone(),
            golden: self.golden.clone(),
            lineage: self.lineage.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// The manifest for trying the artifact before anything is sent.
    pub(super) fn provisional_manifest(&self, measured: &Measured) -> Manifest {
        self.manifest(measured, measured.uncompressed.clone())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use modelcast_protocol::golden::{Column, RELATIVE_TOLERANCE};

    use super::*;

    pub(in crate::publish) fn manifest(schema: &FeatureSchema) -> Manifest {
        let request = request(schema);
        let measured = request.measure().unwrap();
        let manifest = request.provisional_manifest(&measured);
        manifest.validate().unwrap();
        manifest
    }

    pub(in crate::publish) fn request(schema: &FeatureSchema) -> PublishRequest {
        let golden = GoldenRows {
            inputs: schema.features.iter().map(|_| Column::Numbers(vec![0.0])).collect(),
            outputs: vec![vec![0.0]],
            relative_tolerance: RELATIVE_TOLERANCE,
        };
        PublishRequest {
            model: ModelName::parse("price").unwrap(),
            artifact: Artifact::Memory(b"artifact".to_vec()),
            format: "glm".into(),
            required_features: Vec::new(),
            schema: schema.clone(),
            golden,
            lineage: Lineage::default(),
            metrics: BTreeMap::new(),
            gates: GatePolicy::default(),
            overrides: BTreeMap::new(),
            score_champion: None,
            decoders: Arc::new(Decoders::standard()),
            role: NewRole::Champion,
            stamp: Stamp { author: "ada".into(), reason: String::new(), at_unix_ms: 0 },
            dry_run: true,
        }
    }
}
