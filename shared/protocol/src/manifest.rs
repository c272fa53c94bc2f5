//! The manifest: the signed description of one version.
//!
//! Holds what a reader needs to fetch, verify, decode and test an artifact, and what a person needs to know where it
//! came from. Carries no version number: an announcement gives it one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    chunk::{ChunkTable, ChunkTableError},
    codec::{self, CodecError, Record},
    digest::Digest,
    envelope::{self, EnvelopeError, Purpose},
    golden::GoldenRows,
    key::{KeyId, SigningKey, TrustedKeys},
    limits::{ARTIFACT_MAX_BYTES, MANIFEST_MAX_BYTES, SCHEMA_TEXT_MAX_BYTES},
    name::ModelName,
    schema::FeatureSchema,
};

/// Most lineage parameters and most metrics.
const ENTRIES_MAX: usize = 256;

/// The description of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Major version of this record.
    pub v: u16,
    /// The model that this is a version of: a manifest of one model is refused for another.
    pub model: ModelName,
    /// Name of the format that decodes the artifact, such as `glm`.
    pub format: String,
    /// What a decoder must be able to do beyond the format's name; an unknown entry is refused.
    #[serde(default)]
    pub required_features: Vec<String>,
    /// Size of the artifact.
    pub size_bytes: u64,
    /// Digest of the artifact's raw bytes.
    pub artifact: Digest,
    /// Where the artifact's chunks are, packed; see [`ChunkTable`].
    pub chunks: ChunkTable,
    /// What the model takes and gives.
    pub schema: FeatureSchema,
    /// Inputs with the outputs that the trainer computed.
    pub golden: GoldenRows,
    /// Where the version came from.
    pub lineage: Lineage,
    /// Hold-out metrics by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

/// Where a version came from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// Digest of the data set's bytes that were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Digest>,
    /// Name of the data set.
    #[serde(default)]
    pub data_name: String,
    /// Rows trained on.
    #[serde(default)]
    pub train_rows: u64,
    /// Rows that the metrics were computed on.
    #[serde(default)]
    pub test_rows: u64,
    /// Hyperparameters and everything else needed to train it again.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Seed of the random generator, where one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Revision of the training code.
    #[serde(default)]
    pub code_revision: String,
    /// When it was trained, Unix milliseconds; shown, never compared.
    #[serde(default)]
    pub trained_at_unix_ms: u64,
}

/// A manifest whose signature was verified, with the bytes that were signed.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedManifest {
    manifest: Manifest,
    digest: Digest,
    signer: KeyId,
    bytes: Vec<u8>,
}

/// Why bytes are not a manifest that can be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// Above the limit.
    #[error("a manifest of {found} bytes is larger than {MANIFEST_MAX_BYTES}")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not trusted.
    #[error("the manifest is not trusted")]
    Envelope(#[from] EnvelopeError),
    /// Trusted but not readable.
    #[error("the manifest is not readable")]
    Codec(#[from] CodecError),
    /// Of another model.
    #[error("the manifest is of model {found}, not of {wanted}")]
    OtherModel {
        /// The model in the manifest.
        found: ModelName,
        /// The model asked for.
        wanted: ModelName,
    },
}

impl Record for Manifest {
    const VERSION: u16 = 1;
    const NOUN: &'static str = "manifest";
}

impl Manifest {
    /// Checks everything that a manifest says of itself.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] with the first thing wrong.
    pub fn validate(&self) -> Result<(), CodecError> {
        self.schema.validate().map_err(|error| invalid(&error))?;
        self.golden.validate(&self.schema).map_err(|error| invalid(&error))?;
        self.validate_chunks().map_err(|error| invalid(&error))?;
        if self.size_bytes > ARTIFACT_MAX_BYTES {
            return Err(invalid(&format!("an artifact of {} bytes is too large", self.size_bytes)));
        }
        let entries = self.lineage.parameters.len().max(self.metrics.len()).max(self.required_features.len());
        if entries > ENTRIES_MAX {
            return Err(invalid(&format!("{entries} parameters, metrics or required features")));
        }
        if let Some((name, value)) = self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(invalid(&format!("metric {name:?} is {value}")));
        }
        if !(1..=SCHEMA_TEXT_MAX_BYTES).contains(&self.format.len()) {
            return Err(invalid(&"the format's name is empty or too long"));
        }
        Ok(())
    }

    /// Signs this manifest.
    ///
    /// # Errors
    /// [`ManifestError::Codec`] when it is not valid, [`ManifestError::TooLarge`] when it does not fit a record.
    pub fn sign(self, key: &SigningKey) -> Result<SignedManifest, ManifestError> {
        self.validate()?;
        let payload = codec::encode(&self)?;
        let bytes = envelope::seal(Purpose::Manifest, &payload, key);
        check_size(bytes.len())?;
        Ok(SignedManifest { manifest: self, digest: Digest::of(&payload), signer: key.id(), bytes })
    }

    fn validate_chunks(&self) -> Result<(), ChunkTableError> {
        let raw_bytes = self.chunks.validate()?;
        if raw_bytes == self.size_bytes {
            Ok(())
        } else {
            Err(ChunkTableError::OtherSize { found: raw_bytes, stated: self.size_bytes })
        }
    }
}

