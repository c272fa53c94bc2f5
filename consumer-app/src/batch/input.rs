//! What is scored: a CSV or Parquet file, read as a stream.
//!
//! Reads rows as they stand there; what their cells mean for a model is `encode`.
//!
//! # Invariants
//! * Memory is bounded, whatever the size of the file: a chunk has at most `CHUNK_ROWS` rows, and of CSV some MiB.
//! * Rows are numbered from 0 in the file's order, as those of a request are; a header does not count.

pub mod columns;
mod csv;
mod parquet;
mod watched;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use ::csv::ByteRecord;
use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::{columns::ColumnsError, csv::CsvInput, parquet::ParquetInput};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// Which bytes a run is about: another size or time is another input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Where the file is.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// When it was last written, Unix nanoseconds.
    pub modified_unix_ns: u64,
}

/// What is wrong with an input. The file, or what the settings say of it, has to be mended.
#[derive(Debug, Error)]
pub enum InputError {
    /// The system does not let it be read, from its start or somewhere on the way: another time it may.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not of its format, from some row on.
    #[error("{} cannot be read as {format} after {rows} rows: {cause}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        format: &'static str,
        /// Rows that were read.
        rows: u64,
        /// What is wrong.
        cause: String,
    },
    /// It was written to, or replaced, while it was read.
    #[error("{} was changed while it was read: write an input beside, and rename it", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// Its columns are not those that the model takes.
    #[error("{} does not fit the model", path.display())]
    Columns {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: Box<ColumnsError>,
    },
}

/// A file that is being read.
pub struct Input {
    kind: Kind,
    /// Rows that were read.
    rows: u64,
}

enum Kind {
    Csv(Box<CsvInput>),
    Parquet(ParquetInput),
}

/// Rows as they stand in the file.
#[derive(Debug, Default)]
pub struct RawChunk {
    /// Number of the first row.
    pub first_row: u64,
    /// How much of the input is read with it; see [`Input::total`].
    pub read: u64,
    /// The rows.
    pub rows: RawRows,
}

/// Rows as they stand in the file.
#[derive(Debug)]
pub enum RawRows {
    /// The first `count` of these records, which are used again and again.
    Csv {
        /// The records.
        records: Vec<ByteRecord>,
        /// How many of them hold a row.
        count: usize,
    },
    /// The columns in question, in the order of [`columns::Columns::wanted`].
    Parquet(RecordBatch),
}

impl FileFormat {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// The format that a file's name says.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

impl Fingerprint {
    /// What the file at `path` is now.
    ///
    /// # Errors
    /// [`InputError::Unreadable`].
    pub fn of(path: &Path) -> Result<Self, InputError> {
        let unreadable = |source| InputError::Unreadable { path: path.to_owned(), source };
        let path = path.canonicalize().map_err(unreadable)?;
        let metadata = path.metadata().map_err(unreadable)?;
        // What comes out of a pipe comes out once: it is never the same input again.
        let modified =
            if metadata.is_file() { metadata.modified().map_err(unreadable)? } else { SystemTime::now() };
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_unix_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self { path, size_bytes: metadata.len(), modified_unix_ns })
    }
}

impl Fingerprint {
    /// Checks that the file is still the one that this was taken of, when it was read.
    ///
    /// # Errors
    /// [`InputError::Changed`]; never for a pipe.
    pub fn must_hold(&self) -> Result<(), InputError> {
        let is_same = !self.path.is_file() || Self::of(&self.path)? == *self;
        if is_same { Ok(()) } else { Err(InputError::Changed { path: self.path.clone() }) }
    }
}

impl Input {
    /// Opens a file and reads what its columns are called.
    ///
    /// # Errors
    /// [`InputError`], all but `Columns`.
    pub fn open(path: &Path, format: FileFormat, delimiter: u8) -> Result<Self, InputError> {
        let file =
            File::open(path).map_err(|source| InputError::Unreadable { path: path.to_owned(), source })?;
        let kind = match format {
            FileFormat::Csv => Kind::Csv(Box::new(CsvInput::open(path, file, delimiter)?)),
            FileFormat::Parquet => Kind::Parquet(ParquetInput::open(path, file)?),
        };
        Ok(Self { kind, rows: 0 })
    }

    /// The names of its columns.
    #[must_use]
    pub fn header(&self) -> &[String] {
        match &self.kind {
            Kind::Csv(csv) => csv.header(),
            Kind::Parquet(parquet) => parquet.header(),
        }
    }

    /// Reads only these columns from here on: places in the header. CSV has to read all all the same.
    ///
    /// # Errors
    /// [`InputError`] for a column of a type that is neither number nor text.
    pub fn want(&mut self, places: &[usize]) -> Result<(), InputError> {
        match &mut self.kind {
            Kind::Csv(_) => Ok(()),
            Kind::Parquet(parquet) => parquet.want(places),
        }
    }

    /// What [`RawChunk::read`] is at the end: bytes of CSV, rows of Parquet.
    #[must_use]
    pub fn total(&self) -> u64 {
        match &self.kind {
            Kind::Csv(csv) => csv.size_bytes(),
            Kind::Parquet(parquet) => parquet.rows(),
        }
    }

    /// Reads the next rows into `chunk`; gives `false` when there are none.
    ///
    /// # Errors
    /// [`InputError`] when the file breaks off or is not of its format.
    pub fn read(&mut self, chunk: &mut RawChunk) -> Result<bool, InputError> {
        chunk.first_row = self.rows;
        let count = match &mut self.kind {
            Kind::Csv(csv) => csv.read(self.rows, &mut chunk.rows)?,
            Kind::Parquet(parquet) => parquet.read(self.rows, &mut chunk.rows)?,
        };
        self.rows += u64::try_from(count).unwrap_or(u64::MAX);
        chunk.read = match &self.kind {
            Kind::Csv(csv) => csv.read_bytes(),
            Kind::Parquet(_) => self.rows,
        };
        Ok(count > 0)
    }
}

impl Default for RawRows {
    fn default() -> Self {
        Self::Csv { records: Vec::new(), count: 0 }
    }
}
