//! The last test of a model before it serves: its golden rows, computed anew.
//!
//! The trainer runs it on the encoded bytes before it publishes, each subscriber before it swaps. Does not decide
//! what follows from a mismatch.
//!
//! # Invariants
//! * Each row is computed alone and in a batch, and both count.

use modelcast_protocol::golden::GoldenRows;
use ndarray::Array2;
use thiserror::Error;

use crate::{
    model::{Model, PredictError},
    row::{RowEncoder, RowError},
};

/// How a model disagrees with its golden rows. The model is to be rejected.
#[derive(Debug, Error)]
pub enum GoldenMismatch {
    /// The model and the schema differ in features or outputs, or an output column has another length.
    #[error("the model gives {outputs} outputs for {width} features, and its golden rows do not fit that")]
    Shape {
        /// Features of the model.
        width: usize,
        /// Outputs of the model.
        outputs: usize,
    },
    /// The inputs are no rows of the schema.
    #[error("the golden rows do not fit the schema")]
    Inputs(#[from] RowError),
    /// The model cannot predict a row.
    #[error("golden row {row} cannot be predicted")]
    Predict {
        /// Index of the row.
        row: usize,
        /// Why.
        source: PredictError,
    },
    /// The model cannot predict the rows as a batch.
    #[error("the golden rows cannot be predicted as a batch")]
    PredictBatch(#[source] PredictError),
    /// A value is outside the tolerance.
    #[error("golden row {row}: {output} is expected to be {expected} and is {computed}")]
    Value {
        /// Index of the row.
        row: usize,
        /// Name of the output.
        output: String,
        /// What the trainer computed.
        expected: f64,
        /// What the model computes here.
        computed: f64,
    },
    /// The model gives a row another value in a batch than alone.
    #[error("golden row {row}: {output} is {single} alone and {batch} in a batch")]
    Batch {
        /// Index of the row.
        row: usize,
        /// Name of the output.
        output: String,
        /// The value of the row alone.
        single: f64,
        /// The value of the row in a batch.
        batch: f64,
    },
}

/// Computes golden rows anew, each alone and all as a batch, and compares them with what the trainer computed.
///
/// # Errors
/// [`GoldenMismatch`] for the first row and output that disagrees.
pub fn recompute(model: &dyn Model, encoder: &RowEncoder, golden: &GoldenRows) -> Result<(), GoldenMismatch> {
    let rows = encoder.encode_golden(golden)?;
    let outputs = &encoder.schema().outputs;
    let fits = model.width() == encoder.width()
        && model.outputs() == outputs.len()
        && golden.outputs.len() == outputs.len()
        && golden.outputs.iter().all(|column| column.len() == rows.nrows());
    if !fits {
        return Err(GoldenMismatch::Shape { width: model.width(), outputs: model.outputs() });
    }
    let mut batch = Array2::from_elem((rows.nrows(), outputs.len()), f64::NAN);
    model.predict_batch(rows.view(), batch.view_mut()).map_err(GoldenMismatch::PredictBatch)?;
    for (row, (values, in_batch)) in rows.outer_iter().zip(batch.outer_iter()).enumerate() {
        let mut computed = vec![f64::NAN; outputs.len()]; // a model that writes nothing agrees with nothing
        let alone = model.predict(&values.to_vec(), &mut computed);
        alone.map_err(|source| GoldenMismatch::Predict { row, source })?;
        let expected = golden.outputs.iter().map(|column| column.get(row).copied());
        for (((output, expected), single), &batch) in outputs.iter().zip(expected).zip(computed).zip(in_batch)
        {
            let expected = expected.unwrap_or(f64::NAN);
            let output = || output.name.clone();
            if !golden.agrees(expected, single) {
                return Err(GoldenMismatch::Value { row, output: output(), expected, computed: single });
            }
            if single.to_bits() != batch.to_bits() {
                return Err(GoldenMismatch::Batch { row, output: output(), single, batch });
            }
        }
    }
    Ok(())
}
