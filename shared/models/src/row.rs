//! From named values to rows of numbers, checked against a feature schema.
//!
//! A row has one `f64` for each feature, in the schema's order: a number as it is, a category as its index; the
//! `other` level has the index after the last category. Does not predict (see `model`).
//!
//! # Invariants
//! * An encoded row is as wide as the schema, finite, and holds a valid index for each categorical feature.
//! * Each error names the feature.

use std::{collections::HashMap, sync::Arc};

use modelcast_protocol::{
    golden::{Column, GoldenRows},
    schema::{Feature, FeatureKind, FeatureSchema},
};
use ndarray::Array2;
use thiserror::Error;

use crate::nearest::{nearest, start};

/// Encodes values by one schema. Built once for each loaded model; encoding a valid row allocates nothing beyond it.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    schema: Arc<FeatureSchema>,
    by_name: HashMap<String, usize>,
    /// One for each feature, in the schema's order.
    slots: Vec<Slot>,
}

/// A value as a caller has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// For a numeric feature, in the schema's unit.
    Number(f64),
    /// For a categorical feature.
    Category(&'a str),
}

/// Why a value does not fit its feature. The caller has to send another.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ValueError {
    /// There is no feature of that index.
    #[error("there is no feature {index}: the schema has {width}")]
    NoFeature {
        /// The index asked for.
        index: usize,
        /// How many features there are.
        width: usize,
    },
    /// A number for a categorical feature, or a text for a numeric one.
    #[error("feature {feature:?} takes {expected}, not {found}")]
    Type {
        /// Name of the feature.
        feature: String,
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// Infinite or not a number.
    #[error("feature {feature:?} is {value}, which is not finite")]
    NotFinite {
        /// Name of the feature.
        feature: String,
        /// The value given.
        value: f64,
    },
    /// Not one of the categories of a feature without an `other` level.
    #[error("feature {feature:?} has no category {value:?} among its {count}{}", did_you_mean(.nearest))]
    UnknownCategory {
        /// Name of the feature.
        feature: String,
        /// The start of the value given.
        value: String,
        /// Known categories much like it, at most three.
        nearest: Vec<String>,
        /// How many categories are known.
        count: usize,
    },
}

/// Why values are not a row.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum RowError {
    /// A feature has no value.
    #[error("feature {feature:?} is missing{}", and_more(*.more))]
    Missing {
        /// Name of the first one missing.
        feature: String,
        /// How many more are missing.
        more: usize,
    },
    /// A value is for a feature that the schema does not have.
    #[error("there is no feature {name:?}{}", did_you_mean(.nearest))]
    Unknown {
        /// The start of the name given.
        name: String,
        /// Known features much like it, at most three.
        nearest: Vec<String>,
    },
    /// A feature has two values.
    #[error("feature {feature:?} is given twice")]
    Twice {
        /// Name of the feature.
        feature: String,
    },
    /// A value does not fit its feature.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The golden rows do not have one column of equal length for each feature.
    #[error("the golden rows' input columns do not fit the schema at feature {feature:?}")]
    GoldenColumn {
        /// Name of the feature; empty for a column after the last feature.
        feature: String,
    },
    /// A value of a golden row does not fit its feature.
    #[error("golden row {row} cannot be encoded")]
    GoldenValue {
        /// Index of the row.
        row: usize,
        /// What is wrong with the value.
        source: ValueError,
    },
}

#[derive(Debug, Clone)]
enum Slot {
    Number,
    Category {
        indexes: HashMap<String, u32>,
        /// Index of the `other` level, where the feature has one.
        other: Option<u32>,
    },
}

impl RowEncoder {
    /// An encoder for a schema that passed [`FeatureSchema::validate`].
    #[must_use]
    pub fn new(schema: Arc<FeatureSchema>) -> Self {
        let names = schema.features.iter().enumerate();
        let by_name = names.map(|(index, feature)| (feature.name.clone(), index)).collect();
        let slots = schema.features.iter().map(Slot::new).collect();
        Self { schema, by_name, slots }
    }

    /// The schema that rows are encoded by.
    #[must_use]
    pub fn schema(&self) -> &Arc<FeatureSchema> {
        &self.schema
    }

