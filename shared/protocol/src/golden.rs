//! Golden rows: inputs with the outputs that the trainer computed, column by column.
//!
//! Every subscriber recomputes them before it serves. Does not compute anything itself (see the client's admission).
//!
//! # Invariants
//! * Golden rows that passed [`GoldenRows::validate`] have one column for each feature and output of the schema, in
//!   its order, of equal length, with finite numbers.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    limits::{GOLDEN_ROWS_MAX, SCHEMA_TEXT_MAX_BYTES},
    schema::{FeatureKind, FeatureSchema},
};

/// Tolerance unless a manifest states another: room for another order of a sum, not for another model.
pub const RELATIVE_TOLERANCE: f64 = 1e-9;

/// Inputs with expected outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenRows {
    /// One column for each feature, in the schema's order.
    pub inputs: Vec<Column>,
    /// One column for each output, in the schema's order.
    pub outputs: Vec<Vec<f64>>,
    /// An output agrees when it differs by at most this times the larger of 1 and its absolute expected value.
    pub relative_tolerance: f64,
}

/// The values of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Of a numeric feature.
    Numbers(Vec<f64>),
    /// Of a categorical feature.
    Categories(Vec<String>),
}

/// What is wrong with golden rows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GoldenError {
    /// None, or too many.
    #[error("{count} golden rows: from 1 to {GOLDEN_ROWS_MAX} are allowed")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// A column is missing, superfluous, of another length or of another type than its feature.
    #[error("the golden rows' column {column} does not fit the schema")]
    Column {
        /// Name of the feature or output, or the place of a superfluous column.
        column: String,
    },
    /// A number is not finite, or a text too long.
    #[error("the golden rows' column {column} holds a value that is not finite or too long")]
    Value {
        /// Name of the feature or output.
        column: String,
    },
    /// The tolerance is no small number.
    #[error("the golden rows' relative tolerance is not between 0 and 0.01")]
    Tolerance,
}

impl GoldenRows {
    /// Checks golden rows that came from outside against a valid schema.
    ///
    /// # Errors
    /// [`GoldenError`] for the first thing wrong with them.
    pub fn validate(&self, schema: &FeatureSchema) -> Result<(), GoldenError> {
        let count = self.len();
        if !(1..=GOLDEN_ROWS_MAX).contains(&count) {
            return Err(GoldenError::Count { count });
        }
        if !(0.0..=0.01).contains(&self.relative_tolerance) {
            return Err(GoldenError::Tolerance);
        }
        same_count("inputs", self.inputs.len(), schema.features.len())?;
        same_count("outputs", self.outputs.len(), schema.outputs.len())?;
        for (column, feature) in self.inputs.iter().zip(&schema.features) {
            column.validate(&feature.name, &feature.kind, count)?;
        }
        for (column, output) in self.outputs.iter().zip(&schema.outputs) {
            numbers(&output.name, column, count)?;
        }
        Ok(())
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.outputs.first().map_or(0, Vec::len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a recomputed output agrees with the expected one. Not-a-number agrees with nothing.
    #[must_use]
    pub fn agrees(&self, expected: f64, computed: f64) -> bool {
        (expected - computed).abs() <= self.relative_tolerance * expected.abs().max(1.0)
    }
}

impl Column {
    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Categories(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn validate(&self, name: &str, kind: &FeatureKind, count: usize) -> Result<(), GoldenError> {
        match (self, kind) {
            (Self::Numbers(values), FeatureKind::Numeric(_)) => numbers(name, values, count),
            (Self::Categories(values), FeatureKind::Categorical(_)) if values.len() == count => {
                let fits = values.iter().all(|value| value.len() <= SCHEMA_TEXT_MAX_BYTES);
                if fits { Ok(()) } else { Err(GoldenError::Value { column: name.to_owned() }) }
            }
            _ => Err(GoldenError::Column { column: format!("{name:?}") }),
        }
    }
}

fn numbers(name: &str, values: &[f64], count: usize) -> Result<(), GoldenError> {
    if values.len() != count {
        return Err(GoldenError::Column { column: format!("{name:?}") });
    }
    let finite = values.iter().all(|value| value.is_finite());
    if finite { Ok(()) } else { Err(GoldenError::Value { column: name.to_owned() }) }
}

fn same_count(noun: &str, found: usize, wanted: usize) -> Result<(), GoldenError> {
    if found == wanted {
        Ok(())
    } else {
        Err(GoldenError::Column { column: format!("list of {noun} ({found}, the schema has {wanted})") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Categorical, Feature, Numeric, Output, OutputKind};

    fn schema() -> FeatureSchema {
        let kind =
            FeatureKind::Categorical(Categorical { categories: vec!["a".into()], ..Categorical::default() });
        FeatureSchema {
            features: vec![
                Feature { name: "x".into(), title: None, kind: FeatureKind::Numeric(Numeric::default()) },
                Feature { name: "c".into(), title: None, kind },
            ],
            outputs: vec![Output { name: "y".into(), title: None, kind: OutputKind::Numeric { unit: None } }],
        }
    }

    fn rows(count: usize) -> GoldenRows {
        GoldenRows {
            inputs: vec![Column::Numbers(vec![1.0; count]), Column::Categories(vec!["a".into(); count])],
            outputs: vec![vec![2.0; count]],
            relative_tolerance: RELATIVE_TOLERANCE,
        }
    }

    #[test]
    fn golden_rows_must_fit_the_schema() {
        assert_eq!(rows(2).validate(&schema()), Ok(()));
        let broken = |change: fn(&mut GoldenRows)| {
            let mut rows = rows(2);
            change(&mut rows);
            rows.validate(&schema()).unwrap_err().to_string()
        };
        let found = [
            (broken(|rows| *rows = self::rows(0)), "0 golden rows"),
            (broken(|rows| *rows = self::rows(9)), "9 golden rows"),
            (broken(|rows| drop(rows.inputs.pop())), "inputs (1, the schema has 2)"),
            (broken(|rows| rows.inputs.swap(0, 1)), "\"x\""),
            (broken(|rows| rows.inputs[0] = Column::Numbers(vec![1.0])), "\"x\""),
            (broken(|rows| rows.outputs[0][1] = f64::NAN), "y holds"),
            (broken(|rows| rows.relative_tolerance = f64::NAN), "tolerance"),
        ];
        for (error, words) in found {
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }

    #[test]
    fn agreement_is_relative_and_nan_agrees_with_nothing() {
        let rows = rows(1);
        assert!(rows.agrees(1e6, 1e6 + 1e-4));
        assert!(!rows.agrees(1e6, 1e6 + 1e-2));
        assert!(!rows.agrees(1.0, f64::NAN));
    }
}
