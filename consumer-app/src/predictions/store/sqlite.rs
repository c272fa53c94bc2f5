//! SQLite: a file, with a write-ahead log so that readers and the one writer do not wait for each other.
//!
//! # Invariants
//! * What was committed is on disk (`synchronous=FULL`): a loss of power takes back nothing that was said to be done.
//! * A statement ends after the timeout, and waits for another writer no longer than that.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, ErrorCode,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    database::{Database, Inserted, Purpose, Row, Value},
    error::StoreError,
};
use crate::predictions::run::PredictionRow;

/// Steps of SQLite's machine between two looks at the clock: some 10 ms.
const STEPS_PER_LOOK: i32 = 100_000;
const INSERT: &str = "INSERT INTO predictions (run_number, key, output, value) VALUES (?1, ?2, ?3, ?4)";

pub(super) struct Sqlite {
    connection: Connection,
    place: String,
    seconds: u64,
    opened: Instant,
    /// Milliseconds after `opened` at which the running statement is interrupted; 0 for never.
    deadline: Arc<AtomicU64>,
    usable: bool,
}

impl Sqlite {
    pub(super) fn open(file: &Path, seconds: u64) -> Result<Self, StoreError> {
        let place = place(file);
        let unreachable = |cause: String| StoreError::Unreachable { place: place.clone(), cause };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(|error| unreachable(error.to_string()))?;
        }
        let connection = Connection::open(file).map_err(|error| unreachable(error.to_string()))?;
        let (opened, deadline) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut sqlite = Self { connection, place, seconds, opened, deadline, usable: true };
        sqlite.set_up().map_err(|error| sqlite.failed(&error))?;
        Ok(sqlite)
    }

    fn set_up(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(Duration::from_secs(self.seconds))?;
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "foreign_keys", true)?;
        let (opened, deadline) = (self.opened, Arc::clone(&self.deadline));
        let is_late = move || {
            let deadline = deadline.load(Relaxed);
            deadline > 0 && milliseconds(opened.elapsed()) > deadline
        };
        self.connection.progress_handler(STEPS_PER_LOOK, Some(is_late))
    }

    /// Does something within the timeout.
    fn within_time<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let deadline = self.opened.elapsed().saturating_add(Duration::from_secs(self.seconds));
        self.deadline.store(milliseconds(deadline), Relaxed);
        let done = work(&self.connection);
        self.deadline.store(0, Relaxed);
        done.map_err(|error| self.failed(&error))
    }

    fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        let place = self.place.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Slow { place, seconds: self.seconds }
            }
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed,
            ) => {
                self.usable = false;
                StoreError::Unreachable { place, cause: error.to_string() }
            }
            _ => StoreError::Database { place, cause: error.to_string() },
        }
    }

    fn insert_all(&self, number: i64, rows: &[&PredictionRow]) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(INSERT)?;
        for row in rows {
            for (output, value) in (0_i64..).zip(&row.values) {
                // SQLite keeps no sign of zero; so that both databases give the same back, neither does.
                insert.execute((number, row.key.as_str(), output, value + 0.0))?;
            }
        }
        Ok(())
    }
}

/// The file, for people.
pub(super) fn place(file: &Path) -> String {
    format!("SQLite {}", file.display())
}

impl Database for Sqlite {
    fn place(&self) -> &str {
        &self.place
    }

    fn has_tables(&mut self) -> Result<bool, StoreError> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'prediction_tables'";
        Ok(!self.query(sql, &[])?.is_empty())
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let changed = self.within_time(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.execute(rusqlite::params_from_iter(values))
        })?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.within_time(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let width = statement.column_count();
            let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
                (0..width)
                    .map(|column| row.get_ref(column).map(value))
                    .collect::<Result<_, _>>()
                    .map(Row::new)
            })?;
            rows.collect()
        })
    }

    fn begin(&mut self, purpose: Purpose) -> Result<(), StoreError> {
        let sql = match purpose {
            Purpose::Write => "BEGIN IMMEDIATE",
            Purpose::Snapshot => "BEGIN DEFERRED",
        };
        self.execute(sql, &[]).map(drop)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.execute("COMMIT", &[]).map(drop)
    }

    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() && self.execute("ROLLBACK", &[]).is_err() {
            self.usable = false;
        }
    }

    fn insert(&mut self, number: i64, rows: &[&PredictionRow]) -> Result<Inserted, StoreError> {
        let failed = |sqlite: &mut Self, error: &rusqlite::Error| Err(sqlite.failed(error));
        if let Err(error) = self.connection.execute_batch("SAVEPOINT bulk") {
            return failed(self, &error);
        }
        match self.insert_all(number, rows) {
            Ok(()) => match self.connection.execute_batch("RELEASE bulk") {
                Ok(()) => Ok(Inserted::All),
                Err(error) => failed(self, &error),
            },
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                match self.connection.execute_batch("ROLLBACK TO bulk; RELEASE bulk") {
                    Ok(()) => Ok(Inserted::None),
                    Err(error) => failed(self, &error),
                }
            }
            Err(error) => failed(self, &error),
        }
    }

    fn dialect(&self, definition: &str) -> String {
        let words = [
            ("SERIAL", "INTEGER PRIMARY KEY AUTOINCREMENT"),
            ("WHOLE", "INTEGER"),
            ("NUMBER", "REAL"),
            ("CLUSTERED", "STRICT, WITHOUT ROWID"),
            ("PLAIN", "STRICT"),
        ];
        words.iter().fold(definition.to_owned(), |text, (word, ours)| text.replace(word, ours))
    }

    fn lock(&self) -> &'static str {
        "" // whoever began a transaction that writes is alone already
    }

    fn is_usable(&self) -> bool {
        self.usable && self.connection.is_autocommit()
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Whole(whole) => ValueRef::Integer(*whole),
            Self::Number(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Integer(whole) => Value::Whole(whole),
        ValueRef::Real(number) => Value::Number(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
