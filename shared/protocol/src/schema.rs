//! The feature schema: what a model takes and what it gives, as it travels in the manifest.
//!
//! Says names, types, units, ranges and categories, so that every reader checks requests, draws a form and refuses
//! a model that does not fit. Does not hold values (see `golden`) and does not encode rows (see the models crate).
//!
//! # Invariants
//! * A schema that passed [`FeatureSchema::validate`] has unique names, finite ordered ranges, and no text, feature,
//!   category or output above its limit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{CATEGORY_COUNT_MAX, FEATURE_COUNT_MAX, OUTPUT_COUNT_MAX, SCHEMA_TEXT_MAX_BYTES};

/// What a model takes and what it gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureSchema {
    /// In the order of a row's values.
    pub features: Vec<Feature>,
    /// In the order of a prediction's values.
    pub outputs: Vec<Output>,
}

/// One input of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Unique; the key in requests and golden rows.
    pub name: String,
    /// What a form shows instead of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Number or category.
    pub kind: FeatureKind,
}

/// The type of a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// A finite number.
    Numeric(Numeric),
    /// One of a list of categories.
    Categorical(Categorical),
}

/// A numeric feature.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Numeric {
    /// Unit of the values, such as `m²`; none for counts and ratios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Smallest and largest value seen in training: outside of it a prediction warns and is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// What a form shows at first: a value typical for the training data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical: Option<f64>,
    /// Whether a form should offer whole numbers only. Predictions take any finite number.
    #[serde(default)]
    pub whole: bool,
}

/// A categorical feature.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Categorical {
    /// The known categories, unique.
    pub categories: Vec<String>,
    /// Whether an unknown category takes a level of its own; otherwise it is an error.
    #[serde(default)]
    pub other: bool,
    /// What a form shows at first; one of the categories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical: Option<String>,
}

/// One value of a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Unique; the name of the output tensor.
    pub name: String,
    /// What a page shows instead of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Amount or probability.
    pub kind: OutputKind,
}

/// The type of an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// An amount.
    Numeric {
        /// Its unit, such as `USD`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// The probability of the positive label.
    Probability {
        /// The label whose probability it is.
        positive: String,
        /// The other label.
        negative: String,
        /// The label is `positive` from this probability on.
        threshold: f64,
    },
}

/// What is wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// Too many or none of something.
    #[error("{count} {noun}: from 1 to {max} are allowed")]
    Count {
        /// Of what.
        noun: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// A text is empty or too long.
    #[error("a {noun} is empty or longer than {SCHEMA_TEXT_MAX_BYTES} bytes: {start:?}")]
    Text {
        /// Which text.
        noun: &'static str,
        /// Its first characters.
        start: String,
    },
    /// Two things have one name.
    #[error("{noun} {name:?} stands there twice")]
    Duplicate {
        /// Of what.
        noun: &'static str,
        /// Its name.
        name: String,
    },
    /// A number is not finite, or a range ends before it starts, or a threshold is no probability.
    #[error("{name:?} has a range, typical value or threshold that is not possible")]
    Number {
        /// The feature or output.
        name: String,
    },
}

impl FeatureSchema {
    /// Checks a schema that came from outside.
    ///
    /// # Errors
    /// [`SchemaError`] for the first thing wrong with it.
    pub fn validate(&self) -> Result<(), SchemaError> {
        count("features", self.features.len(), FEATURE_COUNT_MAX)?;
        count("outputs", self.outputs.len(), OUTPUT_COUNT_MAX)?;
        unique("feature", self.features.iter().map(|feature| feature.name.as_str()))?;
        unique("output", self.outputs.iter().map(|output| output.name.as_str()))?;
        self.features.iter().try_for_each(Feature::validate)?;
        self.outputs.iter().try_for_each(Output::validate)
    }

