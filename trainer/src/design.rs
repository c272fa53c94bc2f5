//! The design matrix: encoded rows with categories as one-hot columns, and numbers centred and scaled.
//!
//! Learned from the training rows, and folded out of the weights again for the model that is published.
//!
//! # Invariants
//! * Every column has mean 0 over the training rows: linfa's ridge takes the mean of the target for the intercept,
//!   which is right only then.
//! * Each level has a column, none is a reference: a level without training rows has weight 0, the average of all.

use modelcast_models::{GeneralizedLinearModel, GlmBuilder, GlmError, Link, glm::Scaled};
use modelcast_protocol::schema::{FeatureKind, FeatureSchema};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, ShapeBuilder as _};
use thiserror::Error;

/// Most cells of a design matrix: 2 GiB.
const CELLS_MAX: usize = 256 * 1024 * 1024;

/// How rows become columns to fit on.
#[derive(Debug, Clone)]
pub struct Design {
    features: Vec<Terms>,
    width: usize,
}

/// The columns of one feature.
#[derive(Debug, Clone)]
enum Terms {
    /// One column: `(x - mean) / deviation`.
    Number { mean: f64, deviation: f64 },
    /// One column a level: `1 - share` where the row has it, else `-share`.
    Levels { shares: Vec<f64> },
}

/// A design matrix that is not possible.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DesignError {
    /// Too large for memory.
    #[error(
        "{rows} rows of {columns} columns are more than {CELLS_MAX} cells: fewer features or categories are needed"
    )]
    TooLarge {
        /// Rows to fit on.
        rows: usize,
        /// Columns that the features give.
        columns: usize,
    },
    /// There are no rows.
    #[error("there are no rows to train on")]
    NoRows,
}

impl Design {
    /// Learns means, deviations and shares from encoded training rows `[rows, features]`.
    ///
    /// # Errors
    /// [`DesignError`] when there are no rows, or the matrix of these rows would be too large.
    pub fn learn(
        rows: ArrayView2<'_, f64>,
        schema: &FeatureSchema,
        standardise: bool,
    ) -> Result<Self, DesignError> {
        if rows.nrows() == 0 {
            return Err(DesignError::NoRows);
        }
        let width = schema.features.iter().map(|feature| columns(&feature.kind)).sum();
        if rows.nrows().saturating_mul(width) > CELLS_MAX {
            return Err(DesignError::TooLarge { rows: rows.nrows(), columns: width });
        }
        let learn = |(feature, values): (&_, ArrayView1<'_, f64>)| learn_terms(feature, values, standardise);
        let kinds = schema.features.iter().map(|feature| &feature.kind);
        Ok(Self { features: kinds.zip(rows.columns()).map(learn).collect(), width })
    }

    /// Columns of the matrix.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Encoded rows `[rows, features]` as a matrix `[rows, width]`, columns contiguous: the solvers walk columns.
    #[must_use]
    pub fn matrix(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut matrix = Array2::zeros((rows.nrows(), self.width).f());
        let mut columns = matrix.axis_iter_mut(Axis(1));
        for (terms, values) in self.features.iter().zip(rows.columns()) {
            match terms {
                Terms::Number { mean, deviation } => {
                    for mut column in columns.by_ref().take(1) {
                        column.iter_mut().zip(&values).for_each(|(to, x)| *to = (x - mean) / deviation);
                    }
                }
                Terms::Levels { shares } => {
                    for ((level, share), mut column) in (0_u32..).zip(shares).zip(columns.by_ref()) {
                        let level = f64::from(level);
                        let has = |x: f64| if x == level { 1.0 } else { 0.0 };
                        column.iter_mut().zip(&values).for_each(|(to, &x)| *to = has(x) - share);
                    }
                }
            }
        }
        matrix
    }

    /// The model on values as people write them, from weights that were fitted on the matrix.
    ///
    /// # Errors
    /// [`GlmError`] when a weight is not finite.
    pub fn fold(
        &self,
        schema: &FeatureSchema,
        link: Link,
        intercept: f64,
        weights: &Array1<f64>,
    ) -> Result<GeneralizedLinearModel, GlmError> {
        let mut weights = weights.iter().copied();
        let mut next = || weights.next().unwrap_or(f64::NAN); // NaN is refused by `build`
        let mut builder = GlmBuilder::new(link, intercept);
        for (feature, terms) in schema.features.iter().zip(&self.features) {
            builder = match terms {
                &Terms::Number { mean, deviation } => {
                    builder.standardized(&feature.name, Scaled { weight: next(), mean, deviation })
                }
                Terms::Levels { shares } => {
                    let column = |&mean: &f64| Some(Scaled { weight: next(), mean, deviation: 1.0 });
                    let columns: Vec<_> = shares.iter().map(column).collect();
                    builder.standardized_category(&feature.name, columns)
                }
            };
        }
        builder.build()
    }
}

/// Columns that a feature gives.
fn columns(kind: &FeatureKind) -> usize {
    match kind {
        FeatureKind::Numeric(_) => 1,
        FeatureKind::Categorical(categorical) => {
            categorical.categories.len() + usize::from(categorical.other)
        }
    }
}

fn learn_terms(kind: &FeatureKind, values: ArrayView1<'_, f64>, standardise: bool) -> Terms {
    let mean_of =
        |term: &dyn Fn(f64) -> f64| values.iter().map(|&x| term(x)).sum::<f64>() / count(values.len());
    match kind {
        FeatureKind::Numeric(_) => {
            let mean = mean_of(&|x| x);
            // The population's deviation, as scikit-learn's StandardScaler has it; a constant column stays as it is.
            let deviation = mean_of(&|x| (x - mean).powi(2)).sqrt();
            let deviation = if standardise && deviation > 0.0 { deviation } else { 1.0 };
            Terms::Number { mean, deviation }
        }
        FeatureKind::Categorical(_) => {
            let levels = (0_u32..).take(columns(kind)).map(f64::from);
            Terms::Levels {
                shares: levels.map(|level| mean_of(&|x| f64::from(u8::from(x == level)))).collect(),
            }
        }
    }
}

/// A count of rows as a number to divide by; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "no table here has 2^53 rows")]
pub(crate) fn count(rows: usize) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::schema::{Categorical, Feature, Numeric, Output, OutputKind};
    use ndarray::array;

