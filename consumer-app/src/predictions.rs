//! Stored predictions: kept by the batch job, inspected and decided by people, served by key.
//!
//! In reading order: [`run`] says what a run is; [`store`] keeps runs in SQLite or PostgreSQL.

pub mod run;
pub mod store;
