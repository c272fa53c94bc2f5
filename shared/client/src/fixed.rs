//! A loaded model made by hand: for unit tests of an application, without Kafka.

use std::sync::Arc;

use modelcast_models::{Decoders, Model, PredictError, RowEncoder, Value};
use modelcast_protocol::{
    Digest, Generation, ModelName, Version,
    chunk::ChunkTable,
    codec::Record as _,
    golden::{Column, GoldenRows, RELATIVE_TOLERANCE},
    key::SigningKey,
    manifest::{Lineage, Manifest, ManifestError},
    schema::{FeatureKind, FeatureSchema},
};
use thiserror::Error;

use crate::loaded::{LoadedModel, Origin};

/// Why a fixed model cannot be made.
#[derive(Debug, Error)]
pub enum FixedModelError {
    /// The schema is not valid, or too large for a manifest.
    #[error("the schema does not make a manifest")]
    Manifest(#[from] ManifestError),
    /// The model does not take a row of its own schema.
    #[error("the model does not predict a typical row of its schema")]
    Predict(#[from] PredictError),
}

impl LoadedModel {
    /// A model at a version of your choice, with a manifest signed by nobody. Its one golden row is the schema's
    /// typical row.
    ///
    /// # Errors
    /// [`FixedModelError`] when schema and model do not fit each other.
    pub fn fixed(
        name: ModelName,
        version: Version,
        schema: FeatureSchema,
        model: Box<dyn Model>,
    ) -> Result<Self, FixedModelError> {
        let schema = Arc::new(schema);
        let encoder = RowEncoder::new(Arc::clone(&schema));
        let manifest = Manifest {
            v: Manifest::VERSION,
            model: name,
            format: Decoders::standard().formats().next().unwrap_or("fixed").to_owned(),
            required_features: Vec::new(),
            size_bytes: 0,
            artifact: Digest::of(&version.get().to_be_bytes()),
            chunks: ChunkTable::default(),
            golden: typical_row(&schema, &encoder, model.as_ref())?,
            schema: FeatureSchema::clone(&schema),
            lineage: Lineage::default(),
            metrics: [].into(),
        };
        let manifest = manifest.sign(&SigningKey::from_seed(&[0; 32]))?;
        Ok(Self::new(version, Generation::new(version.get()), Origin::Fixed, manifest, encoder, model))
    }
}

fn typical_row(
    schema: &FeatureSchema,
    encoder: &RowEncoder,
    model: &dyn Model,
) -> Result<GoldenRows, FixedModelError> {
    let inputs: Vec<Column> = schema
        .features
        .iter()
        .map(|feature| match &feature.kind {
            FeatureKind::Numeric(numeric) => {
                let low = numeric.range.map(|(low, _)| low);
                Column::Numbers(vec![numeric.typical.or(low).unwrap_or(0.0)])
            }
            FeatureKind::Categorical(categorical) => {
                let first = categorical.categories.first().cloned().unwrap_or_default();
                Column::Categories(vec![categorical.typical.clone().unwrap_or(first)])
            }
        })
        .collect();
    let named = schema.features.iter().zip(&inputs).filter_map(|(feature, column)| {
        let value = match column {
            Column::Numbers(values) => Value::Number(*values.first()?),
            Column::Categories(values) => Value::Category(values.first()?),
        };
        Some((feature.name.as_str(), value))
    });
    let mut row = Vec::new();
    let mut outputs = vec![0.0; schema.outputs.len()];
    // A schema whose own typical row it does not take is found invalid when the manifest is signed.
    if encoder.encode_row(named, &mut row).is_ok() {
        model.predict(&row, &mut outputs)?;
    }
    let outputs = outputs.into_iter().map(|output| vec![output]).collect();
    Ok(GoldenRows { inputs, outputs, relative_tolerance: RELATIVE_TOLERANCE })
}
