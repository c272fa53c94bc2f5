//! Ridge regression by linfa's coordinate descent.
//!
//! # Invariants
//! * The columns have mean 0: linfa takes the mean of the target for the intercept.

use linfa::{DatasetBase, traits::Fit as _};
use linfa_elasticnet::ElasticNet;
use ndarray::{Array1, Array2};

use super::FitError;

/// Intercept and weights that minimise half the mean squared error plus `penalty` times half the squared weights.
pub(super) fn fit(
    matrix: &Array2<f64>,
    target: &Array1<f64>,
    penalty: f64,
    max_sweeps: u32,
) -> Result<(f64, Array1<f64>), FitError> {
    // With l1_ratio 0 linfa's duality gap never falls below a bound, so it makes all sweeps whatever the tolerance;
    // 0 spares computing the gap after each.
    let params =
        ElasticNet::params().penalty(penalty).l1_ratio(0.0).tolerance(0.0).max_iterations(max_sweeps);
    let fitted = params
        .fit(&DatasetBase::new(matrix.view(), target.view()))
        .map_err(|error| FitError::Solver { cause: error.to_string(), penalty: "penalty" })?;
    Ok((fitted.intercept(), fitted.hyperplane().to_owned()))
}
