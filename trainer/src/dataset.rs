//! A CSV file in memory: its header, its rows with their lines, and the digest of its bytes.
//!
//! Cells are texts here; what they mean is `table`. Every later error about a cell names file, line and column.
//!
//! # Invariants
//! * All rows have as many cells as the header, and header names are unique and not empty.
//! * The digest is over the very bytes that the rows were read from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use csv::{ReaderBuilder, StringRecord};
use modelcast_protocol::Digest;
use thiserror::Error;

/// Largest file that is read: it is held in memory, twice.
pub const FILE_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// A CSV file in memory.
#[derive(Debug, Clone)]
pub struct Dataset {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Row>,
    digest: Digest,
}

/// One row with its place in the file.
#[derive(Debug, Clone)]
pub struct Row {
    /// Line on which it starts, from 1.
    pub line: u64,
    cells: StringRecord,
}

/// What is wrong with a data file. The file, or its section in the configuration, has to be mended.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("{} has {size_bytes} bytes, and at most {FILE_MAX_BYTES} are read", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
    /// A row is no CSV or has another number of cells than the header.
    #[error("{}, line {line}: {cause}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// The header names a column twice, or not at all.
    #[error("{}, line 1: column {place} is named {name:?}, which is empty or taken", path.display())]
    Header {
        /// Which file.
        path: PathBuf,
        /// The column's place, from 1.
        place: usize,
        /// Its name.
        name: String,
    },
    /// The header lacks a column.
    #[error("{} has no column {column:?}; it has: {known}", path.display())]
    NoColumn {
        /// Which file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns there are.
        known: String,
    },
    /// A cell is not what its column holds.
    #[error("{}, line {line}, column {column:?}: {cause}", path.display())]
    Cell {
        /// Which file.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// Name of the column.
        column: String,
        /// What is wrong with the cell.
        cause: String,
    },
}

/// A column of a data set, found by its name.
#[derive(Debug, Clone, Copy)]
pub struct ColumnRef<'a> {
    dataset: &'a Dataset,
    name: &'a str,
    place: usize,
}

impl Dataset {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`DatasetError`], all but `NoColumn` and `Cell`.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let unreadable = |source| DatasetError::Unreadable { path: path.to_owned(), source };
        let size_bytes = fs::metadata(path).map_err(unreadable)?.len();
        if size_bytes > FILE_MAX_BYTES {
            return Err(DatasetError::TooLarge { path: path.to_owned(), size_bytes });
        }
        Self::parse(path, &fs::read(path).map_err(unreadable)?)
    }

    /// Parses the bytes of a file; `path` is for errors.
    ///
    /// # Errors
    /// [`DatasetError::Row`] and [`DatasetError::Header`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, DatasetError> {
        let wrong = |error: &csv::Error| DatasetError::Row {
            path: path.to_owned(),
            line: error.position().map_or(1, csv::Position::line),
            cause: cause(error),
        };
        let mut reader = ReaderBuilder::new().from_reader(bytes);
        let header = header(path, reader.headers().map_err(|error| wrong(&error))?)?;
        let mut rows = Vec::new();
        for record in reader.records() {
            let cells = record.map_err(|error| wrong(&error))?;
            rows.push(Row { line: cells.position().map_or(0, csv::Position::line), cells });
        }
        Ok(Self { path: path.to_owned(), header, rows, digest: Digest::of(bytes) })
    }

    /// The column names, in the file's order.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The rows, in the file's order.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Digest of the file's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Where it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds a column.
    ///
    /// # Errors
    /// [`DatasetError::NoColumn`] when the header lacks it.
    pub fn column<'a>(&'a self, name: &'a str) -> Result<ColumnRef<'a>, DatasetError> {
        let place = self.header.iter().position(|column| column == name);
        let place = place.ok_or_else(|| DatasetError::NoColumn {
            path: self.path.clone(),
            column: name.to_owned(),
            known: self.header.join(", "),
        })?;
        Ok(ColumnRef { dataset: self, name, place })
    }
}

