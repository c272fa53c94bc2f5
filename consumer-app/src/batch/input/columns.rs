//! Which column of an input is the key, and which is which feature of the model: by name, before any row is scored.
//!
//! # Invariants
//! * Every feature has a column, every column is a feature, the key or named as ignored: a misspelt name is found here.

use std::collections::{BTreeMap, BTreeSet};

use modelcast_models::{RowEncoder, ValueError};
use modelcast_protocol::schema::{FeatureKind, FeatureSchema};
use thiserror::Error;

/// In a list of ignored columns: all that are of no use.
const ALL_OTHERS: &str = "*";
/// So long a list of columns can be read; the rest is counted.
const LISTED_MAX_BYTES: usize = 500;
/// Categories that mean that there is nothing, as trainers and data sets write it.
const NONE: [&str; 4] = ["", "None", "none", "NONE"];

/// What the settings say of an input's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnRules {
    /// The column that holds each row's key; without one the key is the row's number.
    pub key: Option<String>,
    /// Columns that are of no use; `*` for all others.
    pub ignore: Vec<String>,
    /// What an empty cell means, by feature.
    pub missing: BTreeMap<String, String>,
}

/// The columns that are read.
#[derive(Debug, Clone)]
pub struct Columns {
    /// Place of the key in the header.
    pub key: Option<usize>,
    /// One for each feature, in the schema's order.
    pub features: Vec<Source>,
    /// Cells of a row.
    pub width: usize,
}

/// Where a feature's value comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source {
    /// Place of its column in the header.
    pub place: usize,
    /// What an empty cell means, encoded.
    pub missing: Option<f64>,
    /// Whether it is a number, not a category.
    pub is_number: bool,
}

/// Why a file does not fit a model.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ColumnsError {
    /// A feature has no column.
    #[error("feature {feature:?} has no column{}; there is: {known}", and_more(*.more))]
    NoFeature {
        /// The first feature without one.
        feature: String,
        /// How many more have none.
        more: usize,
        /// The columns there are.
        known: String,
    },
    /// The key's column is not there.
    #[error("the key's column {key:?} (input.key) is not there; there is: {known}")]
    NoKey {
        /// The column asked for.
        key: String,
        /// The columns there are.
        known: String,
    },
    /// A column is of no use, and nobody said that this is meant.
    #[error("column {column:?} is no feature{}: name it in input.ignore, or all with \"*\"", and_more(*.more))]
    Stranger {
        /// The first such column.
        column: String,
        /// How many more there are.
        more: usize,
    },
    /// Two columns have one name, or one has none.
    #[error("column {place} is named {name:?}, which is empty or taken")]
    Name {
        /// The column's place, from 1.
        place: usize,
        /// Its name.
        name: String,
    },
    /// A column of Parquet holds what cannot be a value.
    #[error("column {column:?} holds {found}, and a number or a text is wanted")]
    Type {
        /// Its name.
        column: String,
        /// What it holds.
        found: String,
    },
    /// A column that is to be ignored, or a feature with a meaning for empty cells, is not there.
    #[error("{setting} names {name:?}, which is not there")]
    Unknown {
        /// Which setting.
        setting: &'static str,
        /// The name.
        name: String,
    },
    /// What an empty cell should mean is no value of the feature.
    #[error("input.missing says {value:?}")]
    Missing {
        /// The value.
        value: String,
        /// Why not.
        source: ValueError,
    },
    /// The same, of a number.
    #[error("input.missing says {value:?} for the numeric feature {feature:?}, which is not a number")]
    MissingNumber {
        /// The feature.
        feature: String,
        /// The value.
        value: String,
    },
}

impl Columns {
    /// Finds the columns of a header.
    ///
    /// # Errors
    /// [`ColumnsError`] for the first thing that does not fit, naming it.
    pub fn find(header: &[String], encoder: &RowEncoder, rules: &ColumnRules) -> Result<Self, ColumnsError> {
        let mut by_name = BTreeMap::new();
        for (place, name) in header.iter().enumerate() {
            if name.is_empty() || by_name.insert(name.as_str(), place).is_some() {
                return Err(ColumnsError::Name { place: place + 1, name: name.chars().take(60).collect() });
            }
        }
        let schema = encoder.schema();
        check_missing_names(rules, schema)?;
        let known = || listed(header);
        let key = rules.key.as_ref().map(|key| {
            let place = by_name.get(key.as_str()).copied();
            place.ok_or_else(|| ColumnsError::NoKey { key: key.clone(), known: known() })
        });
        let key = key.transpose()?;
        let lacking: Vec<_> =
            schema.features.iter().filter(|feature| !by_name.contains_key(feature.name.as_str())).collect();
        if let [first, others @ ..] = lacking.as_slice() {
            let (feature, more) = (first.name.clone(), others.len());
            return Err(ColumnsError::NoFeature { feature, more, known: known() });
        }
        check_strangers(header, schema, rules)?;
        let features = schema.features.iter().enumerate().filter_map(|(index, feature)| {
            let place = *by_name.get(feature.name.as_str())?;
            let is_number = matches!(feature.kind, FeatureKind::Numeric(_));
            Some(missing(index, encoder, rules).map(|missing| Source { place, missing, is_number }))
        });
        Ok(Self { key, features: features.collect::<Result<_, _>>()?, width: header.len() })
    }

