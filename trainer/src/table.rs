//! Typed columns: the chosen rows of a data set as numbers and categories, and as encoded rows of a schema.
//!
//! What an empty cell means is decided here, by the recipe. Does not scale or one-hot encode (see `design`).
//!
//! # Invariants
//! * All columns have one value for each row, and numbers are finite.

use modelcast_models::{RowEncoder, ValueError};
use modelcast_protocol::golden::Column;
use ndarray::Array2;
use thiserror::Error;

use crate::{
    dataset::{ColumnRef, Dataset, DatasetError, Row},
    recipe::{FeaturePlan, FeatureRule, Recipe, RuleKind, Scale, SplitRule},
};

/// Chosen rows of a data set.
#[derive(Debug, Clone)]
pub struct Table {
    /// Feature names, in the order of the columns.
    pub names: Vec<String>,
    /// One column for each feature.
    pub columns: Vec<Column>,
    /// The target: amounts in their unit; for labels 1 where positive, else 0.
    pub target: Vec<f64>,
    /// Line of each row in the file.
    pub lines: Vec<u64>,
}

/// Why a table does not fit a schema.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// The schema wants a feature that the table does not have.
    #[error("the data set has no feature {feature:?}")]
    NoFeature {
        /// Its name.
        feature: String,
    },
    /// A value does not fit its feature.
    #[error("line {line}")]
    Value {
        /// Line of the row in the file.
        line: u64,
        /// What is wrong.
        source: ValueError,
    },
}

/// The rules for the features of a data set: those listed, or one for every other column.
///
/// # Errors
/// [`DatasetError::NoColumn`] when the file lacks a column that the recipe names.
pub fn rules(recipe: &Recipe, dataset: &Dataset) -> Result<Vec<FeatureRule>, DatasetError> {
    dataset.column(&recipe.target.column)?;
    match &recipe.features {
        FeaturePlan::Listed(rules) => {
            rules.iter().try_for_each(|rule| dataset.column(&rule.column).map(drop))?;
            Ok(rules.clone())
        }
        FeaturePlan::AllOthers => {
            let time = match &recipe.split {
                SplitRule::LastValue { time_column } => Some(time_column),
                SplitRule::RowsFile { .. } => None,
            };
            let others = dataset.header().iter();
            let others = others.filter(|&column| *column != recipe.target.column && Some(column) != time);
            Ok(others.map(|column| plain_number(column)).collect())
        }
    }
}

impl Table {
    /// Reads the chosen rows.
    ///
    /// # Errors
    /// [`DatasetError::Cell`] with line and column for the first cell that is not what its column holds.
    pub fn read(
        dataset: &Dataset,
        places: &[usize],
        rules: &[FeatureRule],
        recipe: &Recipe,
    ) -> Result<Self, DatasetError> {
        let rows: Vec<&Row> = places.iter().filter_map(|&place| dataset.rows().get(place)).collect();
        let columns: Result<_, DatasetError> =
            rules.iter().map(|rule| read_column(dataset.column(&rule.column)?, &rows, &rule.kind)).collect();
        let target = dataset.column(&recipe.target.column)?;
        let target: Result<_, DatasetError> =
            rows.iter().map(|row| read_target(target, row, &recipe.target.scale)).collect();
        Ok(Self {
            names: rules.iter().map(|rule| rule.name.clone()).collect(),
            columns: columns?,
            target: target?,
            lines: rows.iter().map(|row| row.line).collect(),
        })
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.target.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.target.is_empty()
    }

    /// The rows as `[rows, width]` of an encoder's schema, features found by name.
    ///
    /// # Errors
    /// [`EncodeError`] when the schema wants what the table does not have.
    pub fn encode(&self, encoder: &RowEncoder) -> Result<Array2<f64>, EncodeError> {
        let mut encoded = Array2::zeros((self.len(), encoder.width()));
        let features = encoder.schema().features.iter().enumerate();
        for ((index, feature), mut to) in features.zip(encoded.columns_mut()) {
            let found = self.names.iter().zip(&self.columns).find(|(name, _)| **name == feature.name);
            let (_, column) =
                found.ok_or_else(|| EncodeError::NoFeature { feature: feature.name.clone() })?;
            let values: Box<dyn Iterator<Item = Result<f64, ValueError>>> = match column {
                Column::Numbers(values) => {
                    Box::new(values.iter().map(|&value| encoder.encode_number(index, value)))
                }
                Column::Categories(values) => {
                    Box::new(values.iter().map(|value| encoder.encode_category(index, value)))
                }
            };
            for ((to, value), &line) in to.iter_mut().zip(values).zip(&self.lines) {
                *to = value.map_err(|source| EncodeError::Value { line, source })?;
            }
        }
        Ok(encoded)
    }
}

fn plain_number(column: &str) -> FeatureRule {
    let title = column.replace('_', " ");
    FeatureRule {
        column: column.to_owned(),
        name: column.to_owned(),
        title: (title != column).then_some(title),
        kind: RuleKind::Number { unit: None, whole: false, missing: None },
    }
}

fn read_column(column: ColumnRef<'_>, rows: &[&Row], kind: &RuleKind) -> Result<Column, DatasetError> {
    match kind {
        RuleKind::Number { missing, .. } => {
            let number = |row: &&Row| match missing {
                Some(value) if column.cell(row).is_empty() => Ok(*value),
                _ => column.number(row),
            };
            rows.iter().map(number).collect::<Result<_, _>>().map(Column::Numbers)
        }
        RuleKind::Category { categories, other, missing } => {
            let category = |row: &&Row| match (column.cell(row), missing) {
                ("", Some(category)) => Ok(category.clone()),
                ("", None) => Err(column.wrong(row, "the cell is empty; `missing` says what that means")),
                (cell, _) if *other || categories.iter().any(|category| category == cell) => {
                    Ok(cell.to_owned())
                }
                (cell, _) => {
                    let cause = format!("{cell:?} is not one of the categories, and `other` is not allowed");
                    Err(column.wrong(row, cause))
                }
            };
            rows.iter().map(category).collect::<Result<_, _>>().map(Column::Categories)
        }
    }
}

fn read_target(column: ColumnRef<'_>, row: &Row, scale: &Scale) -> Result<f64, DatasetError> {
    match scale {
        Scale::Amount => column.number(row),
        Scale::LogAmount => match column.number(row)? {
            amount if amount > 0.0 => Ok(amount),
            amount => {
                Err(column.wrong(row, format!("{amount} has no logarithm: transform = \"log\" needs > 0")))
            }
        },
        Scale::Label { positive, negative } => match column.cell(row) {
            cell if cell == positive => Ok(1.0),
            cell if cell == negative => Ok(0.0),
            cell => Err(column.wrong(row, format!("{cell:?} is neither {positive:?} nor {negative:?}"))),
        },
    }
}