    /// The feature of that name and its place in a row.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<(usize, &Feature)> {
        self.features.iter().enumerate().find(|(_, feature)| feature.name == name)
    }

    /// How this schema would break a caller of `old`, one sentence each; empty when it only widens.
    ///
    /// More categories, a new `other` level, other ranges, titles and thresholds widen. A feature that is new, gone, or
    /// of another type or unit, a category lost without an `other` level, a lost `other`, and any other change of the
    /// outputs break.
    #[must_use]
    pub fn breaks(&self, old: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for feature in &self.features {
            match old.feature(&feature.name) {
                None => found.push(format!("feature {:?} is new and required", feature.name)),
                Some((_, before)) => found.extend(feature.breaks(before)),
            }
        }
        let gone = old.features.iter().filter(|feature| self.feature(&feature.name).is_none());
        found.extend(gone.map(|feature| format!("feature {:?} is gone", feature.name)));
        if !self.outputs.iter().map(Output::meaning).eq(old.outputs.iter().map(Output::meaning)) {
            found.push("the outputs differ".to_owned());
        }
        found
    }
}

impl Feature {
    fn validate(&self) -> Result<(), SchemaError> {
        optional_text("title", self.title.as_deref())?;
        match &self.kind {
            FeatureKind::Numeric(numeric) => {
                optional_text("unit", numeric.unit.as_deref())?;
                let ordered = numeric
                    .range
                    .is_none_or(|(low, high)| low.is_finite() && high.is_finite() && low <= high);
                let finite = numeric.typical.is_none_or(f64::is_finite);
                if ordered && finite { Ok(()) } else { Err(self.impossible()) }
            }
            FeatureKind::Categorical(categorical) => {
                count("categories", categorical.categories.len(), CATEGORY_COUNT_MAX)?;
                unique("category", categorical.categories.iter().map(String::as_str))?;
                let known = |typical: &String| categorical.categories.contains(typical);
                if categorical.typical.as_ref().is_none_or(known) { Ok(()) } else { Err(self.impossible()) }
            }
        }
    }

    fn impossible(&self) -> SchemaError {
        SchemaError::Number { name: self.name.clone() }
    }

    fn breaks(&self, old: &Self) -> Vec<String> {
        let name = &self.name;
        match (&self.kind, &old.kind) {
            (FeatureKind::Numeric(new), FeatureKind::Numeric(old)) if new.unit == old.unit => Vec::new(),
            (FeatureKind::Numeric(new), FeatureKind::Numeric(old)) => {
                let unit = |numeric: &Numeric| numeric.unit.clone().unwrap_or_else(|| "none".to_owned());
                vec![format!("feature {name:?} changes its unit from {} to {}", unit(old), unit(new))]
            }
            (FeatureKind::Categorical(new), FeatureKind::Categorical(old)) => {
                let known: BTreeSet<_> = new.categories.iter().collect();
                let lost = old.categories.iter().filter(|category| !known.contains(category));
                let mut found: Vec<_> =
                    lost.map(|category| format!("feature {name:?} loses category {category:?}")).collect();
                if new.other {
                    found.clear(); // an unknown category has a level, so a lost one is still answered
                } else if old.other {
                    found.push(format!("feature {name:?} loses its level for other categories"));
                }
                found
            }
            _ => vec![format!("feature {name:?} changes its type")],
        }
    }
}

impl Output {
    fn validate(&self) -> Result<(), SchemaError> {
        optional_text("title", self.title.as_deref())?;
        match &self.kind {
            OutputKind::Numeric { unit } => optional_text("unit", unit.as_deref()),
            OutputKind::Probability { positive, negative, threshold } => {
                unique("label", [positive.as_str(), negative.as_str()].into_iter())?;
                let possible = (0.0..=1.0).contains(threshold);
                if possible { Ok(()) } else { Err(SchemaError::Number { name: self.name.clone() }) }
            }
        }
    }

    /// What a caller relies on: everything but the title and the threshold.
    fn meaning(&self) -> (&str, Option<&str>, Option<(&str, &str)>) {
        match &self.kind {
            OutputKind::Numeric { unit } => (&self.name, unit.as_deref(), None),
            OutputKind::Probability { positive, negative, .. } => {
                (&self.name, None, Some((positive, negative)))
            }
        }
    }
}

