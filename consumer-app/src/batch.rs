//! Scoring files offline: CSV or Parquet in, predictions to a table, CSV or Parquet, with one version from start to end.
//!
//! # Invariants
//! * Memory does not grow with the input.

pub mod summary;
