//! A model that disagrees with its golden rows, alone or in a batch, is found out.

use modelcast_models::{GoldenMismatch, Link, Model, PredictError, RowEncoder, recompute};
use modelcast_protocol::golden::{Column, GoldenRows};
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::cases::{Case, house};

/// What a model does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    WritesNothing,
    WritesNaN,
    Fails,
    ShiftsBatches,
    FailsBatches,
    WrongWidth,
    WrongOutputs,
}

struct Faulty<M>(M, Fault);

impl<M: Model> Model for Faulty<M> {
    fn width(&self) -> usize {
        self.0.width() + usize::from(self.1 == Fault::WrongWidth)
    }

    fn outputs(&self) -> usize {
        if self.1 == Fault::WrongOutputs { usize::MAX } else { self.0.outputs() }
    }

    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        match self.1 {
            Fault::WritesNothing => return Ok(()),
            Fault::WritesNaN => outputs[0] = f64::NAN,
            Fault::Fails if row[0] > 50.0 => return Err(PredictError::Overflow { output: 0 }),
            _ => self.0.predict(row, outputs)?,
        }
        Ok(())
    }

    fn predict_batch(
        &self,
        rows: ArrayView2<'_, f64>,
        mut outputs: ArrayViewMut2<'_, f64>,
    ) -> Result<(), PredictError> {
        self.0.predict_batch(rows, outputs.view_mut())?;
        match self.1 {
            Fault::ShiftsBatches => outputs[[1, 0]] = outputs[[1, 0]].next_up(),
            Fault::FailsBatches => return Err(PredictError::Overflow { output: 0 }),
            _ => (),
        }
        Ok(())
    }
}

fn golden() -> GoldenRows {
    let texts = |texts: [&str; 2]| Column::Categories(texts.map(str::to_owned).to_vec());
    GoldenRows {
        inputs: vec![
            Column::Numbers(vec![40.0, 80.0]),
            texts(["town", "village"]),
            Column::Numbers(vec![1.0, 2.0]),
            texts(["yes", "central"]),
        ],
        outputs: vec![vec![0.5 + 10.0 - 2.0 + 1.0 + 4.0, 0.5 + 20.0 - 4.0 + 2.0 + 8.0]],
        relative_tolerance: 1e-9,
    }
}

fn found(fault: Fault, golden: &GoldenRows) -> Result<(), GoldenMismatch> {
    let Case { schema, model, .. } = house(Link::Identity);
    let model = Faulty(model.bind(&schema).unwrap(), fault);
    recompute(&model, &RowEncoder::new(schema), golden)
}

#[test]
fn a_model_that_computes_what_its_trainer_did_passes() {
    found(Fault::None, &golden()).unwrap();
}

#[test]
fn a_wrong_value_is_named_with_its_row_and_output() {
    let mut golden = golden();
    golden.outputs[0][1] = 26.6;
    let error = found(Fault::None, &golden).unwrap_err();
    assert_eq!(error.to_string(), "golden row 1: answer is expected to be 26.6 and is 26.5");
}

#[test]
fn every_fault_of_a_model_is_found() {
    use GoldenMismatch::{Batch, Predict, PredictBatch, Shape, Value};
    let golden = golden();
    let error = |fault| found(fault, &golden).unwrap_err();
    assert!(matches!(error(Fault::WritesNothing), Value { row: 0, computed, .. } if computed.is_nan()));
    assert!(matches!(error(Fault::WritesNaN), Value { row: 0, computed, .. } if computed.is_nan()));
    assert!(matches!(error(Fault::Fails), Predict { row: 1, .. }));
    assert!(matches!(error(Fault::ShiftsBatches), Batch { row: 1, .. }));
    assert!(matches!(error(Fault::FailsBatches), PredictBatch(_)));
    assert!(matches!(error(Fault::WrongWidth), Shape { width: 5, .. }));
    assert!(matches!(error(Fault::WrongOutputs), Shape { outputs: usize::MAX, .. }));
}

#[test]
fn golden_rows_of_another_shape_are_refused() {
    let mut short = golden();
    short.outputs.push(vec![1.0, 2.0]);
    assert!(matches!(found(Fault::None, &short).unwrap_err(), GoldenMismatch::Shape { .. }));
    let mut unequal = golden();
    unequal.outputs[0].pop();
    assert!(matches!(found(Fault::None, &unequal).unwrap_err(), GoldenMismatch::Inputs(_)));
}
