//! The tables, and their version.
//!
//! One definition for both databases, in words that each puts in its own (see `Database::dialect`); others read these
//! tables by SQL, so docs/predictions.md describes them.
//!
//! # Invariants
//! * Tables of a newer version are refused, and left alone.
//! * Two processes that create the tables at once end with one set of them.

use super::{
    database::{Database, Misread, Purpose, Value},
    error::StoreError,
};

/// The version that this release writes.
pub(super) const VERSION: i64 = 1;

/// The tables of version 1. `SERIAL`, `WHOLE`, `NUMBER`, `TEXT` and `CLUSTERED` are replaced by what the database
/// calls them; there is one statement between two semicolons.
const TABLES: &str = "
CREATE TABLE prediction_runs (
    run_number SERIAL,
    run TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    version WHOLE NOT NULL,
    digest TEXT NOT NULL,
    generation WHOLE NOT NULL,
    input_name TEXT NOT NULL,
    input_size_bytes WHOLE NOT NULL,
    input_modified_at_unix_ms WHOLE NOT NULL,
    input_digest TEXT NOT NULL,
    outputs TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('running', 'waiting', 'approved', 'superseded', 'rejected', 'abandoned', 'pruned')),
    position WHOLE NOT NULL,
    rows_stored WHOLE NOT NULL,
    rows_failed WHOLE NOT NULL,
    started_at_unix_ms WHOLE NOT NULL,
    finished_at_unix_ms WHOLE,
    cause TEXT,
    summary TEXT
) PLAIN;
CREATE UNIQUE INDEX prediction_runs_approved ON prediction_runs (model) WHERE state = 'approved';
CREATE INDEX prediction_runs_of_model ON prediction_runs (model, run_number);
CREATE TABLE predictions (
    run_number WHOLE NOT NULL REFERENCES prediction_runs (run_number),
    key TEXT NOT NULL,
    output WHOLE NOT NULL,
    value NUMBER NOT NULL,
    PRIMARY KEY (run_number, key, output)
) CLUSTERED;
CREATE TABLE prediction_failures (
    run_number WHOLE NOT NULL REFERENCES prediction_runs (run_number),
    input_row WHOLE NOT NULL,
    key TEXT,
    cause TEXT NOT NULL,
    PRIMARY KEY (run_number, input_row)
) CLUSTERED;
CREATE TABLE prediction_decisions (
    run_number WHOLE NOT NULL REFERENCES prediction_runs (run_number),
    decision WHOLE NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('approved', 'rejected')),
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_unix_ms WHOLE NOT NULL,
    PRIMARY KEY (run_number, decision)
) CLUSTERED;
CREATE TABLE prediction_tables (version WHOLE NOT NULL) PLAIN
";

/// Creates the tables, or makes sure that this release knows them.
pub(super) fn ensure(database: &mut dyn Database) -> Result<(), StoreError> {
    if let Some(found) = found(database)? {
        return check(database, found);
    }
    database.begin(Purpose::Write)?;
    let done = create(database);
    match done {
        Ok(()) => database.commit(),
        Err(error) => {
            database.roll_back();
            // Somebody else may have been faster.
            match found(database)? {
                Some(found) => check(database, found),
                None => Err(error),
            }
        }
    }
}

fn create(database: &mut dyn Database) -> Result<(), StoreError> {
    if let Some(found) = found(database)? {
        return check(database, found);
    }
    let tables = database.dialect(TABLES);
    for statement in tables.split(';') {
        database.execute(statement.trim(), &[])?;
    }
    database.execute("INSERT INTO prediction_tables (version) VALUES (?1)", &[Value::Whole(VERSION)])?;
    Ok(())
}

/// The version of the tables that are there.
fn found(database: &mut dyn Database) -> Result<Option<i64>, StoreError> {
    if !database.has_tables()? {
        return Ok(None);
    }
    let rows = database.query("SELECT version FROM prediction_tables", &[])?;
    let version = rows.into_iter().next().map_or(Err(Misread("version")), |mut row| row.whole("version"));
    version.map(Some).map_err(|misread| misread.at(database.place()))
}

fn check(database: &dyn Database, found: i64) -> Result<(), StoreError> {
    if found == VERSION {
        return Ok(());
    }
    Err(StoreError::Newer { place: database.place().to_owned(), found, known: VERSION })
}
