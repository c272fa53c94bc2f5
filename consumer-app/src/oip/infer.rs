//! One inference, from the bytes of a request to the bytes of its answer, on one snapshot.
//!
//! Blocks for as long as it takes: `handlers` decides on which thread it runs.

use std::time::Instant;

use modelcast::LoadedModel;
use modelcast_models::PredictError;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::{
    answer::{Answer, wanted},
    request::InferRequest,
    rows::{self, Rows},
};
use crate::{refusal::Refusal, served::ServedModel};

/// Answers a request with one model from start to end, and counts it.
///
/// # Errors
/// [`Refusal`] for what the request asks wrongly, or the model cannot do.
pub(super) fn infer(
    body: &[u8],
    served: &ServedModel,
    model: &LoadedModel,
    rows_max: usize,
) -> Result<Vec<u8>, Refusal> {
    let request = InferRequest::parse(body)?;
    let wanted = wanted(request.outputs.as_ref(), model.schema())?;
    let started = Instant::now();
    let rows = rows::encode(&request.inputs.0, model, rows_max)?;
    let predictions = predict(&rows, model).inspect_err(|_| served.failed(rows.count))?;
    served.answered(&predictions, model.schema().outputs.len(), started.elapsed());
    let answer = Answer::new(model, request.id, (&predictions, rows.count), &wanted, rows.warnings);
    // The answer's types hold nothing that JSON cannot say.
    serde_json::to_vec(&answer).map_err(|_| Refusal::Lost)
}

/// The predictions of encoded rows, row after row.
///
/// # Errors
/// [`Refusal::Predict`], naming the row.
pub fn predict(rows: &Rows, model: &LoadedModel) -> Result<Vec<f64>, Refusal> {
    let (width, outputs) = (model.encoder().width(), model.schema().outputs.len());
    let mut predictions = vec![0.0; rows.count.saturating_mul(outputs)];
    let shape = |found, expected| PredictError::RowWidth { found, expected };
    let to_predict = ArrayView2::from_shape((rows.count, width), &rows.values)
        .map_err(|_| shape(rows.values.len(), rows.count.saturating_mul(width)))?;
    let to = ArrayViewMut2::from_shape((rows.count, outputs), &mut predictions)
        .map_err(|_| shape(outputs, rows.count))?;
    model.predict_batch(to_predict, to)?;
    Ok(predictions)
}
