//! Computes a [`Summary`] while the rows pass.
//!
//! # Invariants
//! * The same rows in the same order give the same summary, however they are cut into chunks.

use modelcast_models::RowEncoder;
use modelcast_protocol::schema::FeatureKind;

use super::{Failure, FeatureRows, Summary, distribution::Distribution};

/// Most failures that a summary names.
const FAILURES_NAMED_MAX: usize = 10;

/// The summary of the rows that have passed.
#[derive(Debug, Clone)]
pub struct Counting {
    encoder: RowEncoder,
    scored: u64,
    failures: u64,
    first_failures: Vec<Failure>,
    outputs: Vec<Distribution>,
    /// One for each feature: rows in which it was unusual.
    unusual: Vec<u64>,
}

impl Counting {
    /// Nothing has passed. Histograms take the edges of the last run, where there is one.
    #[must_use]
    pub fn new(encoder: &RowEncoder, last: Option<&Summary>) -> Self {
        let schema = encoder.schema();
        let outputs = schema.outputs.iter().map(|output| {
            let last = last.and_then(|last| last.outputs.iter().find(|one| one.name == output.name));
            Distribution::new(output, last)
        });
        Self {
            encoder: encoder.clone(),
            scored: 0,
            failures: 0,
            first_failures: Vec::new(),
            outputs: outputs.collect(),
            unusual: vec![0; schema.features.len()],
        }
    }

    /// A row that was scored: its encoded values, and its predictions.
    pub fn scored(&mut self, row: &[f64], predictions: &[f64]) {
        self.scored += 1;
        for unusual in self.encoder.unusual(row) {
            if let Some(rows) = self.unusual.get_mut(unusual.feature) {
                *rows += 1;
            }
        }
        for (output, value) in self.outputs.iter_mut().zip(predictions) {
            output.add(*value);
        }
    }

    /// A row without a prediction.
    pub fn failed(&mut self, failure: &Failure) {
        self.failures += 1;
        if self.first_failures.len() < FAILURES_NAMED_MAX {
            self.first_failures.push(failure.clone());
        }
    }

    /// Rows without a prediction, so far.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The first row without a prediction.
    #[must_use]
    pub fn first_failure(&self) -> Option<&Failure> {
        self.first_failures.first()
    }

    /// The summary, when all rows have passed.
    #[must_use]
    pub fn finish(self) -> Summary {
        let unusual = |numeric: bool| {
            let features = self.encoder.schema().features.iter().zip(&self.unusual);
            let wanted = features.filter(move |(feature, rows)| {
                **rows > 0 && matches!(feature.kind, FeatureKind::Numeric(_)) == numeric
            });
            wanted.map(|(feature, rows)| FeatureRows { feature: feature.name.clone(), rows: *rows }).collect()
        };
        Summary {
            rows: self.scored + self.failures,
            scored: self.scored,
            failures: self.failures,
            out_of_range: unusual(true),
            unseen: unusual(false),
            first_failures: self.first_failures,
            outputs: self.outputs.into_iter().map(Distribution::finish).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use modelcast_protocol::schema::{Categorical, Feature, FeatureSchema, Numeric, Output, OutputKind};

    use super::*;

    fn encoder() -> RowEncoder {
        let area = Numeric { range: Some((10.0, 20.0)), ..Numeric::default() };
        let zone = Categorical { categories: vec!["a".into(), "b".into()], other: true, typical: None };
        let feature = |name: &str, kind| Feature { name: name.into(), title: None, kind };
        let output =
            |name: &str| Output { name: name.into(), title: None, kind: OutputKind::Numeric { unit: None } };
        RowEncoder::new(Arc::new(FeatureSchema {
            features: vec![
                feature("area", FeatureKind::Numeric(area)),
                feature("free", FeatureKind::Numeric(Numeric::default())),
                feature("zone", FeatureKind::Categorical(zone)),
            ],
            outputs: vec![output("price"), output("rent")],
        }))
    }

    #[test]
    fn unusual_rows_are_counted_by_feature() {
        let mut counting = Counting::new(&encoder(), None);
        for row in [[10.0, 0.0, 0.0], [20.0, 1e9, 1.0], [9.9, 0.0, 2.0], [20.1, 0.0, 0.0]] {
            counting.scored(&row, &[row[0], 1.0]);
        }
        let summary = counting.finish();
        let rows = |feature: &str, rows| FeatureRows { feature: feature.into(), rows };
        assert_eq!(summary.out_of_range, [rows("area", 2)]);
        assert_eq!(summary.unseen, [rows("zone", 1)]);
        assert_eq!((summary.outputs[0].min, summary.outputs[0].max, summary.outputs[1].sd), (9.9, 20.1, 0.0));
    }

    #[test]
    fn failures_are_counted_and_the_first_ones_named() {
        let mut counting = Counting::new(&encoder(), None);
        for row in 1..=12 {
            counting.failed(&Failure { row, key: "k".into(), cause: "so".into() });
        }
        counting.scored(&[10.0, 0.0, 0.0], &[1.0, 2.0]);
        let summary = counting.finish();
        assert_eq!((summary.rows, summary.scored, summary.failures), (13, 1, 12));
        assert_eq!((summary.first_failures.len(), summary.first_failures[0].row), (10, 1));
    }

    #[test]
    fn a_summary_survives_json_and_hands_its_edges_on() {
        let mut counting = Counting::new(&encoder(), None);
        (0..100).for_each(|value| counting.scored(&[15.0, 0.0, 0.0], &[f64::from(value), 0.1]));
        let first = counting.finish();
        let json = serde_json::to_vec(&first).unwrap();
        assert_eq!(serde_json::from_slice::<Summary>(&json).unwrap(), first);
        let mut counting = Counting::new(&encoder(), Some(&first));
        counting.scored(&[15.0, 0.0, 0.0], &[1e6, 0.1]);
        let second = counting.finish();
        assert_eq!(second.outputs[0].edges, first.outputs[0].edges);
        assert_eq!(second.outputs[0].counts.last(), Some(&1));
    }
}
