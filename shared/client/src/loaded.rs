//! A model that passed admission: what a request predicts with.
//!
//! Only `admission` makes one from bytes, and the slot takes nothing else. Everything that an answer must name is in
//! the same `Arc` as the model, so that an answer can never mix two versions.

#[cfg(feature = "kafka")]
use std::sync::Weak;
use std::{fmt, sync::Arc};

use modelcast_models::{Model, PredictError, RowEncoder};
use modelcast_protocol::{
    Digest, Generation, ModelName, Version,
    manifest::{Manifest, SignedManifest},
    schema::FeatureSchema,
};
use ndarray::{ArrayView2, ArrayViewMut2};

/// Where a loaded model came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From Kafka, now or before a restart.
    Kafka,
    /// The application carried it with it.
    Embedded,
    /// Made by hand, for a test.
    Fixed,
}

/// A model with the version that it is.
pub struct LoadedModel {
    version: Version,
    generation: Generation,
    origin: Origin,
    core: Arc<Core>,
}

/// What does not change when the generation does.
struct Core {
    manifest: SignedManifest,
    encoder: RowEncoder,
    model: Box<dyn Model>,
    /// Fields are dropped in order: while this one lives, the model may still be in memory.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "only a subscriber waits for room"))]
    residence: Arc<()>,
}

impl LoadedModel {
    pub(crate) fn new(
        version: Version,
        generation: Generation,
        origin: Origin,
        manifest: SignedManifest,
        encoder: RowEncoder,
        model: Box<dyn Model>,
    ) -> Self {
        Self {
            version,
            generation,
            origin,
            core: Arc::new(Core { manifest, encoder, model, residence: Arc::new(()) }),
        }
    }

    /// The same model at another generation; copies a pointer.
    #[cfg(feature = "kafka")]
    pub(crate) fn at(&self, version: Version, generation: Generation) -> Self {
        Self { version, generation, origin: self.origin, core: Arc::clone(&self.core) }
    }

    /// Ends when the model has left memory; the same for all generations of it.
    #[cfg(feature = "kafka")]
    pub(crate) fn residence(&self) -> Weak<()> {
        Arc::downgrade(&self.core.residence)
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &ModelName {
        &self.core.manifest.manifest().model
    }

    /// Which version it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The generation at which it serves.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Digest of its manifest: what an answer names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.core.manifest.digest()
    }

    /// Its manifest: metrics, lineage, size.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.core.manifest.manifest()
    }

    /// Its signed manifest.
    #[must_use]
    pub fn signed_manifest(&self) -> &SignedManifest {
        &self.core.manifest
    }

    /// What it takes and gives.
    #[must_use]
    pub fn schema(&self) -> &Arc<FeatureSchema> {
        self.core.encoder.schema()
    }

    /// Checks named values and turns them into rows.
    #[must_use]
    pub fn encoder(&self) -> &RowEncoder {
        &self.core.encoder
    }

    /// The model behind it.
    #[must_use]
    pub fn model(&self) -> &dyn Model {
        self.core.model.as_ref()
    }

    /// Predicts one encoded row; see [`Model::predict`].
    ///
    /// # Errors
    /// [`PredictError`] for a row that the encoder did not make.
    pub fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        self.core.model.predict(row, outputs)
    }

    /// Predicts `[n, features]` encoded rows into `[n, outputs]`; see [`Model::predict_batch`].
    ///
    /// # Errors
    /// [`PredictError`] for rows that the encoder did not make.
    pub fn predict_batch(
        &self,
        rows: ArrayView2<'_, f64>,
        outputs: ArrayViewMut2<'_, f64>,
    ) -> Result<(), PredictError> {
        self.core.model.predict_batch(rows, outputs)
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {} ({})", self.name(), self.version, self.digest().short())
    }
}
