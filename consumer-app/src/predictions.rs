//! Stored predictions: kept by the batch job, inspected and decided by people, served by key.
//!
//! In reading order: [`run`] says what a run is; [`store`] keeps runs in SQLite or PostgreSQL;
//! [`inspection`] and `histogram` are what somebody looks at, [`verbs`] the command line; [`readers`] ask the store
//! for [`routes`] and [`pages`], and [`refusal`] is every way not to answer.

mod histogram;
pub mod inspection;
pub mod pages;
pub mod readers;
pub mod refusal;
pub mod routes;
pub mod run;
pub mod store;
pub mod verbs;
