//! CSV as a stream of records.
//!
//! A row with another number of cells than the header is read all the same: `encode` fails that row alone.
//!
//! # Invariants
//! * A record is at most `RECORD_MAX_BYTES` long, and a chunk has at most some records more than `CHUNK_MAX_BYTES`: a
//!   quote that nobody closes does not bring the whole file into memory.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use thiserror::Error;

use super::{super::chunk::CHUNK_ROWS, InputError, RawRows};

/// Longest row: more than any table has, and little memory.
const RECORD_MAX_BYTES: u64 = 1024 * 1024;
/// A chunk ends after so many bytes, also before it has all its rows.
const CHUNK_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Records above this size give their memory back.
const RECORD_KEPT_BYTES: usize = 16 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

/// A CSV file that is being read.
pub(super) struct CsvInput {
    path: PathBuf,
    size_bytes: u64,
    header: Vec<String>,
    reader: Reader<Capped>,
}

/// Hands out at most so many bytes before somebody allows more.
struct Capped {
    file: File,
    allowed: u64,
}

/// What is wrong with the file, where all other errors of reading are of the system.
#[derive(Debug, Error)]
#[error("the next row is longer than {RECORD_MAX_BYTES} bytes; is a quote not closed?")]
struct TooLong;

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.allowed = match self.allowed.checked_sub(read as u64) {
            Some(left) => left,
            None => return Err(io::Error::other(TooLong)),
        };
        Ok(read)
    }
}

impl CsvInput {
    pub(super) fn open(path: &Path, file: File, delimiter: u8) -> Result<Self, InputError> {
        let unreadable = |source| InputError::Unreadable { path: path.to_owned(), source };
        let size_bytes = file.metadata().map_err(unreadable)?.len();
        let capped = Capped { file, allowed: allowance() };
        let mut builder = ReaderBuilder::new();
        let mut reader =
            builder.delimiter(delimiter).flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(capped);
        let names = reader.headers().map_err(|error| failed(path, 0, error))?;
        let header = names.iter().map(|name| name.trim().to_owned()).collect();
        Ok(Self { path: path.to_owned(), size_bytes, header, reader })
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.reader.position().byte()
    }

    /// Reads the next rows over those that `rows` holds; gives how many.
    pub(super) fn read(&mut self, rows_before: u64, rows: &mut RawRows) -> Result<usize, InputError> {
        if !matches!(rows, RawRows::Csv { .. }) {
            *rows = RawRows::default();
        }
        let RawRows::Csv { records, count } = rows else { return Ok(0) };
        *count = 0;
        let mut bytes = 0;
        while *count < CHUNK_ROWS && bytes < CHUNK_MAX_BYTES {
            if records.len() == *count {
                records.push(ByteRecord::new());
            }
            let Some(record) = records.get_mut(*count) else { break };
            if record.as_slice().len() > RECORD_KEPT_BYTES {
                *record = ByteRecord::new();
            }
            self.reader.get_mut().allowed = allowance();
            let rows_read = rows_before + *count as u64;
            if !self.reader.read_byte_record(record).map_err(|error| failed(&self.path, rows_read, error))? {
                break;
            }
            bytes += record.as_slice().len();
            *count += 1;
        }
        Ok(*count)
    }
}

/// What the reader may take in for one record: its buffer holds the beginnings of further ones.
fn allowance() -> u64 {
    RECORD_MAX_BYTES + BUFFER_BYTES as u64
}

fn failed(path: &Path, rows: u64, error: csv::Error) -> InputError {
    let (path, cause) = (path.to_owned(), error.to_string());
    match error.into_kind() {
        ErrorKind::Io(source) if !source.get_ref().is_some_and(|cause| cause.is::<TooLong>()) => {
            InputError::Unreadable { path, source }
        }
        _ => InputError::Broken { path, format: "CSV", rows, cause },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_the_system_fails_to_read_is_not_called_broken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.csv");
        fs::write(&path, "a,b\n1,2\n").unwrap();
        let mut input = CsvInput::open(&path, File::open(&path).unwrap(), b',').unwrap();
        let mut rows = RawRows::default();
        // What was read ahead is taken first; reading a folder is an error of the system.
        input.reader.get_mut().file = File::open(folder.path()).unwrap();
        let error = input.read(0, &mut rows).unwrap_err();
        assert!(matches!(&error, InputError::Unreadable { path: named, .. } if *named == path), "{error:?}");
        let opened = CsvInput::open(folder.path(), File::open(folder.path()).unwrap(), b',');
        assert!(matches!(opened, Err(InputError::Unreadable { .. })));
    }
}