impl<'a> ColumnRef<'a> {
    /// The column's cell of a row, without spaces around it.
    #[must_use]
    pub fn cell(&self, row: &'a Row) -> &'a str {
        row.cells.get(self.place).unwrap_or_default().trim()
    }

    /// The cell of a row as a finite number.
    ///
    /// # Errors
    /// [`DatasetError::Cell`] when it is anything else.
    pub fn number(&self, row: &Row) -> Result<f64, DatasetError> {
        let cell = self.cell(row);
        match cell.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(_) => Err(self.wrong(row, format!("{cell} is not finite"))),
            Err(_) if cell.is_empty() => Err(self.wrong(row, "the cell is empty")),
            Err(_) => Err(self.wrong(row, format!("{:?} is not a number", shorten(cell)))),
        }
    }

    /// An error about the column's cell of a row.
    #[must_use]
    pub fn wrong(&self, row: &Row, cause: impl Into<String>) -> DatasetError {
        DatasetError::Cell {
            path: self.dataset.path.clone(),
            line: row.line,
            column: self.name.to_owned(),
            cause: cause.into(),
        }
    }
}

fn header(path: &Path, record: &StringRecord) -> Result<Vec<String>, DatasetError> {
    let mut names: Vec<String> = Vec::with_capacity(record.len());
    for (index, name) in record.iter().map(str::trim).enumerate() {
        if name.is_empty() || names.iter().any(|taken| taken == name) {
            let (path, name) = (path.to_owned(), shorten(name));
            return Err(DatasetError::Header { path, place: index + 1, name });
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// What csv has against a row, without the place, which stands before it.
fn cause(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} cells, and the header names {expected_len} columns")
        }
        csv::ErrorKind::Utf8 { err, .. } => {
            format!("cell {} is not UTF-8", err.field() + 1)
        }
        _ => error.to_string(),
    }
}

fn shorten(cell: &str) -> String {
    cell.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Dataset, DatasetError> {
        Dataset::parse(Path::new("houses.csv"), text)
    }

    #[test]
    fn an_error_names_file_line_and_column() {
        let rows: [(&[u8], &[&str]); 5] = [
            (b"a,b\n1,2\n3\n", &["houses.csv", "line 3", "1 cells", "2 columns"]),
            (b"a,b\n1,\xff\n", &["line 2", "cell 2 is not UTF-8"]),
            (b"a,a\n1,2\n", &["line 1", "column 2", "\"a\""]),
            (b"a,\n1,2\n", &["line 1", "column 2", "empty"]),
            (b"", &["line 1"]),
        ];
        for (text, words) in rows {
            let error = match parse(text) {
                Err(error) => error.to_string(),
                Ok(dataset) => dataset.column("a").unwrap_err().to_string() + " line 1",
            };
            for word in words {
                assert!(error.contains(word), "{error:?} lacks {word:?}");
            }
        }
    }

    #[test]
    fn a_cell_that_is_no_number_is_named_by_line_and_column_also_after_a_quoted_line_break() {
        let dataset = parse(b"a,b\n\"x\ny\",2\n1,two\n1,inf\n1, \n").unwrap();
        let column = dataset.column("b").unwrap();
        assert_eq!(column.number(&dataset.rows()[0]).unwrap(), 2.0);
        for (row, line, cause) in
            [(1, 4, "\"two\" is not a number"), (2, 5, "not finite"), (3, 6, "is empty")]
        {
            let error = column.number(&dataset.rows()[row]).unwrap_err().to_string();
            let place = format!("houses.csv, line {line}, column \"b\"");
            assert!(error.contains(&place) && error.contains(cause), "{error:?}");
        }
    }

    #[test]
    fn a_missing_column_is_named_with_those_there_are() {
        let error = parse(b"a,b\n1,2\n").unwrap().column("c").unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("a, b"), "{error:?}");
    }
}
