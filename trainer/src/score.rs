//! Judges a model on held-out rows: the candidate and the champion alike, each by its own schema.
//!
//! # Invariants
//! * Both are scored on the same rows of the same table; what one cannot take is an error, never a row left out.

use std::collections::BTreeMap;

use modelcast_models::{Model, PredictError, RowEncoder};
use modelcast_protocol::schema::{Output, OutputKind};
use ndarray::{Array2, ArrayView2};
use thiserror::Error;

use crate::{
    evaluate,
    table::{EncodeError, Table},
};

/// Why a model cannot be judged on these rows.
#[derive(Debug, Error)]
pub enum ScoreError {
    /// It predicts something else.
    #[error("it predicts {found}, and these rows know {wanted}")]
    OtherOutput {
        /// What it predicts.
        found: String,
        /// What the target is.
        wanted: String,
    },
    /// It wants features or categories that these rows do not have.
    #[error("these rows do not fit its schema")]
    Encode(#[from] EncodeError),
    /// It fails on a row.
    #[error("it cannot predict these rows")]
    Predict(#[from] PredictError),
}

/// The metrics of a model on held-out rows whose target is `target`.
///
/// # Errors
/// [`ScoreError`] when it cannot be judged on them.
pub fn score(
    model: &dyn Model,
    encoder: &RowEncoder,
    hold_out: &Table,
    target: &Output,
) -> Result<BTreeMap<String, f64>, ScoreError> {
    let outputs = &encoder.schema().outputs;
    let output = match outputs.as_slice() {
        [output] if meaning(output) == meaning(target) => output,
        _ => return Err(other(outputs, target)),
    };
    let predicted = predict(model, hold_out.encode(encoder)?.view())?;
    Ok(evaluate::metrics(&output.kind, &hold_out.target, &predicted))
}

/// The first output of each encoded row.
///
/// # Errors
/// [`PredictError`] for the first row that fails.
pub fn predict(model: &dyn Model, rows: ArrayView2<'_, f64>) -> Result<Vec<f64>, PredictError> {
    let mut outputs = Array2::zeros((rows.nrows(), model.outputs()));
    model.predict_batch(rows, outputs.view_mut())?;
    Ok(outputs.outer_iter().filter_map(|row| row.first().copied()).collect())
}

/// What makes values comparable with the target: unit, or labels. Names may differ.
fn meaning(output: &Output) -> String {
    match &output.kind {
        OutputKind::Numeric { unit } => format!("an amount in {}", unit.as_deref().unwrap_or("no unit")),
        OutputKind::Probability { positive, negative, .. } => format!("{positive:?} against {negative:?}"),
    }
}

fn other(found: &[Output], target: &Output) -> ScoreError {
    let found = found.iter().map(meaning).collect::<Vec<_>>().join(" and ");
    ScoreError::OtherOutput { found, wanted: meaning(target) }
}
