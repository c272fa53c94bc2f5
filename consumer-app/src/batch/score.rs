//! Predictions of a chunk's rows, all of them by one version.
//!
//! # Invariants
//! * A row that the model cannot predict is a failure with its cause; the rows around it are predicted.
//! * Each row gets the bits that a request of it gets: the same encoder, the same `predict_batch`.

use std::error::Error as _;

use modelcast::LoadedModel;
use modelcast_models::PredictError;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::chunk::Chunk;

/// Predicts the rows of `chunk`, and takes out those that cannot be predicted.
///
/// # Errors
/// [`PredictError`] when the model takes no rows like these at all.
pub fn score(model: &LoadedModel, chunk: &mut Chunk) -> Result<(), PredictError> {
    let (width, outputs) = (model.encoder().width(), model.schema().outputs.len());
    let count = chunk.len();
    chunk.predictions.clear();
    chunk.predictions.resize(count.saturating_mul(outputs), 0.0);
    let mut failed = Vec::new();
    let mut from = 0;
    while from < count {
        let shape = |found, expected| PredictError::RowWidth { found, expected };
        let values = chunk.values.get(from * width..).unwrap_or_default();
        let rows = ArrayView2::from_shape((count - from, width), values)
            .map_err(|_| shape(values.len(), (count - from) * width))?;
        let predictions = chunk.predictions.get_mut(from * outputs..).unwrap_or_default();
        let to = ArrayViewMut2::from_shape((count - from, outputs), predictions)
            .map_err(|_| shape(outputs, count - from))?;
        match model.predict_batch(rows, to) {
            Ok(()) => break,
            Err(PredictError::InRow { row, source }) => {
                let place = from + row;
                let number = chunk.numbers.get(place).copied().unwrap_or_default();
                let key = chunk.keys.get(place).to_owned();
                chunk.fail(number, &key, &cause(&source));
                failed.push(place);
                from = place + 1;
            }
            Err(other) => return Err(other),
        }
    }
    if !failed.is_empty() {
        chunk.take_out(&failed, width, outputs);
        chunk.failures.sort_by_key(|failure| failure.row);
    }
    Ok(())
}

fn cause(error: &PredictError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
