//! Fits weights on a design matrix, and says whether the fit is one.
//!
//! linfa fits; this judges: linfa returns the best it has when it runs out of iterations, and does not say so.
//!
//! # Invariants
//! * Weights are for the target as the caller numbers it: 1 is the positive label, whichever label linfa calls so.
//! * A fit whose gradient norm is above the recipe's bound is an error, never a model.

mod logistic;
mod objective;
mod ridge;

use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::recipe::{Algorithm, Training};
use objective::{Loss, Objective};

/// Weights of the columns of a design matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The sum of a row whose columns are all zero.
    pub intercept: f64,
    /// One for each column.
    pub weights: Array1<f64>,
    /// How good a fit it is.
    pub quality: Quality,
}

/// How good a fit is, in the terms of its own objective per training row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The objective: mean loss plus penalty.
    pub objective: f64,
    /// Euclidean norm of its gradient, intercept included; 0 at the optimum.
    pub gradient_norm: f64,
    /// Largest by smallest eigenvalue of its Hessian; none where there are too many columns to compute it.
    pub condition: Option<f64>,
}

/// Why there is no fit.
#[derive(Debug, Error)]
pub enum FitError {
    /// The solver gave up.
    #[error("the solver gave up: {cause}; standardise = true or a larger {penalty} makes the fit easier")]
    Solver {
        /// What it said.
        cause: String,
        /// Name of the setting that eases it.
        penalty: &'static str,
    },
    /// All training rows have the same label.
    #[error("all {rows} training rows have the same label: there is nothing to learn")]
    OneLabel {
        /// How many rows.
        rows: usize,
    },
    /// The fit is not at the optimum.
    #[error(
        "the fit did not converge: its gradient norm is {found:.3e} after at most {max_iterations} iterations, and \
         gradient_norm_max is {allowed:.3e}; raise max_iterations, or make the fit easier with standardise = true \
         or a larger {penalty}"
    )]
    NotConverged {
        /// Its gradient norm per row.
        found: f64,
        /// The bound.
        allowed: f64,
        /// What the solver was allowed.
        max_iterations: u32,
        /// Name of the setting that eases it.
        penalty: &'static str,
    },
}

/// Fits a target on a design matrix whose columns have mean 0.
///
/// `target` is on the scale that is fitted: amounts, their logarithms, or 1 and 0.
///
/// # Errors
/// [`FitError`] when there is no fit, or none that may be published.
pub fn fit(matrix: &Array2<f64>, target: &Array1<f64>, training: &Training) -> Result<Fit, FitError> {
    let (penalty_name, (intercept, weights), objective) = match training.algorithm {
        Algorithm::Ridge { penalty } => {
            let fitted = ridge::fit(matrix, target, penalty, training.max_iterations)?;
            ("penalty", fitted, Objective { matrix, target, loss: Loss::HalfSquare, penalty })
        }
        Algorithm::Logistic { alpha, tolerance } => {
            let fitted = logistic::fit(matrix, target, alpha, tolerance, training.max_iterations)?;
            let penalty = alpha / crate::design::count(matrix.nrows());
            ("alpha", fitted, Objective { matrix, target, loss: Loss::Log, penalty })
        }
    };
    let quality = objective.quality(intercept, &weights);
    let (found, allowed) = (quality.gradient_norm, training.gradient_norm_max);
    if found <= allowed {
        Ok(Fit { intercept, weights, quality })
    } else {
        // also where the norm is not a number
        let max_iterations = training.max_iterations;
        Err(FitError::NotConverged { found, allowed, max_iterations, penalty: penalty_name })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn training(algorithm: Algorithm, max_iterations: u32) -> Training {
        Training { algorithm, standardise: true, max_iterations, gradient_norm_max: 1e-8 }
    }

    const LOGISTIC: Algorithm = Algorithm::Logistic { alpha: 0.5, tolerance: 1e-9 };

    #[test]
    fn ridge_finds_the_known_solution() {
        // One column x = (-1, 0, 1), y = 10 + 3x: w = (Σxy/n) / (Σx²/n + penalty) = 2 / (2/3 + 1/3) = 2.
        let matrix = array![[-1.0], [0.0], [1.0]];
        let penalty = 1.0 / 3.0;
        let fit =
            fit(&matrix, &array![7.0, 10.0, 13.0], &training(Algorithm::Ridge { penalty }, 100)).unwrap();
        assert!((fit.intercept - 10.0).abs() < 1e-12 && (fit.weights[0] - 2.0).abs() < 1e-12, "{fit:?}");
        assert!(fit.quality.gradient_norm < 1e-12);
        assert!((fit.quality.condition.unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_flipped_majority_does_not_flip_the_meaning() {
        // linfa 0.8.1 calls the larger class positive: in the first target that is 0, in the second 1.
        let matrix = array![[-2.0], [-1.0], [0.0], [1.0], [2.0]];
        for target in [array![0.0, 0.0, 0.0, 1.0, 1.0], array![0.0, 0.0, 1.0, 1.0, 1.0]] {
            let fit = fit(&matrix, &target, &training(LOGISTIC, 1000)).unwrap();
            assert!(fit.weights[0] > 0.5, "larger x must mean label 1: {fit:?}");
            let reversed = target.mapv(|label| 1.0 - label);
            let mirrored = self::fit(&matrix, &reversed, &training(LOGISTIC, 1000)).unwrap();
            assert!((fit.weights[0] + mirrored.weights[0]).abs() < 1e-7);
            assert!((fit.intercept + mirrored.intercept).abs() < 1e-7);
        }
    }

    #[test]
    fn a_tie_of_labels_does_not_flip_the_meaning_either() {
        let matrix = array![[2.0], [1.0], [-1.0], [-2.0]];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
            let rows = Array2::from_shape_fn((4, 1), |(row, _)| matrix[[order[row], 0]]);
            let target = Array1::from_shape_fn(4, |row| if rows[[row, 0]] > 0.0 { 1.0 } else { 0.0 });
            assert!(fit(&rows, &target, &training(LOGISTIC, 1000)).unwrap().weights[0] > 0.0);
        }
    }

    #[test]
    fn a_fit_that_did_not_converge_is_refused_and_says_how_to_mend_it() {
        let matrix = array![[-2.0, -1.9], [-1.0, -1.2], [0.0, 0.3], [1.0, 0.7], [2.0, 2.1]];
        let labels = array![0.0, 1.0, 0.0, 1.0, 1.0];
        for algorithm in [Algorithm::Ridge { penalty: 1e-3 }, LOGISTIC] {
            let error = fit(&matrix, &labels, &training(algorithm, 1)).unwrap_err().to_string();
            for word in ["did not converge", "gradient norm", "max_iterations", "standardise"] {
                assert!(error.contains(word), "{error:?} lacks {word:?}");
            }
        }
    }

    #[test]
    fn a_single_label_is_refused() {
        let error = fit(&array![[-1.0], [1.0]], &array![1.0, 1.0], &training(LOGISTIC, 10)).unwrap_err();
        assert!(matches!(error, FitError::OneLabel { rows: 2 }), "{error}");
    }
}
