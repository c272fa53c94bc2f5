//! The objective that a fit should minimise, with gradient and Hessian of our own: what a fit is judged by.
//!
//! Per row, so that bounds mean the same for small and large data: mean loss plus penalty times half the squared
//! weights, the intercept not penalised. Formulas: Hastie, Tibshirani, Friedman, The Elements of Statistical
//! Learning, 2nd edition, 3.4.1 (ridge) and 4.4.1 (logistic).

use linfa_linalg::eigh::EigValshInto as _;
use ndarray::{Array1, Array2, Axis};

use super::Quality;
use crate::design::count;

/// Most columns for which the condition is computed: it costs their cube.
const CONDITION_COLUMNS_MAX: usize = 512;

/// What a fit should minimise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Objective<'a> {
    pub(super) matrix: &'a Array2<f64>,
    pub(super) target: &'a Array1<f64>,
    pub(super) loss: Loss,
    /// Weight of half the squared weights against the mean loss.
    pub(super) penalty: f64,
}

/// The loss of one row, for sum `s` and target `y`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loss {
    /// `(s - y)² / 2`.
    HalfSquare,
    /// `ln(1 + exp(s)) - y s`.
    Log,
}

impl Objective<'_> {
    /// Value, gradient norm and condition at the given weights.
    pub(super) fn quality(&self, intercept: f64, weights: &Array1<f64>) -> Quality {
        let rows = count(self.matrix.nrows());
        let sums = self.matrix.dot(weights) + intercept;
        let losses = sums.iter().zip(self.target).map(|(&sum, &target)| self.loss.value(sum, target));
        let objective = losses.sum::<f64>() / rows + self.penalty / 2.0 * weights.dot(weights);
        let slopes: Array1<f64> =
            sums.iter().zip(self.target).map(|(&sum, &target)| self.loss.slope(sum, target)).collect();
        let gradient = self.matrix.t().dot(&slopes) / rows + weights * self.penalty;
        let along_intercept = slopes.sum() / rows;
        let gradient_norm = (gradient.dot(&gradient) + along_intercept.powi(2)).sqrt();
        Quality { objective, gradient_norm, condition: self.condition(&sums) }
    }

    /// Largest by smallest eigenvalue of the Hessian.
    fn condition(&self, sums: &Array1<f64>) -> Option<f64> {
        let curvatures = sums.mapv(|sum| self.loss.curvature(sum));
        if self.matrix.ncols() > CONDITION_COLUMNS_MAX || !curvatures.iter().all(|value| value.is_finite()) {
            return None;
        }
        let ones = Array2::ones((self.matrix.nrows(), 1));
        let with_intercept = ndarray::concatenate(Axis(1), &[ones.view(), self.matrix.view()]).ok()?;
        let weighted = &with_intercept * &curvatures.insert_axis(Axis(1));
        let mut hessian = with_intercept.t().dot(&weighted) / count(self.matrix.nrows());
        hessian.diag_mut().iter_mut().skip(1).for_each(|value| *value += self.penalty);
        let eigenvalues = hessian.eigvalsh_into().ok()?;
        let largest = eigenvalues.iter().copied().fold(f64::MIN, f64::max);
        let smallest = eigenvalues.iter().copied().fold(f64::MAX, f64::min);
        (smallest > 0.0).then_some(largest / smallest)
    }
}

impl Loss {
    fn value(self, sum: f64, target: f64) -> f64 {
        match self {
            Self::HalfSquare => (sum - target).powi(2) / 2.0,
            // ln(1 + exp(s)) without overflow
            Self::Log => sum.max(0.0) + (-sum.abs()).exp().ln_1p() - target * sum,
        }
    }

    fn slope(self, sum: f64, target: f64) -> f64 {
        match self {
            Self::HalfSquare => sum - target,
            Self::Log => sigmoid(sum) - target,
        }
    }

    fn curvature(self, sum: f64) -> f64 {
        match self {
            Self::HalfSquare => 1.0,
            Self::Log => sigmoid(sum) * sigmoid(-sum),
        }
    }
}

fn sigmoid(sum: f64) -> f64 {
    1.0 / (1.0 + (-sum).exp())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// The gradient by differences of the objective.
    fn gradient_norm_by_differences(objective: &Objective<'_>, intercept: f64, weights: &Array1<f64>) -> f64 {
        let step = 1e-6;
        let value = |intercept, weights: &Array1<f64>| objective.quality(intercept, weights).objective;
        let mut sum =
            ((value(intercept + step, weights) - value(intercept - step, weights)) / 2.0 / step).powi(2);
        for place in 0..weights.len() {
            let (mut up, mut down) = (weights.clone(), weights.clone());
            up[place] += step;
            down[place] -= step;
            sum += ((value(intercept, &up) - value(intercept, &down)) / 2.0 / step).powi(2);
        }
        sum.sqrt()
    }

    #[test]
    fn the_gradient_is_that_of_the_objective() {
        let matrix = array![[1.0, 2.0], [-0.5, 0.3], [0.2, -1.0], [-0.7, -1.3]];
        let target = array![1.0, 0.0, 0.0, 1.0];
        for loss in [Loss::HalfSquare, Loss::Log] {
            let objective = Objective { matrix: &matrix, target: &target, loss, penalty: 0.3 };
            let weights = array![0.4, -0.9];
            let found = objective.quality(0.2, &weights).gradient_norm;
            let expected = gradient_norm_by_differences(&objective, 0.2, &weights);
            assert!((found - expected).abs() < 1e-8, "{loss:?}: {found} {expected}");
        }
    }
}
