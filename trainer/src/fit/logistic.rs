//! Logistic regression by linfa's L-BFGS.
//!
//! # Invariants
//! * The weights are for label 1. linfa 0.8.1 calls the majority class positive, and the next release the other way
//!   round (its issue 393): what `labels()` says is followed, never assumed.

use linfa::{DatasetBase, traits::Fit as _};
use linfa_logistic::{LogisticRegression, error::Error};
use ndarray::{Array1, Array2};

use super::FitError;

/// Intercept and weights that minimise the sum of the log losses plus `alpha` times half the squared weights.
pub(super) fn fit(
    matrix: &Array2<f64>,
    target: &Array1<f64>,
    alpha: f64,
    tolerance: f64,
    max_iterations: u32,
) -> Result<(f64, Array1<f64>), FitError> {
    let labels = target.mapv(|label| label > 0.5);
    let params = LogisticRegression::default()
        .alpha(alpha)
        .gradient_tolerance(tolerance)
        .max_iterations(u64::from(max_iterations));
    let fitted = params.fit(&DatasetBase::new(matrix.view(), labels)).map_err(|error| match error {
        Error::TooFewClasses => FitError::OneLabel { rows: target.len() },
        error => FitError::Solver { cause: error.to_string(), penalty: "alpha" },
    })?;
    let (intercept, weights) = (fitted.intercept(), fitted.params());
    if fitted.labels().pos.class { Ok((intercept, weights.to_owned())) } else { Ok((-intercept, -weights)) }
}
