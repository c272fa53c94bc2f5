//! From the rows of a file to encoded rows of the model, each cell checked on the way.
//!
//! Uses the encoder that answers requests, so that a row gives the same bits in a batch and by HTTP. Does not predict
//! (see `score`).
//!
//! # Invariants
//! * A row that does not fit is a failure with its cause, and stops nothing.
//! * Spaces around a cell do not count, as in training.

use std::fmt::Write as _;

use arrow_array::{
    Array as _, ArrayRef, RecordBatch, StringArray,
    cast::AsArray as _,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow_schema::DataType;
use csv::ByteRecord;
use modelcast_models::RowEncoder;

use super::{
    chunk::Chunk,
    input::{
        RawChunk, RawRows,
        columns::{Columns, Source},
    },
};

/// Longest key: what an index of any store holds.
const KEY_MAX_BYTES: usize = 512;

/// A cell of a row.
#[derive(Debug, Clone, Copy)]
enum Cell<'a> {
    Empty,
    Text(&'a str),
    Number(f64),
    /// A whole number that may stand for a key or a category too.
    Whole(i128),
}

/// Encodes rows of one input for one model.
#[derive(Debug)]
pub struct ChunkEncoder<'m> {
    columns: Columns,
    encoder: &'m RowEncoder,
    /// The row that is being encoded.
    row: Vec<f64>,
    /// Numbers as texts.
    text: String,
}

impl<'m> ChunkEncoder<'m> {
    /// An encoder for the columns that were found.
    #[must_use]
    pub fn new(columns: Columns, encoder: &'m RowEncoder) -> Self {
        Self { columns, encoder, row: Vec::with_capacity(encoder.width()), text: String::new() }
    }

    /// Encodes the rows of `raw` into `chunk`, in place of those that it holds.
    pub fn encode(&mut self, raw: &RawChunk, chunk: &mut Chunk) {
        chunk.clear();
        chunk.read = raw.read;
        let mut number = raw.first_row;
        match &raw.rows {
            RawRows::Csv { records, count } => {
                for record in records.iter().take(*count) {
                    self.csv_row(number, record, chunk);
                    number += 1;
                }
            }
            RawRows::Parquet(batch) => {
                let batch = Batch::new(batch);
                for row in 0..batch.rows {
                    let key = self.columns.key.map(|_| batch.cell(self.columns.features.len(), row));
                    self.row(number, key, |feature, _| Ok(batch.cell(feature, row)), chunk);
                    number += 1;
                }
            }
        }
        chunk.end = number;
    }

    fn csv_row(&mut self, number: u64, record: &ByteRecord, chunk: &mut Chunk) {
        let key = self.columns.key.map(|place| csv_cell(record, place)).transpose();
        let shown = if let Ok(Some(Cell::Text(key))) = key { key } else { "" };
        if record.len() != self.columns.width {
            let (found, width) = (record.len(), self.columns.width);
            chunk.fail(
                number,
                shown,
                &format!("the row has {found} cells, and the header names {width} columns"),
            );
            return;
        }
        match key {
            Ok(key) => self.row(number, key, |_, source| csv_cell(record, source.place), chunk),
            Err(cause) => chunk.fail(number, shown, &cause),
        }
    }

