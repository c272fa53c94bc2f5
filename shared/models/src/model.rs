//! What every model can do: turn encoded rows into predictions.
//!
//! Does not check names and types of values (see `row`) and does not read artifacts (see `decoder`).
//!
//! # Invariants
//! * A prediction that is handed out is finite.
//! * A batch gives each row the bits that [`Model::predict`] gives it.

use ndarray::{ArrayView2, ArrayViewMut2};
use thiserror::Error;

/// A model that is ready to predict: shared between threads, read only.
pub trait Model: Send + Sync + 'static {
    /// Values in a row: one for each feature, in the schema's order.
    fn width(&self) -> usize;

    /// Values in a prediction: one for each output, in the schema's order.
    fn outputs(&self) -> usize;

    /// Predicts one row of [`width`](Self::width) values into [`outputs`](Self::outputs) values.
    ///
    /// Allocates nothing unless it fails. The outputs are unspecified after an error.
    ///
    /// # Errors
    /// [`PredictError`] for a row or an output of another length, a value that is no category's index, and a
    /// prediction that is not finite. Never panics.
    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError>;

    /// Predicts `[n, width]` rows into `[n, outputs]` values, bit for bit as [`predict`](Self::predict) does.
    ///
    /// Views of any memory layout are taken; those whose rows are not contiguous cost one copy of each row.
    ///
    /// # Errors
    /// [`PredictError::BatchRows`] when the two differ in rows, else [`PredictError::InRow`] for the first row that
    /// fails; rows before it are predicted.
    fn predict_batch(
        &self,
        rows: ArrayView2<'_, f64>,
        mut outputs: ArrayViewMut2<'_, f64>,
    ) -> Result<(), PredictError> {
        if rows.nrows() != outputs.nrows() {
            return Err(PredictError::BatchRows { rows: rows.nrows(), outputs: outputs.nrows() });
        }
        let (mut row_copy, mut output_copy) = (Vec::new(), Vec::new());
        for (index, (row, mut output)) in rows.outer_iter().zip(outputs.outer_iter_mut()).enumerate() {
            let row = if let Some(row) = row.to_slice() {
                row
            } else {
                row_copy.clear();
                row_copy.extend(row.iter().copied());
                &row_copy
            };
            let done = if let Some(output) = output.as_slice_mut() {
                self.predict(row, output)
            } else {
                output_copy.clear();
                output_copy.resize(output.len(), 0.0);
                let done = self.predict(row, &mut output_copy);
                output.iter_mut().zip(&output_copy).for_each(|(to, from)| *to = *from);
                done
            };
            done.map_err(|source| PredictError::InRow { row: index, source: Box::new(source) })?;
        }
        Ok(())
    }
}

/// Why there is no prediction. Trying again with the same values fails again.
#[derive(Debug, Error)]
pub enum PredictError {
    /// The row is not as wide as the model.
    #[error("a row of {found} values for a model of {expected} features")]
    RowWidth {
        /// Values in the row.
        found: usize,
        /// Features of the model.
        expected: usize,
    },
    /// The place for the prediction is not as wide as the model's outputs.
    #[error("room for {found} outputs where the model gives {expected}")]
    OutputWidth {
        /// Values that there is room for.
        found: usize,
        /// Outputs of the model.
        expected: usize,
    },
    /// Rows and outputs of a batch differ in number.
    #[error("{rows} rows with room for the predictions of {outputs}")]
    BatchRows {
        /// Rows given.
        rows: usize,
        /// Rows that there is room for.
        outputs: usize,
    },
    /// A categorical feature's value is not the index of one of its levels.
    #[error("feature {feature} has {levels} levels, and {value} is the index of none")]
    Category {
        /// Index of the feature.
        feature: usize,
        /// The value found.
        value: f64,
        /// How many levels the feature has.
        levels: usize,
    },
    /// A value is not finite.
    #[error("feature {feature} is {value}, which is not finite")]
    NotFinite {
        /// Index of the feature.
        feature: usize,
        /// The value found.
        value: f64,
    },
    /// The values are finite, and the prediction is beyond what a number can hold.
    #[error("output {output} is too large to be a number")]
    Overflow {
        /// Index of the output.
        output: usize,
    },
    /// A row of a batch failed.
    #[error("row {row} cannot be predicted")]
    InRow {
        /// Index of the row.
        row: usize,
        /// What is wrong with it.
        source: Box<PredictError>,
    },
    /// A model of the application's own failed in its own way.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ShapeBuilder, array};

    use super::*;

    /// Gives the sum and the difference of two values; refuses negative ones.
    struct SumAndDifference;

    impl Model for SumAndDifference {
        fn width(&self) -> usize {
            2
        }
        fn outputs(&self) -> usize {
            2
        }
        fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
            let &[left, right] = row else {
                return Err(PredictError::RowWidth { found: row.len(), expected: 2 });
            };
            let [sum, difference] = outputs else {
                return Err(PredictError::OutputWidth { found: outputs.len(), expected: 2 });
            };
            if left < 0.0 {
                return Err(PredictError::NotFinite { feature: 0, value: left });
            }
            (*sum, *difference) = (left + right, left - right);
            Ok(())
        }
    }

    #[test]
    fn a_batch_of_any_layout_is_predicted() {
        let rows = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        let expected = array![[3.0, -1.0], [7.0, -1.0], [11.0, -1.0]];
        let mut plain = Array2::zeros((3, 2));
        SumAndDifference.predict_batch(rows.view(), plain.view_mut()).unwrap();
        assert_eq!(plain, expected);

        let by_column = rows.t().as_standard_layout().into_owned();
        let mut outputs_by_column = Array2::zeros((3, 2).f());
        SumAndDifference.predict_batch(by_column.t(), outputs_by_column.view_mut()).unwrap();
        assert!(!outputs_by_column.is_standard_layout());
        assert_eq!(outputs_by_column, expected);
    }

    #[test]
    fn a_failing_batch_names_the_row() {
        let rows = array![[1.0, 2.0], [-3.0, 4.0]];
        let mut outputs = Array2::zeros((2, 2));
        let error = SumAndDifference.predict_batch(rows.view(), outputs.view_mut()).unwrap_err();
        assert!(matches!(error, PredictError::InRow { row: 1, .. }), "{error:?}");
        let mut short = Array2::zeros((1, 2));
        let error = SumAndDifference.predict_batch(rows.view(), short.view_mut()).unwrap_err();
        assert!(matches!(error, PredictError::BatchRows { rows: 2, outputs: 1 }), "{error:?}");
        let mut narrow = Array2::zeros((2, 1));
        let error = SumAndDifference.predict_batch(rows.view(), narrow.view_mut()).unwrap_err();
        assert!(matches!(error, PredictError::InRow { row: 0, .. }), "{error:?}");
    }
}
