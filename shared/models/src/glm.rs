//! Format `glm`: the generalised linear model, `mean = inverse link(intercept + sum of weights)`.
//!
//! [`GeneralizedLinearModel`] is what is published: weights by feature name, in named MessagePack. Bound to a schema
//! it becomes a [`BoundGlm`], which predicts. Standardisation and one-hot encoding are folded into the weights (see
//! [`GlmBuilder`]), so that both sides compute on values as people write them. Does not fit anything.
//!
//! # Invariants
//! * Bound is only what has each feature of the schema exactly once, with finite weights of the right number, and
//!   one output of the kind that the link gives.
//! * The same value encodes to the same bytes.

mod bound;
mod builder;
mod wire;

use modelcast_protocol::{codec::CodecError, schema::OutputKind};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use bound::BoundGlm;
pub use builder::{GlmBuilder, Scaled};
pub use wire::{ARTIFACT_MAX_BYTES, FORMAT, GlmDecoder};

/// A generalised linear model with one output (Nelder and Wedderburn 1972), on values that are not standardised.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneralizedLinearModel {
    /// How the sum becomes a prediction.
    pub link: Link,
    /// The sum of a row in which everything else is zero.
    pub intercept: f64,
    /// Numeric features with the weight of one unit.
    pub numeric: Vec<(String, f64)>,
    /// Categorical features with the weight of each level: the categories in the schema's order, then `other` where
    /// the schema has it.
    pub categorical: Vec<(String, Vec<f64>)>,
}

/// How the sum of a row becomes a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// The sum is the amount.
    Identity,
    /// The sum is the log-odds of the positive label: `1 / (1 + exp(-sum))` is its probability.
    Logit,
    /// The sum is the natural logarithm of the amount: `exp(sum)` is the amount.
    Exp,
}

/// What is wrong with a generalised linear model. None of it mends itself: the version is to be rejected.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GlmError {
    /// The bytes are not a model.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The schema has a feature that the model has no weight for.
    #[error("the model has no weight for feature {feature:?}")]
    MissingFeature {
        /// Name of the feature.
        feature: String,
    },
    /// The model has a weight for a feature that the schema does not have.
    #[error("the model has a weight for {feature:?}, and the schema has no such feature")]
    UnknownFeature {
        /// The start of the name.
        feature: String,
    },
    /// The model has weights for a feature twice.
    #[error("the model has weights for feature {feature:?} twice")]
    DuplicateFeature {
        /// The start of the name.
        feature: String,
    },
    /// One weight for a categorical feature, or a list of them for a numeric one.
    #[error("the schema says that feature {feature:?} is {expected}, and the model has it as {found}")]
    FeatureKind {
        /// Name of the feature.
        feature: String,
        /// What the schema says.
        expected: &'static str,
        /// What the model says.
        found: &'static str,
    },
    /// A categorical feature has too many or too few weights.
    #[error("feature {feature:?} has {found} weights for {expected} levels")]
    WeightCount {
        /// Name of the feature.
        feature: String,
        /// Weights found.
        found: usize,
        /// Categories, and `other` where the schema has it.
        expected: usize,
    },
    /// A weight is infinite or not a number.
    #[error("a weight of feature {feature:?} is not finite")]
    NotFinite {
        /// The start of the feature's name.
        feature: String,
    },
    /// The intercept is infinite or not a number.
    #[error("the intercept is not finite")]
    Intercept,
    /// The schema does not have exactly one output.
    #[error("the schema has {found} outputs, and this format gives one")]
    OutputCount {
        /// Outputs of the schema.
        found: usize,
    },
    /// The output is not of the kind that the link gives.
    #[error("output {output:?} is {found}, and link {link:?} gives {expected}")]
    OutputKind {
        /// Name of the output.
        output: String,
        /// The link.
        link: Link,
        /// What the link gives.
        expected: &'static str,
        /// What the schema says.
        found: &'static str,
    },
    /// A column was scaled by a deviation that is not a positive number.
    #[error("a column of feature {feature:?} was scaled by {deviation}, which is no positive number")]
    Deviation {
        /// Name of the feature.
        feature: String,
        /// The deviation given.
        deviation: f64,
    },
}

impl Link {
    /// The prediction for the sum of a row: the inverse link function.
    #[must_use]
    pub fn mean(self, sum: f64) -> f64 {
        match self {
            Self::Identity => sum,
            Self::Logit => 1.0 / (1.0 + (-sum).exp()), // exp overflows to infinity, and that gives 0: no NaN
            Self::Exp => sum.exp(),
        }
    }

    /// Whether an output of this kind is what the link gives.
    #[must_use]
    pub fn gives(self, kind: &OutputKind) -> bool {
        matches!(kind, OutputKind::Probability { .. }) == (self == Self::Logit)
    }
}
