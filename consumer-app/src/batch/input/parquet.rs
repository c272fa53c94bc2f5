//! Parquet as a stream of record batches, of the columns in question alone.
//!
//! Columns are read by Parquet's own types: what a program noted beside them, such as that a text is a dictionary,
//! does not matter.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow_schema::{DataType, Schema};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    },
};

use super::{super::chunk::CHUNK_ROWS, InputError, RawRows, columns::ColumnsError, watched::Watched};

/// A Parquet file that is being read.
pub(super) struct ParquetInput {
    path: PathBuf,
    file: Watched,
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
        let file = Watched::new(file);
        let metadata = ArrowReaderMetadata::load(&file, options);
        let metadata = metadata.map_err(|error| failed(path, &file, 0, &error))?;
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
        let metadata = self.metadata.clone();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), metadata);
        let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
        let batches = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build();
        let batches = batches.map_err(|error| failed(&self.path, &self.file, 0, &error))?;
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
        let Some(batch) = self.batches.as_mut().and_then(Iterator::next) else { return Ok(0) };
        let batch = batch.and_then(|batch| batch.project(&self.order));
        let batch = batch.map_err(|error| failed(&self.path, &self.file, rows_before, &error))?;
        let count = batch.num_rows();
        *rows = RawRows::Parquet(batch);
        Ok(count)
    }
}

/// The types that `encode` takes.
fn is_readable(of: &DataType) -> bool {
    of.is_integer() || matches!(of, DataType::Float32 | DataType::Float64 | DataType::Utf8)
}

fn failed(path: &Path, file: &Watched, rows: u64, error: &dyn std::error::Error) -> InputError {
    let path = path.to_owned();
    match file.lost() {
        Some(source) => InputError::Unreadable { path, source },
        None => InputError::Broken { path, format: "Parquet", rows, cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use arrow_array::{Float64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn a_file_that_the_system_fails_to_read_is_not_called_broken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.parquet");
        let batch =
            RecordBatch::try_from_iter([("a", Arc::new(Float64Array::from(vec![1.0])) as _)]).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let mut input = ParquetInput::open(&path, File::open(&path).unwrap()).unwrap();
        // Reading a folder is an error of the system.
        input.file = Watched::new(File::open(folder.path()).unwrap());
        input.want(&[0]).unwrap();
        let error = input.read(0, &mut RawRows::default()).unwrap_err();
        assert!(matches!(&error, InputError::Unreadable { path: named, .. } if *named == path), "{error:?}");

        let opened = |path: &Path| ParquetInput::open(path, File::open(path).unwrap()).map(drop);
        assert!(matches!(opened(folder.path()), Err(InputError::Unreadable { .. })));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[bytes.len() / 2..]).unwrap();
        let error = opened(&path).unwrap_err();
        assert!(matches!(&error, InputError::Broken { .. }), "{error:?}");
    }
}
