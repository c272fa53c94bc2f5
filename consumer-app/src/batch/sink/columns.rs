//! The columns of a file of predictions: `key`, `model`, `version`, `digest`, `run`, then each output, a probability with
//! its label after it.

use std::collections::BTreeSet;

use modelcast_protocol::schema::{FeatureSchema, OutputKind};

use super::SinkError;
use crate::{batch::work::Journal, oip::answer::LABEL_SUFFIX};

/// The columns before the outputs.
pub(super) const FIRST: [&str; 5] = ["key", "model", "version", "digest", "run"];

/// One run's columns.
#[derive(Debug, Clone)]
pub(super) struct FileColumns {
    /// What the columns `model`, `version`, `digest` and `run` hold in each row.
    pub(super) same: [String; 4],
    /// The outputs, in the schema's order.
    pub(super) outputs: Vec<OutputColumn>,
}

/// The columns of one output.
#[derive(Debug, Clone)]
pub(super) struct OutputColumn {
    pub(super) name: String,
    /// Of a probability, the name of the label's column.
    pub(super) label: Option<String>,
    pub(super) kind: OutputKind,
}

impl FileColumns {
    pub(super) fn new(journal: &Journal, schema: &FeatureSchema) -> Result<Self, SinkError> {
        let scorer = &journal.scorer;
        let same = [
            scorer.model.to_string(),
            scorer.version.to_string(),
            scorer.digest.to_string(),
            journal.run.to_string(),
        ];
        let outputs = schema.outputs.iter().map(|output| OutputColumn {
            name: output.name.clone(),
            label: matches!(output.kind, OutputKind::Probability { .. })
                .then(|| format!("{}{LABEL_SUFFIX}", output.name)),
            kind: output.kind.clone(),
        });
        let columns = Self { same, outputs: outputs.collect() };
        let mut taken = BTreeSet::new();
        let twice = columns.names().find(|name| !taken.insert(*name)).map(str::to_owned);
        match twice {
            Some(name) => Err(SinkError::Column { name }),
            None => Ok(columns),
        }
    }

    /// All names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let outputs = self
            .outputs
            .iter()
            .flat_map(|output| std::iter::once(output.name.as_str()).chain(output.label.as_deref()));
        FIRST.into_iter().chain(outputs)
    }
}
