//! The bytes of format `glm`: one named MessagePack map, and nothing after it.
//!
//! | field | value |
//! |---|---|
//! | `v` | 1; a reader refuses a higher one |
//! | `link` | `identity`, `logit` or `exp` |
//! | `intercept` | float 64 |
//! | `numeric` | list of `[feature, weight]` |
//! | `categorical` | list of `[feature, [weight, ...]]`: the categories in the schema's order, then `other` |
//!
//! Features may stand in any order, each once; a field that is not listed here is skipped.
//!
//! # Invariants
//! * An artifact larger than any model over the schema can be is refused before it is read, so that what decoding
//!   allocates is bounded by the schema.

use std::{borrow::Cow, io::Read};

use modelcast_protocol::{
    codec::{self, Record},
    schema::{FeatureKind, FeatureSchema},
};
use serde::{Deserialize, Serialize};

use super::{GeneralizedLinearModel, GlmError, Link};
use crate::{
    decoder::{DecodeContext, DecodeError, Decoder, check_supported},
    model::Model,
};

/// Name of the format.
pub const FORMAT: &str = "glm";
/// The largest artifact of this format, whatever the schema: seven million weights, far above any that people fit.
pub const ARTIFACT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Room in an artifact for everything but the features, and for fields that a later version adds.
const BESIDE_FEATURES_BYTES: u64 = 64 * 1024;
/// A MessagePack float 64 with its marker.
const NUMBER_BYTES: u64 = 9;
/// The longest MessagePack header of a text or a list.
const HEADER_BYTES: u64 = 5;

/// Decodes format `glm`.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlmDecoder;

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    v: u16,
    link: Link,
    intercept: f64,
    numeric: Cow<'a, [(String, f64)]>,
    categorical: Cow<'a, [(String, Vec<f64>)]>,
}

impl Record for Wire<'_> {
    const VERSION: u16 = 1;
    const NOUN: &'static str = "the generalised linear model";
}

impl GeneralizedLinearModel {
    /// The bytes of this model: an artifact of format `glm`. The same model has the same bytes.
    ///
    /// # Errors
    /// [`GlmError::Intercept`] and [`GlmError::NotFinite`]: what no reader would take is not written.
    pub fn encode(&self) -> Result<Vec<u8>, GlmError> {
        self.check_finite()?;
        let wire = Wire {
            v: Wire::VERSION,
            link: self.link,
            intercept: self.intercept,
            numeric: Cow::Borrowed(&self.numeric),
            categorical: Cow::Borrowed(&self.categorical),
        };
        Ok(codec::encode(&wire)?)
    }

    /// Reads the bytes of a model. It is not checked against a schema yet: see [`bind`](Self::bind).
    ///
    /// Allocates at most some ten times the length of `bytes`, which the caller has checked against a limit.
    ///
    /// # Errors
    /// [`GlmError::Codec`] for bytes that are not exactly one model of a version known here;
    /// [`GlmError::Intercept`] and [`GlmError::NotFinite`].
    pub fn decode(bytes: &[u8]) -> Result<Self, GlmError> {
        let wire: Wire<'static> = codec::decode(bytes)?;
        let model = Self {
            link: wire.link,
            intercept: wire.intercept,
            numeric: wire.numeric.into_owned(),
            categorical: wire.categorical.into_owned(),
        };
        model.check_finite()?;
        Ok(model)
    }
}

impl Decoder for GlmDecoder {
    fn format(&self) -> &str {
        FORMAT
    }

    fn decode(
        &self,
        artifact: &mut dyn Read,
        context: &DecodeContext<'_>,
    ) -> Result<Box<dyn Model>, DecodeError> {
        check_supported(self, context.required_features)?;
        let bytes = context.read_whole(artifact, size_max(context.schema))?;
        let model = GeneralizedLinearModel::decode(&bytes)?.bind(context.schema)?;
        Ok(Box::new(model))
    }
}

/// The most bytes that a model over this schema takes.
fn size_max(schema: &FeatureSchema) -> u64 {
    let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let features = schema.features.iter().map(|feature| {
        let weights = match &feature.kind {
            FeatureKind::Numeric(_) => 1,
            FeatureKind::Categorical(categorical) => bytes(categorical.categories.len()).saturating_add(1),
        };
        let name = bytes(feature.name.len()).saturating_add(3 * HEADER_BYTES);
        name.saturating_add(weights.saturating_mul(NUMBER_BYTES))
    });
    features.fold(BESIDE_FEATURES_BYTES, u64::saturating_add).min(ARTIFACT_MAX_BYTES)
}
