//! What the configuration file says, as it says it.
//!
//! Knows keys and types. What the values mean, and whether they fit together, is `recipe`; where in the file a wrong
//! one stands, `configuration`.
//!
//! # Invariants
//! * An unknown key is an error.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use modelcast::{
    publish::GatePolicy,
    settings::{KafkaSettings, KeySettings},
};
use modelcast_protocol::name::ModelName;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How to reach Kafka.
    #[serde(default)]
    pub kafka: KafkaSettings,
    /// Whom to trust, and as whom to sign.
    #[serde(default)]
    pub keys: KeySettings,
    /// What every publish says.
    #[serde(default)]
    pub publish: PublishSettings,
    /// The data sets, by name.
    #[serde(default)]
    pub datasets: BTreeMap<String, DatasetSettings>,
}

/// What every publish says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishSettings {
    /// Who publishes; `$USER@host` unless given.
    pub author: Option<String>,
}

/// One `[datasets.NAME]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSettings {
    /// The model that its fits are versions of.
    pub model: ModelName,
    /// The CSV file, with a header row.
    pub file: PathBuf,
    /// What is predicted.
    pub target: TargetSettings,
    /// Which rows are trained on, and which are held out.
    pub split: SplitSettings,
    /// How it is fitted.
    pub training: TrainingSettings,
    /// What it is predicted from.
    pub features: FeatureList,
    /// What a version must fulfil to be published.
    #[serde(default)]
    pub gates: GatePolicy,
}

/// What is predicted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSettings {
    /// Column of the file.
    pub column: String,
    /// Name of the output; the column's unless given.
    pub name: Option<String>,
    /// What a page shows instead of the name.
    pub title: Option<String>,
    /// Amount or label.
    pub task: Task,
    /// Of an amount: its unit.
    pub unit: Option<String>,
    /// Of an amount: on which scale it is fitted.
    pub transform: Option<Transform>,
    /// Of a label: the one whose probability is predicted.
    pub positive: Option<String>,
    /// Of a label: the other one.
    pub negative: Option<String>,
    /// Of a label: the probability from which it is the positive one; 0.5 unless given.
    pub threshold: Option<f64>,
}

/// The kind of prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// An amount.
    Regression,
    /// One of two labels.
    Classification,
}

/// The scale on which an amount is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// As it is.
    Identity,
    /// Its natural logarithm, so that errors count relative to the amount.
    Log,
}

/// Which rows are trained on: by time, or by a file of row numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSettings {
    /// Column whose greatest value is held out; `--until` bounds the rest.
    pub time_column: Option<String>,
    /// JSON file `{"train": [..], "hold_out": [..]}` of row numbers, counted from 0 after the header.
    pub rows_file: Option<PathBuf>,
}

/// How it is fitted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSettings {
    /// The algorithm.
    pub algorithm: AlgorithmName,
    /// Whether numeric columns are divided by their standard deviation before the fit.
    pub standardise: bool,
    /// Ridge: weight of half the squared weights against half the mean squared error.
    pub penalty: Option<f64>,
    /// Logistic: weight of half the squared weights against the sum of the log losses; scikit-learn's 1 / C.
    pub alpha: Option<f64>,
    /// Logistic: gradient norm, of the sum, at which the solver stops.
    pub tolerance: Option<f64>,
    /// Sweeps or steps of the solver at most.
    pub max_iterations: u32,
    /// A fit whose gradient norm, per row, is above this did not converge and is not published.
    pub gradient_norm_max: f64,
}

/// An algorithm's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlgorithmName {
    /// Least squares with squared weights penalised.
    Ridge,
    /// Logistic regression with squared weights penalised.
    Logistic,
}

/// What it is predicted from: `"all"` other columns as plain numbers, or a list.
#[derive(Debug, Clone)]
pub enum FeatureList {
    /// Every column but the target and the time column, each a number without a unit.
    All,
    /// These.
    Listed(Vec<FeatureSettings>),
}

/// One feature.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSettings {
    /// Column of the file.
    pub column: String,
    /// Name in requests; the column's unless given.
    pub name: Option<String>,
    /// What a form shows instead of the name.
    pub title: Option<String>,
    /// Number or category.
    pub kind: KindName,
    /// Of a number: its unit.
    pub unit: Option<String>,
    /// Of a number: whether a form offers whole numbers only.
    pub whole: Option<bool>,
    /// Of a category: those with a level of their own.
    pub categories: Option<Vec<String>>,
    /// Of a category: whether all others share one more level; without it they are an error.
    pub other: Option<bool>,
    /// What an empty cell means: a number or a category. Without it an empty cell is an error.
    pub missing: Option<Missing>,
}

/// The kind of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KindName {
    /// A number.
    Numeric,
    /// One of a list of categories.
    Categorical,
}

/// What an empty cell means.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Missing {
    /// For a numeric feature.
    Number(f64),
    /// For a categorical feature.
    Category(String),
}

impl<'de> Deserialize<'de> for FeatureList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FeatureListVisitor)
    }
}

/// Written out, because serde's untagged enums forget which key of which feature is wrong.
struct FeatureListVisitor;

impl<'de> Visitor<'de> for FeatureListVisitor {
    type Value = FeatureList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\" or a list of features")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FeatureList, E> {
        if text == "all" {
            Ok(FeatureList::All)
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<FeatureList, A::Error> {
        let features = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        if features.is_empty() {
            return Err(A::Error::invalid_length(0, &"at least one feature"));
        }
        Ok(FeatureList::Listed(features))
    }
}
