//! From a recipe to rows: reads the file, splits it, and reads both parts as typed columns.
//!
//! # Invariants
//! * What is learned (ranges, typical values, weights) comes from the training rows alone.

use std::sync::Arc;

use modelcast_models::RowEncoder;
use modelcast_protocol::{
    Digest,
    schema::{FeatureSchema, SchemaError},
};
use thiserror::Error;

use crate::{
    dataset::{Dataset, DatasetError},
    describe::describe,
    recipe::Recipe,
    split::{Split, SplitError, split},
    table::{self, Table},
};

/// The rows of a data set, ready to train on and to judge by.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Rows to train on.
    pub train: Table,
    /// Rows to judge by.
    pub hold_out: Table,
    /// What a model of these rows takes and gives.
    pub schema: Arc<FeatureSchema>,
    /// Digest of the file.
    pub digest: Digest,
    /// What bounds the training rows, where they are split by time.
    pub until: Option<String>,
    /// What the held-out rows have in common.
    pub held_out: String,
}

/// Why a data set gives no rows.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// The file is wrong.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// It cannot be split as asked.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The recipe gives no possible schema.
    #[error("the features of data set {dataset} make no schema")]
    Schema {
        /// Name of the data set.
        dataset: String,
        /// What is wrong.
        source: SchemaError,
    },
}

/// Reads a data set by its recipe; `until` bounds the training rows in time.
///
/// # Errors
/// [`PrepareError`], naming file, line and column.
pub fn prepare(recipe: &Recipe, until: Option<&str>) -> Result<Prepared, PrepareError> {
    let dataset = Dataset::read(&recipe.file)?;
    let Split { train, hold_out, until, held_out } = split(&dataset, &recipe.split, until)?;
    let rules = table::rules(recipe, &dataset)?;
    let train = Table::read(&dataset, &train, &rules, recipe)?;
    let hold_out = Table::read(&dataset, &hold_out, &rules, recipe)?;
    let schema = describe(&rules, &recipe.target.output, &train);
    let schema = schema.map_err(|source| PrepareError::Schema { dataset: recipe.dataset.clone(), source })?;
    Ok(Prepared { train, hold_out, schema: Arc::new(schema), digest: dataset.digest(), until, held_out })
}

impl Prepared {
    /// Encodes rows by the schema.
    #[must_use]
    pub fn encoder(&self) -> RowEncoder {
        RowEncoder::new(Arc::clone(&self.schema))
    }
}
