//! Where predictions go: a table, or one file of CSV or Parquet.
//!
//! # Invariants
//! * What is written counts together with the position that says up to which row of the input it goes, or not at all:
//!   who goes on from the position loses and doubles nothing.
//! * Nobody sees a file that is not complete.

mod columns;
mod csv;
pub mod files;
mod parquet;
pub mod table;

use std::{io, path::PathBuf};

use thiserror::Error;

use self::{files::FileSink, table::TableSink};
use super::{chunk::Chunk, summary::Summary};
use crate::predictions::store::StoreError;

/// Why predictions cannot be written.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The file system refuses.
    #[error("cannot write {place}")]
    Io {
        /// What was to be written.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An output is called like another column of the file.
    #[error(
        "the model has an output {name:?}, and a column of that name is there already: write to a table instead"
    )]
    Column {
        /// The name.
        name: String,
    },
    /// The output would take the place of the input.
    #[error("output.path {} is the input", path.display())]
    OverInput {
        /// The path.
        path: PathBuf,
    },
    /// A key stands in two rows.
    #[error("row {row}: {cause}")]
    Duplicate {
        /// The later row.
        row: u64,
        /// What the store said.
        cause: String,
    },
}

/// Where the predictions of one run go.
pub enum Sink {
    /// A table.
    Table(Box<TableSink>),
    /// A file.
    File(Box<FileSink>),
}

impl SinkError {
    /// Whether the same run would fail again.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Store(_) => false,
            Self::Column { .. } | Self::OverInput { .. } | Self::Duplicate { .. } => true,
        }
    }
}

impl Sink {
    /// Rows of the input that are done already.
    #[must_use]
    pub fn position(&self) -> u64 {
        match self {
            Self::Table(table) => table.position(),
            Self::File(file) => file.position(),
        }
    }

    /// Takes a chunk; what is before the position is there already.
    ///
    /// # Errors
    /// [`SinkError`].
    pub fn write(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        match self {
            Self::Table(table) => table.write(chunk),
            Self::File(file) => file.write(chunk),
        }
    }

    /// Makes what was taken so far count.
    ///
    /// # Errors
    /// [`SinkError`].
    pub fn commit(&mut self) -> Result<(), SinkError> {
        match self {
            Self::Table(table) => table.commit(),
            Self::File(file) => file.commit(),
        }
    }

    /// Completes the output: all rows were taken.
    ///
    /// # Errors
    /// [`SinkError`].
    pub fn finish(self, summary: &Summary) -> Result<(), SinkError> {
        match self {
            Self::Table(table) => table.finish(summary),
            Self::File(file) => file.finish(summary),
        }
    }
}