    /// The places of all columns that are read: those of the features, then the key's.
    #[must_use]
    pub fn wanted(&self) -> Vec<usize> {
        self.features.iter().map(|source| source.place).chain(self.key).collect()
    }
}

/// What an empty cell of a feature means: what the settings say, else the category that says that there is nothing.
fn missing(index: usize, encoder: &RowEncoder, rules: &ColumnRules) -> Result<Option<f64>, ColumnsError> {
    let Some(feature) = encoder.schema().features.get(index) else { return Ok(None) };
    let said = rules.missing.get(&feature.name);
    match (&feature.kind, said) {
        (FeatureKind::Numeric(_), None) => Ok(None),
        (FeatureKind::Numeric(_), Some(text)) => {
            let no_number =
                || ColumnsError::MissingNumber { feature: feature.name.clone(), value: text.clone() };
            let value: f64 = text.trim().parse().map_err(|_| no_number())?;
            let encoded = encoder.encode_number(index, value);
            encoded.map(Some).map_err(|source| ColumnsError::Missing { value: text.clone(), source })
        }
        (FeatureKind::Categorical(_), Some(text)) => {
            let encoded = encoder.encode_category(index, text);
            encoded.map(Some).map_err(|source| ColumnsError::Missing { value: text.clone(), source })
        }
        (FeatureKind::Categorical(categorical), None) => {
            let none = NONE.into_iter().find(|none| categorical.categories.iter().any(|one| one == none));
            Ok(none.and_then(|none| encoder.encode_category(index, none).ok()))
        }
    }
}

fn check_missing_names(rules: &ColumnRules, schema: &FeatureSchema) -> Result<(), ColumnsError> {
    match rules.missing.keys().find(|name| schema.feature(name).is_none()) {
        Some(name) => Err(ColumnsError::Unknown { setting: "input.missing", name: name.clone() }),
        None => Ok(()),
    }
}

fn check_strangers(
    header: &[String],
    schema: &FeatureSchema,
    rules: &ColumnRules,
) -> Result<(), ColumnsError> {
    let ignored: BTreeSet<&str> = rules.ignore.iter().map(String::as_str).collect();
    if let Some(name) =
        ignored.iter().find(|name| **name != ALL_OTHERS && !header.iter().any(|one| one == *name))
    {
        return Err(ColumnsError::Unknown { setting: "input.ignore", name: (*name).to_owned() });
    }
    if ignored.contains(ALL_OTHERS) {
        return Ok(());
    }
    let mut strangers = header.iter().filter(|name| {
        schema.feature(name).is_none()
            && !ignored.contains(name.as_str())
            && rules.key.as_ref() != Some(*name)
    });
    match strangers.next() {
        None => Ok(()),
        Some(first) => Err(ColumnsError::Stranger { column: first.clone(), more: strangers.count() }),
    }
}

/// The names, as many as fit, each whole, and how many more there are.
fn listed(header: &[String]) -> String {
    let mut list = String::new();
    for (place, name) in header.iter().enumerate() {
        if list.len() + name.len() > LISTED_MAX_BYTES {
            let more = header.len() - place;
            let comma = if list.is_empty() { "" } else { ", " };
            return format!("{list}{comma}… and {more} more");
        }
        if place > 0 {
            list.push_str(", ");
        }
        list.push_str(name);
    }
    list
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(", and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_columns_has_whole_names_and_says_how_many_it_leaves_out() {
        let names = |count: usize| (0..count).map(|n| format!("First_Floor_{n:03}")).collect::<Vec<_>>();
        assert_eq!(listed(&names(2)), "First_Floor_000, First_Floor_001");
        let list = listed(&names(100));
        let (shown, more) = list.split_once(", … and ").unwrap();
        let shown: Vec<&str> = shown.split(", ").collect();
        assert_eq!(shown, names(shown.len()));
        assert_eq!(more, format!("{} more", 100 - shown.len()));
        assert!((400..550).contains(&list.len()), "{list}");
        assert_eq!(listed(&["x".repeat(9_999)]), "… and 1 more");
    }
}