    use super::*;

    fn schema() -> FeatureSchema {
        let categories = vec!["a".into(), "b".into()];
        let zone = FeatureKind::Categorical(Categorical { categories, other: true, typical: None });
        let feature = |name: &str, kind| Feature { name: name.into(), title: None, kind };
        FeatureSchema {
            features: vec![feature("zone", zone), feature("x", FeatureKind::Numeric(Numeric::default()))],
            outputs: vec![Output { name: "y".into(), title: None, kind: OutputKind::Numeric { unit: None } }],
        }
    }

    #[test]
    fn columns_are_centred_and_numbers_scaled() {
        let rows = array![[0.0, 10.0], [1.0, 20.0], [0.0, 10.0], [1.0, 20.0]];
        let design = Design::learn(rows.view(), &schema(), true).unwrap();
        let matrix = design.matrix(rows.view());
        let expected = array![[0.5, -0.5, 0.0, -1.0], [-0.5, 0.5, 0.0, 1.0]];
        assert_eq!(matrix.select(Axis(0), &[0, 1]), expected);
        assert_eq!(matrix.sum_axis(Axis(0)), Array1::<f64>::zeros(4));
    }

    #[test]
    fn a_folded_model_gives_what_the_matrix_gives() {
        let rows = array![[0.0, 10.0], [1.0, 21.0], [0.0, 13.0], [2.0, 25.0]];
        let weights = array![0.3, -0.7, 0.2, 1.9];
        for standardise in [true, false] {
            let design = Design::learn(rows.view(), &schema(), standardise).unwrap();
            let folded =
                design.fold(&schema(), Link::Identity, 5.0, &weights).unwrap().bind(&schema()).unwrap();
            let sums = design.matrix(rows.view()).dot(&weights) + 5.0;
            for (row, sum) in rows.outer_iter().zip(sums) {
                let mut output = [0.0];
                modelcast_models::Model::predict(&folded, &row.to_vec(), &mut output).unwrap();
                assert!((output[0] - sum).abs() < 1e-12, "{} {sum}", output[0]);
            }
        }
    }

    #[test]
    fn no_rows_and_too_many_cells_are_refused() {
        let learn = |rows: usize| {
            let one = Array2::zeros((1, 2));
            Design::learn(one.broadcast((rows, 2)).unwrap(), &schema(), true).map(|design| design.width())
        };
        assert_eq!(learn(0), Err(DesignError::NoRows));
        assert_eq!(learn(5), Ok(4));
        assert_eq!(learn(CELLS_MAX), Err(DesignError::TooLarge { rows: CELLS_MAX, columns: 4 }));
    }
}
