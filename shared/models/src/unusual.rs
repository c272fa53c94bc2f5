//! Values that a row may have though training did not see them: to warn of, never to reject for.

use std::fmt;

use modelcast_protocol::schema::FeatureKind;

use crate::row::RowEncoder;

/// A value of an encoded row that training did not see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unusual<'s> {
    /// Index of the feature.
    pub feature: usize,
    /// Its name.
    pub name: &'s str,
    /// The encoded value.
    pub value: f64,
    /// The range that training saw; none for a category, which is taken as the feature's `other` level.
    pub range: Option<(f64, f64)>,
}

impl RowEncoder {
    /// What is unusual in an encoded row: numbers out of the range seen in training, categories not seen in it.
    /// Allocates nothing.
    pub fn unusual<'s>(&'s self, row: &[f64]) -> impl Iterator<Item = Unusual<'s>> {
        let values = self.schema().features.iter().enumerate().zip(row);
        values.filter_map(|((feature, of), &value)| {
            let range = match &of.kind {
                FeatureKind::Numeric(numeric) => {
                    Some(numeric.range.filter(|(low, high)| !(*low..=*high).contains(&value))?)
                }
                // `other` has the index after the last category; a schema has fewer than 2^53.
                FeatureKind::Categorical(categorical) if value >= categorical.categories.len() as f64 => None,
                FeatureKind::Categorical(_) => return None,
            };
            Some(Unusual { feature, name: &of.name, value, range })
        })
    }
}

impl fmt::Display for Unusual<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, .. } = self;
        match self.range {
            Some((low, high)) => {
                write!(f, "{name} = {value} is outside of {low} to {high}, seen in training")
            }
            None => write!(f, "{name} has a category not seen in training, taken as other"),
        }
    }
}
