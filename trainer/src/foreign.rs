//! Coefficients that were fitted elsewhere, such as by scikit-learn, as a documented JSON file.
//!
//! ```json
//! {
//!   "model": "property-value",
//!   "link": "exp",
//!   "intercept": 12.03,
//!   "numeric": {"Gr_Liv_Area": 0.21},
//!   "categorical": {"Neighborhood": {"North_Ames": -0.02, "Gilbert": 0.01, "other": 0.0}},
//!   "standardize": {"Gr_Liv_Area": {"mean": 1499.7, "sd": 505.4}}
//! }
//! ```
//!
//! `link` is `identity`, `logit` (of the probability of the positive label) or `exp`. Features are those of the data
//! set's section, each exactly once; so are the categories: write 0 for the reference level of a fit that has one.
//! `other` is the weight of all further categories, 0 unless given. A feature in `standardize` was fitted as
//! `(x - mean) / sd`; all others as they are.
//!
//! # Invariants
//! * What is in the file and not in the data set's section, or the other way round, is an error that names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use modelcast_models::{GeneralizedLinearModel, GlmBuilder, GlmError, Link, glm::Scaled};
use modelcast_protocol::{
    Digest,
    name::ModelName,
    schema::{Categorical, FeatureKind, FeatureSchema},
};
use serde::Deserialize;
use thiserror::Error;

/// Largest file of coefficients.
const FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The key of the weight of all further categories.
const OTHER: &str = "other";

/// A model from a file of coefficients.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// The model.
    pub model: GeneralizedLinearModel,
    /// Digest of the file.
    pub digest: Digest,
}

/// Why a file of coefficients gives no model. The file has to be mended.
#[derive(Debug, Error)]
pub enum ForeignError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what the program understands.
    #[error("{}: {cause}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column where it is the syntax.
        cause: String,
    },
    /// Its numbers make no model.
    #[error("{} makes no model", path.display())]
    Model {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: GlmError,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coefficients {
    model: ModelName,
    link: Link,
    intercept: f64,
    #[serde(default)]
    numeric: BTreeMap<String, f64>,
    #[serde(default)]
    categorical: BTreeMap<String, BTreeMap<String, f64>>,
    #[serde(default)]
    standardize: BTreeMap<String, Scaling>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scaling {
    mean: f64,
    sd: f64,
}

/// Reads coefficients for `model`, by the schema of the data set that they are judged by.
///
/// # Errors
/// [`ForeignError`], naming the feature or category that does not fit.
pub fn read(path: &Path, model: &ModelName, schema: &FeatureSchema) -> Result<Foreign, ForeignError> {
    let unreadable = |source| ForeignError::Unreadable { path: path.to_owned(), source };
    let wrong = |cause: String| ForeignError::Malformed { path: path.to_owned(), cause };
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_MAX_BYTES {
        return Err(wrong(format!("is larger than {FILE_MAX_BYTES} bytes")));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let coefficients: Coefficients =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if coefficients.model != *model {
        return Err(wrong(format!("is of model {}, and the data set's is {model}", coefficients.model)));
    }
    check_names(&coefficients, schema).map_err(wrong)?;
    let builder = build(&coefficients, schema).map_err(wrong)?;
    let invalid = |source| ForeignError::Model { path: path.to_owned(), source };
    let model = builder.build().map_err(invalid)?;
    model.bind(schema).map_err(invalid)?;
    Ok(Foreign { model, digest: Digest::of(&bytes) })
}

/// Refuses what the data set does not know.
fn check_names(coefficients: &Coefficients, schema: &FeatureSchema) -> Result<(), String> {
    let kind = |name: &str| schema.feature(name).map(|(_, feature)| &feature.kind);
    let unknown = |key: &str, name: &str, wanted: &str| {
        Err(format!("{key} has {name:?}, and the data set has no {wanted} feature of that name"))
    };
    for name in coefficients.numeric.keys() {
        if !matches!(kind(name), Some(FeatureKind::Numeric(_))) {
            return unknown("numeric", name, "numeric");
        }
    }
    for name in coefficients.categorical.keys() {
        if !matches!(kind(name), Some(FeatureKind::Categorical(_))) {
            return unknown("categorical", name, "categorical");
        }
    }
    for name in coefficients.standardize.keys() {
        if !coefficients.numeric.contains_key(name) {
            return Err(format!("standardize has {name:?}, and numeric does not"));
        }
    }
    Ok(())
}

fn build(coefficients: &Coefficients, schema: &FeatureSchema) -> Result<GlmBuilder, String> {
    let mut builder = GlmBuilder::new(coefficients.link, coefficients.intercept);
    for feature in &schema.features {
        let name = &feature.name;
        builder = match &feature.kind {
            FeatureKind::Numeric(_) => {
                let weight = coefficients.numeric.get(name).copied();
                let weight = weight.ok_or_else(|| format!("numeric lacks feature {name:?}"))?;
                match coefficients.standardize.get(name) {
                    Some(&Scaling { mean, sd: deviation }) => {
                        builder.standardized(name, Scaled { weight, mean, deviation })
                    }
                    None => builder.number(name, weight),
                }
            }
            FeatureKind::Categorical(categorical) => {
                let weights = coefficients.categorical.get(name);
                let weights = weights.ok_or_else(|| format!("categorical lacks feature {name:?}"))?;
                builder.category(name, levels(name, weights, categorical)?)
            }
        };
    }
    Ok(builder)
}

/// The weights of a feature's levels in the schema's order, `other` last.
fn levels(
    name: &str,
    weights: &BTreeMap<String, f64>,
    categorical: &Categorical,
) -> Result<Vec<f64>, String> {
    let known: BTreeSet<&str> = categorical.categories.iter().map(String::as_str).collect();
    if categorical.other && known.contains(OTHER) {
        return Err(format!(
            "feature {name:?} has a category {OTHER:?} and a level for others: give it another name"
        ));
    }
    let is_level = |key: &str| known.contains(key) || (categorical.other && key == OTHER);
    if let Some(unknown) = weights.keys().find(|key| !is_level(key)) {
        return Err(format!("feature {name:?} has no category {unknown:?}"));
    }
    let weight = |category: &String| {
        let weight = weights.get(category).copied();
        weight.ok_or_else(|| format!("feature {name:?} lacks a weight for category {category:?}"))
    };
    let mut levels = categorical.categories.iter().map(weight).collect::<Result<Vec<_>, _>>()?;
    levels.extend(categorical.other.then(|| weights.get(OTHER).copied().unwrap_or(0.0)));
    Ok(levels)
}