    fn row<'c>(
        &mut self,
        number: u64,
        key: Option<Cell<'c>>,
        cell: impl Fn(usize, Source) -> Result<Cell<'c>, String>,
        chunk: &mut Chunk,
    ) {
        self.text.clear();
        // Writing into a string cannot fail.
        let _ = match key {
            None => write!(self.text, "{number}"),
            Some(Cell::Text(key)) => self.text.write_str(key),
            Some(Cell::Whole(key)) => write!(self.text, "{key}"),
            Some(Cell::Number(key)) => write!(self.text, "{key:?}"),
            Some(Cell::Empty) => Ok(()),
        };
        let fits = match self.text.len() {
            0 => Err("the key is empty".to_owned()),
            1..=KEY_MAX_BYTES if !self.text.contains('\0') => Ok(()),
            1..=KEY_MAX_BYTES => Err("the key has a zero byte in it".to_owned()),
            long => Err(format!("the key has {long} bytes, and at most {KEY_MAX_BYTES} are kept")),
        };
        match fits.and_then(|()| self.values(cell)) {
            Ok(()) => {
                chunk.numbers.push(number);
                chunk.keys.push(&self.text);
                chunk.values.extend_from_slice(&self.row);
            }
            Err(cause) => chunk.fail(number, &self.text, &cause),
        }
    }

    fn values<'c>(&mut self, cell: impl Fn(usize, Source) -> Result<Cell<'c>, String>) -> Result<(), String> {
        self.row.clear();
        for (feature, source) in self.columns.features.iter().enumerate() {
            let value = match cell(feature, *source)? {
                Cell::Empty => source.missing.ok_or_else(|| self.wrong(feature, "is empty"))?,
                Cell::Text(text) if source.is_number => {
                    let number = text.parse().map_err(|_| {
                        let start: String = text.chars().take(60).collect();
                        self.wrong(feature, &format!("is {start:?}, which is not a number"))
                    })?;
                    self.number(feature, number)?
                }
                Cell::Text(text) => self.category(feature, text)?,
                Cell::Number(number) => self.number(feature, number)?,
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "the nearest number, as a parsed text would be"
                )]
                Cell::Whole(whole) if source.is_number => self.number(feature, whole as f64)?,
                Cell::Whole(whole) => self.category(feature, &whole.to_string())?,
            };
            self.row.push(value);
        }
        Ok(())
    }

    fn number(&self, feature: usize, value: f64) -> Result<f64, String> {
        self.encoder.encode_number(feature, value).map_err(|error| error.to_string())
    }

    fn category(&self, feature: usize, value: &str) -> Result<f64, String> {
        self.encoder.encode_category(feature, value).map_err(|error| error.to_string())
    }

    fn wrong(&self, feature: usize, cause: &str) -> String {
        let name = self.encoder.schema().features.get(feature).map(|feature| feature.name.as_str());
        format!("feature {:?} {cause}", name.unwrap_or_default())
    }
}

fn csv_cell(record: &ByteRecord, place: usize) -> Result<Cell<'_>, String> {
    let bytes = record.get(place).unwrap_or_default();
    match std::str::from_utf8(bytes).map(str::trim) {
        Ok("") => Ok(Cell::Empty),
        Ok(text) => Ok(Cell::Text(text)),
        Err(_) => Err(format!("cell {} is not UTF-8", place + 1)),
    }
}

/// The columns of a record batch by their types.
struct Batch<'a> {
    columns: Vec<Typed<'a>>,
    rows: usize,
}

enum Typed<'a> {
    Text(&'a StringArray),
    Other(&'a ArrayRef),
}

impl<'a> Batch<'a> {
    fn new(batch: &'a RecordBatch) -> Self {
        let typed = |column: &'a ArrayRef| match column.as_string_opt::<i32>() {
            Some(texts) => Typed::Text(texts),
            None => Typed::Other(column),
        };
        Self { columns: batch.columns().iter().map(typed).collect(), rows: batch.num_rows() }
    }

    fn cell(&self, place: usize, row: usize) -> Cell<'a> {
        match self.columns.get(place) {
            Some(Typed::Text(texts)) if texts.is_valid(row) => match texts.value(row).trim() {
                "" => Cell::Empty,
                text => Cell::Text(text),
            },
            Some(Typed::Other(column)) if column.is_valid(row) => number(column, row),
            _ => Cell::Empty,
        }
    }
}

/// A number of a type that `input` lets pass.
fn number(column: &ArrayRef, row: usize) -> Cell<'static> {
    match column.data_type() {
        DataType::Float64 => Cell::Number(column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Cell::Number(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Int64 => Cell::Whole(column.as_primitive::<Int64Type>().value(row).into()),
        DataType::Int32 => Cell::Whole(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int16 => Cell::Whole(column.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int8 => Cell::Whole(column.as_primitive::<Int8Type>().value(row).into()),
        DataType::UInt64 => Cell::Whole(column.as_primitive::<UInt64Type>().value(row).into()),
        DataType::UInt32 => Cell::Whole(column.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt16 => Cell::Whole(column.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt8 => Cell::Whole(column.as_primitive::<UInt8Type>().value(row).into()),
        _ => Cell::Empty,
    }
}
