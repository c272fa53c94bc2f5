//! The feature schema of a version: names and categories by the recipe, ranges and typical values by the rows that
//! it was trained on.
//!
//! # Invariants
//! * Two trainings by one recipe differ in ranges and typical values only, so that no retrain breaks a caller.

use std::collections::BTreeMap;

use modelcast_protocol::{
    golden::Column,
    schema::{Categorical, Feature, FeatureKind, FeatureSchema, Numeric, Output, SchemaError},
};

use crate::{
    recipe::{FeatureRule, RuleKind},
    table::Table,
};

/// Describes what a model takes and gives.
///
/// # Errors
/// [`SchemaError`] when the recipe's names or the number of features are beyond what a schema may hold.
pub fn describe(rules: &[FeatureRule], output: &Output, train: &Table) -> Result<FeatureSchema, SchemaError> {
    let features = rules.iter().zip(&train.columns).map(|(rule, column)| Feature {
        name: rule.name.clone(),
        title: rule.title.clone(),
        kind: kind(&rule.kind, column),
    });
    let schema = FeatureSchema { features: features.collect(), outputs: vec![output.clone()] };
    schema.validate()?;
    Ok(schema)
}

fn kind(rule: &RuleKind, column: &Column) -> FeatureKind {
    match (rule, column) {
        (RuleKind::Number { unit, whole, .. }, Column::Numbers(values)) => {
            let (range, typical) = range_and_median(values);
            FeatureKind::Numeric(Numeric { unit: unit.clone(), range, typical, whole: *whole })
        }
        (RuleKind::Number { unit, whole, .. }, Column::Categories(_)) => {
            let numeric = Numeric { unit: unit.clone(), whole: *whole, ..Numeric::default() };
            FeatureKind::Numeric(numeric)
        }
        (RuleKind::Category { categories, other, .. }, column) => {
            let typical = match column {
                Column::Categories(values) => most_frequent(values, categories),
                Column::Numbers(_) => None,
            };
            FeatureKind::Categorical(Categorical { categories: categories.clone(), other: *other, typical })
        }
    }
}

/// The median is a value that occurs (the lower one of two), so that whole numbers stay whole.
fn range_and_median(values: &[f64]) -> (Option<(f64, f64)>, Option<f64>) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let range = sorted.first().copied().zip(sorted.last().copied());
    (range, sorted.get(sorted.len().saturating_sub(1) / 2).copied())
}

/// The declared category with the most rows; the first declared one of several.
fn most_frequent(values: &[String], categories: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let count = |category: &String| counts.get(category.as_str()).copied().unwrap_or(0);
    // `max_by_key` takes the last of equals
    categories.iter().rev().max_by_key(|category| count(category)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typical_values_occur_in_the_data() {
        assert_eq!(range_and_median(&[4.0, 1.0, 3.0, 2.0]), (Some((1.0, 4.0)), Some(2.0)));
        assert_eq!(range_and_median(&[]), (None, None));
        let text = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
        let values = text(&["b", "x", "x", "x", "b", "a"]);
        assert_eq!(most_frequent(&values, &text(&["a", "b", "c"])).as_deref(), Some("b"));
        assert_eq!(most_frequent(&values, &text(&["c", "d"])).as_deref(), Some("c"));
    }
}
