//! The smallest model there is, `price = weight * area`, for tests that are about publishing and not about data.
//!
//! Fitted by nobody; the artifact is a real one of the format `glm`.

use std::sync::Arc;

use modelcast::models::{Decoders, GeneralizedLinearModel, GlmError, Link};
use modelcast::protocol::ModelName;
use modelcast::protocol::change::NewRole;
use modelcast::protocol::desired::Stamp;
use modelcast::protocol::golden::{Column, GoldenRows, RELATIVE_TOLERANCE};
use modelcast::protocol::manifest::Lineage;
use modelcast::protocol::schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind};
use modelcast::{Artifact, PublishRequest};

/// What the golden row asks for.
const GOLDEN_AREA: f64 = 2.0;

/// `price = weight * area`: one feature, one output. Two weights are two versions that answer differently.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TinyModel {
    /// What one unit of area costs; finite.
    pub weight: f64,
}

impl TinyModel {
    /// A numeric feature `area`, a numeric output `price`.
    #[must_use]
    pub fn schema() -> FeatureSchema {
        let area = FeatureKind::Numeric(Numeric::default());
        FeatureSchema {
            features: vec![Feature { name: "area".into(), title: None, kind: area }],
            outputs: vec![Output {
                name: "price".into(),
                title: None,
                kind: OutputKind::Numeric { unit: None },
            }],
        }
    }

    /// What it answers.
    #[must_use]
    pub fn price(self, area: f64) -> f64 {
        self.weight * area
    }

    /// The artifact's bytes, in the format `glm`.
    ///
    /// # Errors
    /// When the weight is not finite.
    pub fn artifact(self) -> Result<Vec<u8>, GlmError> {
        let numeric = vec![("area".to_owned(), self.weight)];
        GeneralizedLinearModel { link: Link::Identity, intercept: 0.0, numeric, categorical: vec![] }.encode()
    }

    /// One row: an area of 2, with what the model makes of it.
    #[must_use]
    pub fn golden_rows(self) -> GoldenRows {
        GoldenRows {
            inputs: vec![Column::Numbers(vec![GOLDEN_AREA])],
            outputs: vec![vec![self.price(GOLDEN_AREA)]],
            relative_tolerance: RELATIVE_TOLERANCE,
        }
    }

    /// A request to publish it as the champion, without metrics; each field can be changed.
    ///
    /// # Errors
    /// When the weight is not finite.
    pub fn request(self, model: ModelName, author: &str) -> Result<PublishRequest, GlmError> {
        Ok(PublishRequest {
            model,
            artifact: Artifact::Memory(self.artifact()?),
            format: "glm".into(),
            required_features: vec![],
            schema: Self::schema(),
            golden: self.golden_rows(),
            lineage: Lineage::default(),
            metrics: [].into(),
            gates: Default::default(),
            overrides: [].into(),
            score_champion: None,
            decoders: Arc::new(Decoders::standard()),
            role: NewRole::Champion,
            stamp: Stamp {
                author: author.to_owned(),
                reason: "a test".to_owned(),
                at_unix_ms: modelcast::clock::unix_ms(),
            },
            dry_run: false,
        })
    }
}
