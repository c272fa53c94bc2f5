//! One inference, from a request to its answer, on one snapshot.
//!
//! Blocks for as long as it takes: the caller decides on which thread it runs.

use std::time::Instant;

use modelcast::LoadedModel;
use modelcast_models::PredictError;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::{
    answer::{Prediction, Written, wanted},
    binary,
    request::{InferRequest, WantedOutput},
    rows::{self, Rows},
};
use crate::{refusal::Refusal, served::ServedModel};

/// Answers the body of a REST request, of which `json_len` bytes are JSON, or all.
///
/// # Errors
/// [`Refusal`] for what the request asks wrongly, or the model cannot do.
pub(super) fn infer(
    (body, json_len): (&[u8], Option<usize>),
    served: &ServedModel,
    model: &LoadedModel,
    rows_max: usize,
) -> Result<Written, Refusal> {
    let request = binary::parse(body, json_len, rows_max)?;
    let prediction = answered(&request, served, model, rows_max)?;
    let all = request.parameters.as_ref().is_some_and(|parameters| parameters.binary_data_output);
    let asked: &[WantedOutput<'_>] =
        request.outputs.as_ref().map(|list| list.0.as_slice()).unwrap_or_default();
    let is_binary = |index: usize| {
        let one = asked.get(index).and_then(|output| output.parameters.as_ref()?.binary_data);
        one.unwrap_or(all)
    };
    let binary: Vec<bool> = (0..prediction.wanted.len()).map(is_binary).collect();
    prediction.write(request.id.as_deref(), &binary)
}

/// Predicts what a request asks with one model from start to end, and counts it.
///
/// # Errors
/// As [`infer`].
pub(crate) fn answered<'m>(
    request: &InferRequest<'_>,
    served: &ServedModel,
    model: &'m LoadedModel,
    rows_max: usize,
) -> Result<Prediction<'m>, Refusal> {
    let wanted = wanted(request.outputs.as_ref(), model.schema())?;
    let started = Instant::now();
    let rows = rows::encode(&request.inputs.0, model, rows_max)?;
    let values = predict(&rows, model).inspect_err(|_| served.failed(rows.count))?;
    served.answered(&values, model.schema().outputs.len(), started.elapsed());
    Ok(Prediction { model, values, count: rows.count, wanted, warnings: rows.warnings })
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
