//! A version ready to be published: artifact, schema, golden rows, lineage, metrics.
//!
//! One way in for models trained here and coefficients fitted elsewhere. Does not know Kafka (see `announce`).
//!
//! # Invariants
//! * Metrics and golden rows are of the model decoded from the very bytes of the artifact.

use std::{collections::BTreeMap, sync::Arc};

use modelcast_models::{
    DecodeContext, DecodeError, Decoders, GeneralizedLinearModel, GlmError, GoldenMismatch, Model,
    RowEncoder, RowError, glm, recompute,
};
use modelcast_protocol::{
    Digest,
    golden::{GoldenError, GoldenRows},
    manifest::Lineage,
    name::ModelName,
    schema::FeatureSchema,
};
use thiserror::Error;

use crate::{
    fit::Quality,
    golden,
    prepare::Prepared,
    recipe::Recipe,
    score::{ScoreError, score},
};

/// A version ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// The model that it is a version of.
    pub model: ModelName,
    /// The data set that it is judged by.
    pub dataset: String,
    /// What bounded the training rows, where they are split by time.
    pub until: Option<String>,
    /// What the rows that it is judged by have in common.
    pub held_out: String,
    /// Name of the artifact's format.
    pub format: String,
    /// The bytes that applications load.
    pub artifact: Vec<u8>,
    /// What it takes and gives.
    pub schema: FeatureSchema,
    /// Rows with the outputs that the artifact gives.
    pub golden: GoldenRows,
    /// Where it came from.
    pub lineage: Lineage,
    /// How good it is on held-out rows.
    pub metrics: BTreeMap<String, f64>,
    /// How good the fit is; none for coefficients fitted elsewhere.
    pub quality: Option<Quality>,
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Rows that it was trained on; 0 where nobody knows.
    pub train_rows: usize,
    /// What is needed to make it again.
    pub parameters: BTreeMap<String, String>,
    /// How good the fit is, where it was fitted here.
    pub quality: Option<Quality>,
    /// Revision of this program's source, or `unknown`.
    pub code_revision: String,
    /// When it was trained, Unix milliseconds.
    pub at_unix_ms: u64,
}

/// Why a model makes no package.
#[derive(Debug, Error)]
pub enum PackageError {
    /// It cannot be encoded.
    #[error("the model cannot be encoded")]
    Encode(#[from] GlmError),
    /// Its own bytes do not decode.
    #[error("the artifact does not decode by the schema of its data set")]
    Decode(#[from] DecodeError),
    /// It cannot be judged.
    #[error("the model cannot be judged on the held-out rows")]
    Score(#[from] ScoreError),
    /// The held-out rows do not fit the schema.
    #[error("the held-out rows make no golden rows")]
    Rows(#[from] RowError),
    /// It answers none of the rows.
    #[error("the golden rows are not valid")]
    Golden(#[from] GoldenError),
    /// It does not compute its own golden rows again.
    #[error("the model disagrees with its own golden rows")]
    Mismatch(#[from] GoldenMismatch),
}

/// Packages a model with what the held-out rows say of it.
///
/// # Errors
/// [`PackageError`] when no subscriber would take the result.
pub fn pack(
    recipe: &Recipe,
    prepared: &Prepared,
    model: &GeneralizedLinearModel,
    origin: &Origin,
) -> Result<Package, PackageError> {
    let artifact = model.encode()?;
    let decoded = decode(&artifact, glm::FORMAT, &prepared.schema)?;
    let encoder = RowEncoder::new(Arc::clone(&prepared.schema));
    let metrics = score(&*decoded, &encoder, &prepared.hold_out, &recipe.target.output)?;
    let golden = golden::choose(&*decoded, &encoder, &prepared.hold_out)?;
    golden.validate(&prepared.schema)?;
    recompute(&*decoded, &encoder, &golden)?;
    Ok(Package {
        model: recipe.model.clone(),
        dataset: recipe.dataset.clone(),
        until: prepared.until.clone(),
        held_out: prepared.held_out.clone(),
        format: glm::FORMAT.to_owned(),
        artifact,
        schema: FeatureSchema::clone(&prepared.schema),
        golden,
        lineage: lineage(recipe, prepared, origin),
        metrics,
        quality: origin.quality,
    })
}

impl Package {
    /// Digest of the artifact.
    #[must_use]
    pub fn artifact_digest(&self) -> Digest {
        Digest::of(&self.artifact)
    }

    /// The model that its bytes give.
    ///
    /// # Errors
    /// [`DecodeError`] when they give none.
    pub fn decode(&self) -> Result<Box<dyn Model>, DecodeError> {
        decode(&self.artifact, &self.format, &Arc::new(self.schema.clone()))
    }
}

fn decode(artifact: &[u8], format: &str, schema: &Arc<FeatureSchema>) -> Result<Box<dyn Model>, DecodeError> {
    let size_bytes = u64::try_from(artifact.len()).unwrap_or(u64::MAX);
    let context = DecodeContext { schema, size_bytes, required_features: &[] };
    Decoders::standard().select(format, &[])?.decode(&mut &*artifact, &context)
}

fn lineage(recipe: &Recipe, prepared: &Prepared, origin: &Origin) -> Lineage {
    let rows = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    let until = prepared.until.iter().map(|until| ("until".to_owned(), until.clone()));
    let held_out = ("held_out".to_owned(), prepared.held_out.clone());
    Lineage {
        data: Some(prepared.digest),
        data_name: recipe.dataset.clone(),
        train_rows: rows(origin.train_rows),
        test_rows: rows(prepared.hold_out.len()),
        parameters: origin.parameters.clone().into_iter().chain(until).chain([held_out]).collect(),
        seed: None, // nothing here is random
        code_revision: origin.code_revision.clone(),
        trained_at_unix_ms: origin.at_unix_ms,
    }
}
