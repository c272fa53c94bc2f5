//! A generalised linear model bound to a schema: what predicts.
//!
//! # Invariants
//! * `weights` is as wide as a row and holds zero at the places of categorical features, whose finite indexes then
//!   add nothing to the product.
//! * Predicting allocates nothing unless it fails.

use std::collections::HashMap;

use modelcast_protocol::schema::{FeatureKind, FeatureSchema, OutputKind};
use ndarray::{Array1, ArrayView1};

use super::{GeneralizedLinearModel, GlmError, Link};
use crate::{
    model::{Model, PredictError},
    nearest::start,
};

/// A generalised linear model that is ready to predict; made by [`GeneralizedLinearModel::bind`].
#[derive(Debug, Clone)]
pub struct BoundGlm {
    link: Link,
    intercept: f64,
    weights: Array1<f64>,
    tables: Vec<Table>,
}

/// The weights of one categorical feature.
#[derive(Debug, Clone)]
struct Table {
    feature: usize,
    weights: Box<[f64]>,
}

#[derive(Clone, Copy)]
enum Term<'a> {
    Number(f64),
    Levels(&'a [f64]),
}

impl GeneralizedLinearModel {
    /// Binds the weights to the places of a row and checks that they fit.
    ///
    /// # Errors
    /// [`GlmError`], each variant but `Codec` and `Deviation`: for the first thing that does not fit.
    pub fn bind(&self, schema: &FeatureSchema) -> Result<BoundGlm, GlmError> {
        check_output(self.link, schema)?;
        self.check_finite()?;
        let mut terms = self.terms()?;
        let mut weights = Array1::zeros(schema.features.len());
        let mut tables = Vec::new();
        for (index, (feature, place)) in schema.features.iter().zip(&mut weights).enumerate() {
            let term = terms
                .remove(feature.name.as_str())
                .ok_or_else(|| GlmError::MissingFeature { feature: feature.name.clone() })?;
            match (&feature.kind, term) {
                (FeatureKind::Numeric(_), Term::Number(weight)) => *place = weight,
                (FeatureKind::Categorical(categorical), Term::Levels(levels)) => {
                    let expected = categorical.categories.len() + usize::from(categorical.other);
                    if levels.len() != expected {
                        let feature = feature.name.clone();
                        return Err(GlmError::WeightCount { feature, found: levels.len(), expected });
                    }
                    tables.push(Table { feature: index, weights: levels.into() });
                }
                (kind, term) => {
                    let numeric = matches!(kind, FeatureKind::Numeric(_));
                    return Err(GlmError::FeatureKind {
                        feature: feature.name.clone(),
                        expected: if numeric { "numeric" } else { "categorical" },
                        found: term.noun(),
                    });
                }
            }
        }
        match terms.into_keys().min() {
            Some(unknown) => Err(GlmError::UnknownFeature { feature: start(unknown) }),
            None => Ok(BoundGlm { link: self.link, intercept: self.intercept, weights, tables }),
        }
    }

    /// Refuses what no row can make finite.
    pub(super) fn check_finite(&self) -> Result<(), GlmError> {
        if !self.intercept.is_finite() {
            return Err(GlmError::Intercept);
        }
        let numeric = self.numeric.iter().map(|(name, weight)| (name, std::slice::from_ref(weight)));
        let levels = self.categorical.iter().map(|(name, weights)| (name, weights.as_slice()));
        match numeric.chain(levels).find(|(_, weights)| !weights.iter().all(|weight| weight.is_finite())) {
            Some((name, _)) => Err(GlmError::NotFinite { feature: start(name) }),
            None => Ok(()),
        }
    }

    /// The terms by feature name; refuses a feature that stands there twice.
    fn terms(&self) -> Result<HashMap<&str, Term<'_>>, GlmError> {
        let numeric = self.numeric.iter().map(|(name, weight)| (name.as_str(), Term::Number(*weight)));
        let levels = self.categorical.iter().map(|(name, weights)| (name.as_str(), Term::Levels(weights)));
        let mut terms = HashMap::with_capacity(self.numeric.len() + self.categorical.len());
        for (name, term) in numeric.chain(levels) {
            if terms.insert(name, term).is_some() {
                return Err(GlmError::DuplicateFeature { feature: start(name) });
            }
        }
        Ok(terms)
    }
}

impl Model for BoundGlm {
    fn width(&self) -> usize {
        self.weights.len()
    }

    fn outputs(&self) -> usize {
        1
    }

    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        if row.len() != self.width() {
            return Err(PredictError::RowWidth { found: row.len(), expected: self.width() });
        }
        let [output] = outputs else {
            return Err(PredictError::OutputWidth { found: outputs.len(), expected: 1 });
        };
        // ndarray's 1-D product sums in eight lanes: faster than one by one, and the same bits on every path.
        let mut sum = self.intercept + ArrayView1::from(row).dot(&self.weights);
        for table in &self.tables {
            sum += table.weight(row)?;
        }
        let mean = self.link.mean(sum);
        // An infinite sum can have a finite probability, so both count.
        if !sum.is_finite() || !mean.is_finite() {
            return Err(not_finite(row));
        }
        *output = mean;
        Ok(())
    }
}

impl Table {
    fn weight(&self, row: &[f64]) -> Result<f64, PredictError> {
        let value = row.get(self.feature).copied().unwrap_or(f64::NAN);
        whole(value).and_then(|index| self.weights.get(index)).copied().ok_or(PredictError::Category {
            feature: self.feature,
            value,
            levels: self.weights.len(),
        })
    }
}

impl Term<'_> {
    fn noun(self) -> &'static str {
        match self {
            Self::Number(_) => "numeric",
            Self::Levels(_) => "categorical",
        }
    }
}

fn check_output(link: Link, schema: &FeatureSchema) -> Result<(), GlmError> {
    let [output] = schema.outputs.as_slice() else {
        return Err(GlmError::OutputCount { found: schema.outputs.len() });
    };
    if link.gives(&output.kind) {
        return Ok(());
    }
    let (amount, probability) = ("an amount", "a probability");
    let (expected, found) = match output.kind {
        OutputKind::Numeric { .. } => (probability, amount),
        OutputKind::Probability { .. } => (amount, probability),
    };
    Err(GlmError::OutputKind { output: output.name.clone(), link, expected, found })
}

/// The index that a value is, if it is a whole number that can be one.
fn whole(value: f64) -> Option<usize> {
    let possible = (0.0..f64::from(u32::MAX)).contains(&value) && value.fract() == 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and below 2^32")]
    possible.then_some(value as usize)
}

fn not_finite(row: &[f64]) -> PredictError {
    match row.iter().copied().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((feature, value)) => PredictError::NotFinite { feature, value },
        None => PredictError::Overflow { output: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_within_bounds_are_indexes() {
        assert_eq!(whole(0.0), Some(0));
        assert_eq!(whole(-0.0), Some(0));
        assert_eq!(whole(4095.0), Some(4095));
        for value in [-1.0, 0.5, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(whole(value), None, "{value}");
        }
    }
}