impl SignedManifest {
    /// Verifies, decodes and checks the bytes of a signed manifest of `model`.
    ///
    /// # Errors
    /// [`ManifestError`], in the order of its variants.
    pub fn open(bytes: Vec<u8>, model: &ModelName, keys: &TrustedKeys) -> Result<Self, ManifestError> {
        check_size(bytes.len())?;
        let opened = envelope::open(Purpose::Manifest, &bytes, keys)?;
        let (digest, signer) = (opened.digest, opened.signer);
        let manifest: Manifest = codec::decode(opened.payload)?;
        manifest.validate()?;
        if manifest.model != *model {
            return Err(ManifestError::OtherModel { found: manifest.model, wanted: model.clone() });
        }
        Ok(Self { manifest, digest, signer, bytes })
    }

    /// What it says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the signed payload: the manifest's name.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Who signed it.
    #[must_use]
    pub fn signer(&self) -> KeyId {
        self.signer
    }

    /// The record's bytes: envelope and payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn check_size(found: usize) -> Result<(), ManifestError> {
    if found > MANIFEST_MAX_BYTES { Err(ManifestError::TooLarge { found }) } else { Ok(()) }
}

fn invalid(cause: &impl ToString) -> CodecError {
    CodecError::Invalid { noun: Manifest::NOUN, cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden::{Column, RELATIVE_TOLERANCE},
        schema::{Feature, FeatureKind, Numeric, Output, OutputKind},
    };

    fn manifest() -> Manifest {
        let kind = FeatureKind::Numeric(Numeric::default());
        let output = OutputKind::Numeric { unit: None };
        Manifest {
            v: Manifest::VERSION,
            model: ModelName::parse("price").unwrap(),
            format: "glm".into(),
            required_features: Vec::new(),
            size_bytes: 0,
            artifact: Digest::of(b""),
            chunks: ChunkTable::default(),
            schema: FeatureSchema {
                features: vec![Feature { name: "x".into(), title: None, kind }],
                outputs: vec![Output { name: "y".into(), title: None, kind: output }],
            },
            golden: GoldenRows {
                inputs: vec![Column::Numbers(vec![1.0])],
                outputs: vec![vec![1.0]],
                relative_tolerance: RELATIVE_TOLERANCE,
            },
            lineage: Lineage::default(),
            metrics: [("rmse".to_owned(), 1.0)].into(),
        }
    }

    #[test]
    fn a_manifest_that_contradicts_itself_names_what_is_wrong() {
        assert_eq!(manifest().validate(), Ok(()));
        let broken = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.validate().unwrap_err().to_string()
        };
        let found = [
            (broken(|of| of.metrics = [("auc".to_owned(), f64::NAN)].into()), "metric \"auc\""),
            (broken(|of| of.size_bytes = 1), "0 bytes together"),
            (broken(|of| of.format.clear()), "format"),
            (broken(|of| of.golden.outputs.clear()), "0 golden rows"),
            (broken(|of| of.schema.outputs.clear()), "0 outputs"),
        ];
        for (error, words) in found {
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }
}