fn count(noun: &'static str, count: usize, max: usize) -> Result<(), SchemaError> {
    if (1..=max).contains(&count) { Ok(()) } else { Err(SchemaError::Count { noun, count, max }) }
}

fn text(noun: &'static str, text: &str) -> Result<(), SchemaError> {
    if (1..=SCHEMA_TEXT_MAX_BYTES).contains(&text.len()) {
        Ok(())
    } else {
        Err(SchemaError::Text { noun, start: text.chars().take(40).collect() })
    }
}

fn optional_text(noun: &'static str, value: Option<&str>) -> Result<(), SchemaError> {
    value.map_or(Ok(()), |value| text(noun, value))
}

fn unique<'a>(noun: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), SchemaError> {
    let mut seen = BTreeSet::new();
    for name in names {
        text(noun, name)?;
        if !seen.insert(name) {
            return Err(SchemaError::Duplicate { noun, name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(name: &str, unit: Option<&str>) -> Feature {
        let unit = unit.map(str::to_owned);
        let kind = FeatureKind::Numeric(Numeric { unit, ..Numeric::default() });
        Feature { name: name.into(), title: None, kind }
    }

    fn categorical(name: &str, categories: &[&str], other: bool) -> Feature {
        let categories = categories.iter().map(|&category| category.into()).collect();
        let kind = FeatureKind::Categorical(Categorical { categories, other, typical: None });
        Feature { name: name.into(), title: None, kind }
    }

    fn schema(features: Vec<Feature>) -> FeatureSchema {
        let kind = OutputKind::Numeric { unit: Some("USD".into()) };
        FeatureSchema { features, outputs: vec![Output { name: "price".into(), title: None, kind }] }
    }

    #[test]
    fn a_wrong_schema_names_what_is_wrong() {
        let range = |range| {
            let kind = FeatureKind::Numeric(Numeric { range: Some(range), ..Numeric::default() });
            schema(vec![Feature { name: "area".into(), title: None, kind }])
        };
        let rows = [
            (schema(vec![]), "0 features"),
            (schema(vec![numeric("a", None), numeric("a", None)]), "\"a\" stands there twice"),
            (schema(vec![numeric("", None)]), "empty"),
            (schema(vec![numeric("a", Some(&"u".repeat(300)))]), "unit"),
            (schema(vec![categorical("c", &[], true)]), "0 categories"),
            (schema(vec![categorical("c", &["x", "x"], true)]), "category \"x\""),
            (range((2.0, 1.0)), "\"area\""),
            (range((f64::NAN, 1.0)), "\"area\""),
        ];
        for (schema, words) in rows {
            let error = schema.validate().unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
        assert_eq!(schema(vec![numeric("a", Some("m"))]).validate(), Ok(()));
    }

    #[test]
    fn widening_breaks_nobody_and_narrowing_says_whom() {
        let old = schema(vec![numeric("area", Some("m2")), categorical("zone", &["a", "b"], false)]);
        let wider = schema(vec![numeric("area", Some("m2")), categorical("zone", &["b", "a", "c"], true)]);
        assert_eq!(wider.breaks(&old), Vec::<String>::new());
        let rows = [
            (schema(vec![numeric("area", Some("m2"))]), "\"zone\" is gone"),
            (schema(vec![numeric("area", Some("ft2")), old.features[1].clone()]), "from m2 to ft2"),
            (schema(vec![old.features[0].clone(), categorical("zone", &["a"], false)]), "category \"b\""),
            (schema([&old.features[..], &[numeric("age", None)]].concat()), "\"age\" is new"),
            (schema(vec![old.features[0].clone(), numeric("zone", None)]), "type"),
        ];
        for (new, words) in rows {
            let found = new.breaks(&old).join("; ");
            assert!(found.contains(words), "{found:?} lacks {words:?}");
        }
    }
}
