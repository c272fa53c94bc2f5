//! Builds a generalised linear model from a fit on scaled columns.
//!
//! A fit on `(x - mean) / deviation` has weights for that; the model has weights for `x`:
//! `w' = w / deviation`, and the intercept takes `- w * mean / deviation` for each column.
//!
//! # Invariants
//! * The intercept is summed with compensation, so that folding many columns costs no accuracy.

use super::{GeneralizedLinearModel, GlmError, Link};

/// A weight that was fitted on a scaled column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaled {
    /// Weight of the scaled column.
    pub weight: f64,
    /// What was subtracted from the column, in its unit.
    pub mean: f64,
    /// What it was then divided by, in its unit.
    pub deviation: f64,
}

/// Builds a [`GeneralizedLinearModel`], folding scaled columns into it.
///
/// # Example
/// ```
/// use modelcast_models::{GlmBuilder, Link, glm::Scaled};
///
/// let area = Scaled { weight: 30_000.0, mean: 100.0, deviation: 20.0 };
/// let model = GlmBuilder::new(Link::Identity, 180_000.0)
///     .standardized("area", area)
///     .category("zone", vec![20_000.0, -5_000.0])
///     .build()?;
/// assert_eq!(model.numeric, [("area".to_owned(), 1_500.0)]);
/// assert_eq!(model.intercept, 30_000.0);
/// # Ok::<(), modelcast_models::GlmError>(())
/// ```
#[derive(Debug, Clone)]
pub struct GlmBuilder {
    link: Link,
    intercept: Compensated,
    numeric: Vec<(String, f64)>,
    categorical: Vec<(String, Vec<f64>)>,
    failed: Option<GlmError>,
}

impl GlmBuilder {
    /// Starts from the fit's intercept.
    #[must_use]
    pub fn new(link: Link, intercept: f64) -> Self {
        let intercept = Compensated { sum: intercept, lost: 0.0 };
        Self { link, intercept, numeric: Vec::new(), categorical: Vec::new(), failed: None }
    }

    /// Adds a numeric feature that was fitted as it is.
    #[must_use]
    pub fn number(mut self, feature: impl Into<String>, weight: f64) -> Self {
        self.numeric.push((feature.into(), weight));
        self
    }

    /// Adds a numeric feature that was fitted scaled.
    #[must_use]
    pub fn standardized(mut self, feature: impl Into<String>, column: Scaled) -> Self {
        let feature = feature.into();
        let weight = self.fold(&feature, column);
        self.numeric.push((feature, weight));
        self
    }

    /// Adds a categorical feature: the weight of each level's one-hot column, in the schema's order, `other` last;
    /// zero for a level without a column, such as the reference level.
    #[must_use]
    pub fn category(mut self, feature: impl Into<String>, weights: Vec<f64>) -> Self {
        self.categorical.push((feature.into(), weights));
        self
    }

    /// Adds a categorical feature whose one-hot columns were scaled too; none for a level without a column.
    #[must_use]
    pub fn standardized_category(
        mut self,
        feature: impl Into<String>,
        columns: impl IntoIterator<Item = Option<Scaled>>,
    ) -> Self {
        let feature = feature.into();
        let folded =
            columns.into_iter().map(|column| column.map_or(0.0, |column| self.fold(&feature, column)));
        let weights = folded.collect();
        self.categorical.push((feature, weights));
        self
    }

    /// The model.
    ///
    /// # Errors
    /// [`GlmError::Deviation`] for a column whose deviation is no positive number; [`GlmError::Intercept`] and
    /// [`GlmError::NotFinite`] for what came out infinite or not a number.
    pub fn build(self) -> Result<GeneralizedLinearModel, GlmError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let model = GeneralizedLinearModel {
            link: self.link,
            intercept: self.intercept.total(),
            numeric: self.numeric,
            categorical: self.categorical,
        };
        model.check_finite()?;
        Ok(model)
    }

    /// Moves a column's mean into the intercept and returns the weight of the column as it is.
    fn fold(&mut self, feature: &str, column: Scaled) -> f64 {
        let Scaled { weight, mean, deviation } = column;
        if !(deviation.is_finite() && deviation > 0.0) {
            let error = GlmError::Deviation { feature: feature.to_owned(), deviation };
            self.failed.get_or_insert(error);
        }
        let folded = weight / deviation;
        self.intercept.add(-folded * mean);
        folded
    }
}

impl GeneralizedLinearModel {
    /// A model from a fit on standardised numeric columns and one-hot columns as they are; see [`GlmBuilder`].
    ///
    /// # Errors
    /// As [`GlmBuilder::build`].
    pub fn from_standardized(
        link: Link,
        intercept: f64,
        numeric: impl IntoIterator<Item = (String, Scaled)>,
        categorical: impl IntoIterator<Item = (String, Vec<f64>)>,
    ) -> Result<Self, GlmError> {
        let start = GlmBuilder::new(link, intercept);
        let with_numbers = numeric
            .into_iter()
            .fold(start, |builder, (feature, column)| builder.standardized(feature, column));
        categorical
            .into_iter()
            .fold(with_numbers, |builder, (feature, weights)| builder.category(feature, weights))
            .build()
    }
}

/// A sum that keeps what rounding loses (Neumaier 1974).
#[derive(Debug, Clone, Copy)]
struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let (large, small) =
            if self.sum.abs() >= value.abs() { (self.sum, value) } else { (value, self.sum) };
        self.lost += (large - sum) + small;
        self.sum = sum;
    }

    fn total(self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compensated_sum_keeps_small_values_beside_large_ones() {
        let mut sum = Compensated { sum: 1.0, lost: 0.0 };
        [1e100, 1.0, -1e100].into_iter().for_each(|value| sum.add(value));
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn a_column_without_deviation_is_refused_by_name() {
        for deviation in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let column = Scaled { weight: 1.0, mean: 0.0, deviation };
            let plain = GlmBuilder::new(Link::Identity, 0.0).standardized("area", column).build();
            let levels = GlmBuilder::new(Link::Identity, 0.0)
                .standardized_category("area", [None, Some(column)])
                .build();
            for error in [plain.unwrap_err(), levels.unwrap_err()] {
                assert!(
                    matches!(&error, GlmError::Deviation { feature, .. } if feature == "area"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_fit_that_is_not_finite_is_refused_by_name() {
        let error = GlmBuilder::new(Link::Exp, f64::NAN).build().unwrap_err();
        assert_eq!(error, GlmError::Intercept);
        let error = GlmBuilder::new(Link::Exp, 0.0).number("area", f64::INFINITY).build().unwrap_err();
        assert_eq!(error, GlmError::NotFinite { feature: "area".into() });
    }
}
