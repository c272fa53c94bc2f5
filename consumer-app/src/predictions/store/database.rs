//! What the store needs of a database: statements with values, transactions, and rows in bulk.
//!
//! The statements are the same for all databases: `?1` stands for the first value, whole numbers are 64 bits wide, and
//! the order of texts is that of their bytes.

use super::error::StoreError;
use crate::predictions::run::PredictionRow;

/// One value of a statement or a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Whole(i64),
    Number(f64),
    Text(String),
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading and writing, with nobody else writing in between (SQLite) or to the rows locked (PostgreSQL).
    Write,
    /// Reading one state, however many statements it takes.
    Snapshot,
}

/// What became of rows inserted in bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// All are in.
    All,
    /// None is in, since some key is there already or stands there twice; the transaction goes on.
    None,
}

/// A connection to a database.
pub(super) trait Database: Send {
    /// Which one, for people.
    fn place(&self) -> &str;
    /// Whether the tables, of whatever version, are there.
    fn has_tables(&mut self) -> Result<bool, StoreError>;
    /// Runs a statement; gives the number of rows it changed.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError>;
    /// Runs a statement and gives its rows.
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError>;
    /// Begins a transaction.
    fn begin(&mut self, purpose: Purpose) -> Result<(), StoreError>;
    /// Makes what was done in it last.
    fn commit(&mut self) -> Result<(), StoreError>;
    /// Forgets what was done in it. Where that fails the connection is lost, and the database forgets it by itself.
    fn roll_back(&mut self);
    /// Inserts the predictions of a run within a transaction.
    fn insert(&mut self, number: i64, rows: &[&PredictionRow]) -> Result<Inserted, StoreError>;
    /// The tables' definition for this database, from the one for all.
    fn dialect(&self, definition: &str) -> String;
    /// What follows a SELECT whose rows the transaction is about to change.
    fn lock(&self) -> &'static str;
    /// Whether the connection can be used again.
    fn is_usable(&self) -> bool;
}

/// A row of an answer, read value by value in the order of the statement's columns.
#[derive(Debug)]
pub(super) struct Row(std::vec::IntoIter<Value>);

/// The column whose value is not what this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misread(pub(super) &'static str);

impl Misread {
    pub(super) fn at(self, place: &str) -> StoreError {
        StoreError::Unexpected { place: place.to_owned(), what: self.0 }
    }
}

impl Row {
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    pub(super) fn text(&mut self, column: &'static str) -> Result<String, Misread> {
        self.maybe_text(column)?.ok_or(Misread(column))
    }

    pub(super) fn maybe_text(&mut self, column: &'static str) -> Result<Option<String>, Misread> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(Misread(column)),
        }
    }

    /// A text in a form of its own.
    pub(super) fn parsed<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Misread> {
        parse(&self.text(column)?).ok_or(Misread(column))
    }

    pub(super) fn number(&mut self, column: &'static str) -> Result<f64, Misread> {
        match self.0.next() {
            Some(Value::Number(number)) => Ok(number),
            _ => Err(Misread(column)),
        }
    }

    pub(super) fn whole(&mut self, column: &'static str) -> Result<i64, Misread> {
        match self.0.next() {
            Some(Value::Whole(whole)) => Ok(whole),
            _ => Err(Misread(column)),
        }
    }

    /// A count or a time.
    pub(super) fn count(&mut self, column: &'static str) -> Result<u64, Misread> {
        u64::try_from(self.whole(column)?).map_err(|_| Misread(column))
    }

    pub(super) fn maybe_count(&mut self, column: &'static str) -> Result<Option<u64>, Misread> {
        match self.0.next() {
            Some(Value::Whole(whole)) => u64::try_from(whole).map(Some).map_err(|_| Misread(column)),
            Some(Value::Null) => Ok(None),
            _ => Err(Misread(column)),
        }
    }
}

impl From<u64> for Value {
    /// Counts, sizes and times of ours end far below what a signed number holds.
    fn from(count: u64) -> Self {
        Self::Whole(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
