//! The [`Model`] trait over a feature schema, and the model formats; no Kafka, no clock, no files.
//!
//! A [`RowEncoder`] checks named values against a schema and turns them into rows of numbers. A [`Model`] turns rows
//! into predictions. A [`Decoder`] makes a model from an artifact, and [`Decoders`] is the open list of them: an
//! application adds its own formats beside [`glm`]. [`recompute`] holds a model to its golden rows.
//!
//! In reading order: [`row`], [`model`], [`decoder`], [`glm`], [`check`], [`prediction`]; [`codec`] reads and writes an
//! application's records.
//!
//! # Invariants
//! * A row is as wide as the schema has features; numbers stand as they are, categories as their index.
//! * Bytes and values from outside end in an error that names what is wrong, never in a panic.
//! * A single prediction and the same row in a batch agree bit for bit.
//!
//! # Example
//! A model of house prices, built by hand, predicts one row:
//! ```
//! use std::sync::Arc;
//!
//! use modelcast_models::{GeneralizedLinearModel, Link, Model, RowEncoder, Value};
//! use modelcast_protocol::schema::{
//!     Categorical, Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind,
//! };
//!
//! let area = Numeric { unit: Some("m²".into()), ..Numeric::default() };
//! let zone = Categorical { categories: vec!["town".into(), "farm".into()], ..Categorical::default() };
//! let feature = |name: &str, kind| Feature { name: name.into(), title: None, kind };
//! let price = OutputKind::Numeric { unit: Some("USD".into()) };
//! let schema = Arc::new(FeatureSchema {
//!     features: vec![
//!         feature("area", FeatureKind::Numeric(area)),
//!         feature("zone", FeatureKind::Categorical(zone)),
//!     ],
//!     outputs: vec![Output { name: "price".into(), title: None, kind: price }],
//! });
//! let model = GeneralizedLinearModel {
//!     link: Link::Identity,
//!     intercept: 10_000.0,
//!     numeric: vec![("area".into(), 1_500.0)],
//!     categorical: vec![("zone".into(), vec![20_000.0, -5_000.0])], // town, farm
//! }
//! .bind(&schema)?;
//!
//! let mut row = Vec::new();
//! let values = [("area", Value::Number(100.0)), ("zone", Value::Category("town"))];
//! RowEncoder::new(schema).encode_row(values, &mut row)?;
//! let mut price = [0.0];
//! model.predict(&row, &mut price)?;
//! assert_eq!(price, [180_000.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod check;
pub mod codec;
pub mod decoder;
pub mod glm;
pub mod model;
mod nearest;
pub mod prediction;
pub mod row;
mod unusual;

pub use check::{GoldenMismatch, recompute};
pub use decoder::{DecodeContext, DecodeError, Decoder, Decoders};
pub use glm::{BoundGlm, GeneralizedLinearModel, GlmBuilder, GlmDecoder, GlmError, Link};
pub use model::{Model, PredictError};
pub use prediction::label;
pub use row::{RowEncoder, RowError, Value, ValueError};
pub use unusual::Unusual;
