//! What a run has to say of itself: rows, failures, how each output is distributed, which features were unusual.
//!
//! Plain data, kept as JSON with the run and shown to whoever approves it. Computed while the rows pass (see
//! [`counting`]); does not hold predictions.
//!
//! # Invariants
//! * Its size does not grow with the rows.
//! * `rows` is `scored` and `failures` together.
//! * Every number in it is finite, so that JSON can say it.

pub mod counting;
mod distribution;

use serde::{Deserialize, Serialize};

/// What a run has to say of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Rows of the input.
    pub rows: u64,
    /// Rows with a prediction.
    pub scored: u64,
    /// Rows without one.
    pub failures: u64,
    /// The first failures, at most 10.
    pub first_failures: Vec<Failure>,
    /// One for each output of the model, in the schema's order.
    pub outputs: Vec<OutputSummary>,
    /// Numeric features with values outside the range seen in training, in how many rows; those without are not listed.
    pub out_of_range: Vec<FeatureRows>,
    /// Categorical features with categories not seen in training, in how many rows; those without are not listed.
    pub unseen: Vec<FeatureRows>,
}

/// One row without a prediction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Failure {
    /// Number of the row in the input, from 0; a header does not count.
    pub row: u64,
    /// Its key; empty where it has none.
    pub key: String,
    /// Why, at most 300 characters.
    pub cause: String,
}

/// How one output is distributed over the rows that were scored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OutputSummary {
    /// Name of the output.
    pub name: String,
    /// How many values; where it is 0, so are the four figures after it.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of the values themselves: by `count`, not by one less.
    pub sd: f64,
    /// Where one bucket of the histogram ends and the next begins; ascending. Those of the last run, where there is one.
    pub edges: Vec<f64>,
    /// Values below the first edge, from each edge up to the next, and from the last edge on: one more than `edges`.
    pub counts: Vec<u64>,
}

/// A feature, and in how many rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureRows {
    /// Name of the feature.
    pub feature: String,
    /// How many rows.
    pub rows: u64,
}
