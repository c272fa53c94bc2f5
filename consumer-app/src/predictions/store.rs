//! Stored predictions: runs, their rows, and what was decided about them, in SQLite or PostgreSQL.
//!
//! Blocks: for threads that may wait, never for those of the runtime (see `readers`). One value is one connection;
//! after an error whose remedy is to retry, a new one is opened.
//!
//! # Invariants
//! * (run, key) is stored once, and rows, failures and position move together: a crash loses and doubles nothing.
//! * At most one run of a model is approved, and its state changes only from the one that was looked at.

mod database;
mod decide;
mod error;
mod postgres;
mod read;
mod retain;
mod schema;
mod sqlite;
mod write;

use std::{collections::BTreeMap, path::PathBuf};

use self::{
    database::{Database, Purpose},
    postgres::Postgres,
    sqlite::Sqlite,
};
pub use self::{
    error::{Remedy, StoreError},
    read::{Approved, Found, Movers},
    retain::Pruned,
    write::{Appended, Begun},
};
use super::run::RunId;
use crate::settings::StoreSettings;

/// A connection to where predictions are stored.
pub struct Store {
    database: Box<dyn Database>,
    /// Runs that this connection writes.
    writing: BTreeMap<RunId, write::Writing>,
}

impl Store {
    /// Opens the store; creates its tables where there are none.
    ///
    /// # Errors
    /// [`StoreError::Address`] for what is no store, [`StoreError::Unreachable`] when the database is not there,
    /// [`StoreError::Newer`] for tables of a newer release.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let seconds = settings.statement_timeout_seconds;
        let mut database: Box<dyn Database> = match settings.address() {
            Address::Sqlite(file) => Box::new(Sqlite::open(&file, seconds)?),
            Address::Postgres(url) => {
                let password = settings.password.as_ref().map(|password| password.reveal());
                Box::new(Postgres::open(url, password, settings.ca.as_deref(), seconds)?)
            }
        };
        schema::ensure(database.as_mut())?;
        Ok(Self { database, writing: BTreeMap::new() })
    }

    /// Which database it is, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        self.database.place()
    }

    /// Whether the connection can be used again after an error.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.database.is_usable()
    }

    /// Does all of it or nothing.
    fn transaction<T>(
        &mut self,
        purpose: Purpose,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.database.begin(purpose)?;
        let done = work(self).and_then(|done| self.database.commit().map(|()| done));
        if done.is_err() {
            self.database.roll_back();
        }
        done
    }
}

/// Which database the settings name, for people; never with a password.
///
/// # Errors
/// [`StoreError::Address`] for a URL that cannot be read.
pub fn place(settings: &StoreSettings) -> Result<String, StoreError> {
    match settings.address() {
        Address::Sqlite(file) => Ok(sqlite::place(&file)),
        Address::Postgres(url) => postgres::place_of(url),
    }
}

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address<'s> {
    /// A file.
    Sqlite(PathBuf),
    /// A URL.
    Postgres(&'s str),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.database.place())
    }
}
