//! Parquet as a stream of record batches, of the columns in question alone.
//!
//! Columns are read by Parquet's own types: what a program noted beside them, such as that a text is a dictionary,
//! does not matter.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow_schema::{DataType, Schema};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
};

use super::{super::chunk::CHUNK_ROWS, InputError, RawRows, columns::ColumnsError};

/// A Parquet file that is being read.
pub(super) struct ParquetInput {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    header: Vec<String>,
    /// Made when it is known which columns are wanted.
    batches: Option<ParquetRecordBatchReader>,
    /// Where each wanted column is in a batch.
    order: Vec<usize>,
}

impl ParquetInput {
    pub(super) fn open(path: &Path, file: File) -> Result<Self, InputError> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| broken(path, 0, &error))?;
        let header = metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
        Ok(Self { path: path.to_owned(), file, metadata, header, batches: None, order: Vec::new() })
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Begins to read these columns: places in the header.
    pub(super) fn want(&mut self, places: &[usize]) -> Result<(), InputError> {
        let schema: &Schema = self.metadata.schema();
        for place in places {
            if let Some(field) = schema.fields().get(*place).filter(|field| !is_readable(field.data_type())) {
                let (column, found) = (field.name().clone(), field.data_type().to_string());
                let source = Box::new(ColumnsError::Type { column, found });
                return Err(InputError::Columns { path: self.path.clone(), source });
            }
        }
        let path = self.path.clone();
        let failed = |error: ParquetError| broken(&path, 0, &error);
        let file = self.file.try_clone().map_err(|error| failed(error.into()))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
        let batches = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build().map_err(failed)?;
        // A projection gives the columns in the file's order, each once.
        let mut ascending = places.to_vec();
        ascending.sort_unstable();
        ascending.dedup();
        self.order = places.iter().filter_map(|place| ascending.binary_search(place).ok()).collect();
        self.batches = Some(batches);
        Ok(())
    }

    /// Reads the next rows in place of those that `rows` holds; gives how many.
    pub(super) fn read(&mut self, rows_before: u64, rows: &mut RawRows) -> Result<usize, InputError> {
        let failed = |error: &dyn std::error::Error| InputError::Broken {
            path: self.path.clone(),
            format: "Parquet",
            rows: rows_before,
            cause: error.to_string(),
        };
        let Some(batch) = self.batches.as_mut().and_then(Iterator::next) else { return Ok(0) };
        let batch = batch.map_err(|error| failed(&error))?;
        let batch = batch.project(&self.order).map_err(|error| failed(&error))?;
        let count = batch.num_rows();
        *rows = RawRows::Parquet(batch);
        Ok(count)
    }
}

/// The types that `encode` takes.
fn is_readable(of: &DataType) -> bool {
    of.is_integer() || matches!(of, DataType::Float32 | DataType::Float64 | DataType::Utf8)
}

fn broken(path: &Path, rows: u64, error: &ParquetError) -> InputError {
    InputError::Broken { path: path.to_owned(), format: "Parquet", rows, cause: error.to_string() }
}