    /// Values in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.slots.len()
    }

    /// The number to put at place `feature` of a row for `value`: for callers that walk columns.
    ///
    /// # Errors
    /// [`ValueError`] for a value that is not finite, a categorical feature, and an index beyond the schema.
    pub fn encode_number(&self, feature: usize, value: f64) -> Result<f64, ValueError> {
        match self.slots.get(feature) {
            Some(Slot::Number) if value.is_finite() => Ok(value),
            Some(Slot::Number) => Err(ValueError::NotFinite { feature: self.name(feature), value }),
            Some(Slot::Category { .. }) => Err(ValueError::Type {
                feature: self.name(feature),
                expected: "a category",
                found: "a number",
            }),
            None => Err(ValueError::NoFeature { index: feature, width: self.width() }),
        }
    }

    /// The number to put at place `feature` of a row for the category `value`: its index, or that of `other`.
    ///
    /// # Errors
    /// [`ValueError`] for an unknown category of a feature without `other`, a numeric feature, and an index beyond
    /// the schema.
    pub fn encode_category(&self, feature: usize, value: &str) -> Result<f64, ValueError> {
        match self.slots.get(feature) {
            Some(Slot::Category { indexes, other }) => match indexes.get(value).or(other.as_ref()) {
                Some(&index) => Ok(f64::from(index)),
                None => Err(self.unknown_category(feature, value)),
            },
            Some(Slot::Number) => {
                Err(ValueError::Type { feature: self.name(feature), expected: "a number", found: "a text" })
            }
            None => Err(ValueError::NoFeature { index: feature, width: self.width() }),
        }
    }

    /// Encodes named values, in any order, into `out`, which then holds exactly one row.
    ///
    /// # Errors
    /// [`RowError`] for the first value that is of no feature, given twice or not fitting; then for what is missing.
    /// `out` is empty after an error.
    pub fn encode_row<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Value<'a>)>,
        out: &mut Vec<f64>,
    ) -> Result<(), RowError> {
        out.clear();
        out.resize(self.width(), f64::NAN); // no encoded value is NaN: it marks what is missing
        let done = self.fill(values, out);
        if done.is_err() {
            out.clear();
        }
        done
    }

    /// Encodes the inputs of golden rows into `[rows, width]`.
    ///
    /// # Errors
    /// [`RowError::GoldenColumn`] when the columns do not fit, [`RowError::GoldenValue`] for a value that does not.
    pub fn encode_golden(&self, rows: &GoldenRows) -> Result<Array2<f64>, RowError> {
        let features = self.schema.features.iter().map(|feature| feature.name.as_str());
        let columns = rows.inputs.iter().map(Some).chain(std::iter::repeat(None));
        let fits = |column: Option<&Column>| column.is_some_and(|column| column.len() == rows.len());
        if let Some((feature, _)) = features.zip(columns).find(|(_, column)| !fits(*column)) {
            return Err(RowError::GoldenColumn { feature: feature.to_owned() });
        }
        if rows.inputs.len() > self.width() {
            return Err(RowError::GoldenColumn { feature: String::new() });
        }
        let mut encoded = Array2::zeros((rows.len(), self.width()));
        for (feature, (column, mut to)) in rows.inputs.iter().zip(encoded.columns_mut()).enumerate() {
            for (row, to) in to.iter_mut().enumerate() {
                let value = match column {
                    Column::Numbers(values) => values.get(row).map(|&value| Value::Number(value)),
                    Column::Categories(values) => values.get(row).map(|value| Value::Category(value)),
                };
                let value = value.ok_or_else(|| RowError::GoldenColumn { feature: self.name(feature) })?;
                *to = self.encode(feature, value).map_err(|source| RowError::GoldenValue { row, source })?;
            }
        }
        Ok(encoded)
    }

    fn encode(&self, feature: usize, value: Value<'_>) -> Result<f64, ValueError> {
        match value {
            Value::Number(value) => self.encode_number(feature, value),
            Value::Category(value) => self.encode_category(feature, value),
        }
    }

    fn fill<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Value<'a>)>,
        row: &mut [f64],
    ) -> Result<(), RowError> {
        for (name, value) in values {
            let place = self.by_name.get(name).and_then(|&index| Some((index, row.get_mut(index)?)));
            let (index, place) = place.ok_or_else(|| self.unknown_feature(name))?;
            if !place.is_nan() {
                return Err(RowError::Twice { feature: name.to_owned() });
            }
            *place = self.encode(index, value)?;
        }
        let mut missing = self.schema.features.iter().zip(row).filter(|(_, value)| value.is_nan());
        match missing.next() {
            None => Ok(()),
            Some((feature, _)) => {
                Err(RowError::Missing { feature: feature.name.clone(), more: missing.count() })
            }
        }
    }

    fn name(&self, feature: usize) -> String {
        self.schema.features.get(feature).map(|feature| feature.name.clone()).unwrap_or_default()
    }

    fn unknown_feature(&self, name: &str) -> RowError {
        let known = self.schema.features.iter().map(|feature| feature.name.as_str());
        RowError::Unknown { name: start(name), nearest: nearest(name, known) }
    }

    fn unknown_category(&self, feature: usize, value: &str) -> ValueError {
        let known = match self.schema.features.get(feature).map(|feature| &feature.kind) {
            Some(FeatureKind::Categorical(categorical)) => categorical.categories.as_slice(),
            _ => &[],
        };
        ValueError::UnknownCategory {
            feature: self.name(feature),
            value: start(value),
            nearest: nearest(value, known.iter().map(String::as_str)),
            count: known.len(),
        }
    }
}

impl Slot {
    fn new(feature: &Feature) -> Self {
        match &feature.kind {
            FeatureKind::Numeric(_) => Self::Number,
            FeatureKind::Categorical(categorical) => {
                let count = u32::try_from(categorical.categories.len()).unwrap_or(u32::MAX);
                Self::Category {
                    indexes: categorical.categories.iter().cloned().zip(0..count).collect(),
                    other: categorical.other.then_some(count),
                }
            }
        }
    }
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; near it: {}", nearest.join(", ")) }
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(", and {more} more") }
}
