//! Parts of Parquet, each a file of its own; the whole takes over their row groups as they are.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use modelcast_models::label;
use parquet::{
    arrow::{ArrowSchemaConverter, ArrowWriter},
    basic::{Compression, ZstdLevel},
    column::writer::ColumnCloseResult,
    file::{
        metadata::ParquetMetaDataReader,
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
};

use super::columns::{FIRST, FileColumns};
use crate::batch::chunk::Chunk;

/// A part that is being written.
pub(super) struct ParquetPart {
    out: ArrowWriter<File>,
    schema: SchemaRef,
    version: i64,
}

impl ParquetPart {
    pub(super) fn create(path: &Path, columns: &FileColumns) -> io::Result<Self> {
        let schema = schema(columns);
        let out = ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), Some(properties()?))?;
        let [_, version, ..] = &columns.same;
        Ok(Self { out, schema, version: version.parse().unwrap_or(i64::MAX) })
    }

    /// Writes the rows of the chunk from this place on.
    pub(super) fn write(&mut self, chunk: &Chunk, from: usize, columns: &FileColumns) -> io::Result<()> {
        let count = chunk.len().saturating_sub(from);
        let same = |text: &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count)))
        };
        let keys = (from..chunk.len()).map(|place| chunk.keys.get(place));
        let [model, _, digest, run] = &columns.same;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(keys)),
            same(model),
            Arc::new(Int64Array::from_value(self.version, count)),
            same(digest),
            same(run),
        ];
        let width = columns.outputs.len().max(1);
        for (place, output) in columns.outputs.iter().enumerate() {
            let values = || chunk.predictions.iter().skip(from * width + place).step_by(width);
            arrays.push(Arc::new(Float64Array::from_iter_values(values().copied())));
            if output.label.is_some() {
                let labels = values().map(|value| label(&output.kind, *value).unwrap_or_default());
                arrays.push(Arc::new(StringArray::from_iter_values(labels)));
            }
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(io::Error::other)?;
        Ok(self.out.write(&batch)?)
    }

    pub(super) fn close(self) -> io::Result<File> {
        Ok(self.out.into_inner()?)
    }
}

/// Puts the row groups of all parts into one file, without decoding them.
pub(super) fn join(parts: &[PathBuf], columns: &FileColumns, to: File) -> io::Result<File> {
    let root = ArrowSchemaConverter::new().convert(&schema(columns))?.root_schema_ptr();
    let mut writer = SerializedFileWriter::new(to, root, Arc::new(properties()?))?;
    for part in parts {
        let part = File::open(part)?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&part)?;
        for group in metadata.row_groups() {
            let mut to = writer.next_row_group()?;
            for column in group.columns() {
                let close = ColumnCloseResult {
                    bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                    rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                to.append_column(&part, close)?;
            }
            to.close()?;
        }
    }
    Ok(writer.into_inner()?)
}

fn properties() -> io::Result<WriterProperties> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        // Those of pages are an index that a joined file would not have.
        .set_statistics_enabled(EnabledStatistics::Chunk);
    Ok(properties.build())
}

fn schema(columns: &FileColumns) -> SchemaRef {
    let mut fields: Vec<Field> = FIRST
        .into_iter()
        .map(|name| {
            let of = if name == "version" { DataType::Int64 } else { DataType::Utf8 };
            Field::new(name, of, false)
        })
        .collect();
    for output in &columns.outputs {
        fields.push(Field::new(&output.name, DataType::Float64, false));
        fields.extend(output.label.as_ref().map(|label| Field::new(label, DataType::Utf8, false)));
    }
    Arc::new(Schema::new(fields))
}
