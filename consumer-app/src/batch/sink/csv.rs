//! Parts of CSV. Only the whole has a header, so that parts can be put together byte by byte.
//!
//! # Invariants
//! * A number is written in the shortest form that reads back to the same bits.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use csv::Writer;
use modelcast_models::label;

use super::columns::FileColumns;
use crate::batch::chunk::Chunk;

const BUFFER_BYTES: usize = 256 * 1024;

/// A part that is being written.
pub(super) struct CsvPart {
    out: Writer<BufWriter<File>>,
    text: String,
}

impl CsvPart {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let out = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        Ok(Self { out: Writer::from_writer(out), text: String::new() })
    }

    /// Writes the rows of the chunk from this place on.
    pub(super) fn write(&mut self, chunk: &Chunk, from: usize, columns: &FileColumns) -> io::Result<()> {
        let width = columns.outputs.len().max(1);
        for (place, predictions) in chunk.predictions.chunks_exact(width).enumerate().skip(from) {
            self.out.write_field(chunk.keys.get(place))?;
            for same in &columns.same {
                self.out.write_field(same)?;
            }
            for (output, value) in columns.outputs.iter().zip(predictions) {
                self.text.clear();
                // Writing into a string cannot fail.
                let _ = write!(self.text, "{value:?}");
                self.out.write_field(&self.text)?;
                if output.label.is_some() {
                    self.out.write_field(label(&output.kind, *value).unwrap_or_default())?;
                }
            }
            self.out.write_record(None::<&[u8]>)?;
        }
        Ok(())
    }

    pub(super) fn close(self) -> io::Result<File> {
        let out = self.out.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Puts parts together below a header.
pub(super) fn join(parts: &[PathBuf], columns: &FileColumns, to: File) -> io::Result<File> {
    let mut header = Writer::from_writer(Vec::new());
    header.write_record(columns.names())?;
    let header = header.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let mut to = to;
    to.write_all(&header)?;
    for part in parts {
        io::copy(&mut File::open(part)?, &mut to)?;
    }
    Ok(to)
}
