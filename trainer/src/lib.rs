//! Trains models on CSV files and publishes them as versions: dataset, train, evaluate, package, publish.
//!
//! What the data sets are and how each is trained is configuration (see [`settings`]); no data set is known to the
//! code. [`cycle`] reads as the story.
//!
//! In reading order: [`settings`], [`recipe`], [`configuration`]; [`dataset`], [`split`], [`table`], [`describe`],
//! [`prepare`]; [`design`], [`fit`], [`mod@train`]; [`evaluate`], [`score`], [`golden`], [`package`]; [`foreign`],
//! [`folder`]; [`mod@wait`], [`outcome`].

pub mod configuration;
pub mod cycle;
pub mod dataset;
pub mod describe;
pub mod design;
pub mod evaluate;
pub mod fit;
pub mod folder;
pub mod foreign;
pub mod golden;
pub mod outcome;
pub mod package;
pub mod prepare;
pub mod recipe;
pub mod revision;
pub mod score;
pub mod settings;
pub mod split;
pub mod table;
pub mod train;
pub mod wait;
