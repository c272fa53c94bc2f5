//! Reads the configuration file: from its text to checked recipes, or to an error with file, line, key and value.
//!
//! Does not say what a recipe may be (see `recipe`) and does not read flags (see `cli`).
//!
//! # Invariants
//! * Every data set of the file is checked at once, also the ones that this run does not use.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use modelcast::settings::{self, KafkaSettings, KeySettings, SettingsError};
use thiserror::Error;
use toml::{Spanned, de::DeValue};

use crate::{
    recipe::{Recipe, WrongSetting},
    settings::{PublishSettings, Settings},
};

/// The configuration, checked.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// Whom to trust, and as whom to sign.
    pub keys: KeySettings,
    /// What every publish says.
    pub publish: PublishSettings,
    /// How each data set is trained, by name.
    pub recipes: BTreeMap<String, Recipe>,
}

/// What is wrong with the configuration. The program ends with exit code 64.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// Not readable, no TOML, or an unknown key or a wrong type.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Read, and not possible.
    #[error("{}, line {line}: {key} = {value}: {cause}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The whole key.
        key: String,
        /// The value as it stands there; `(not given)` where it does not.
        value: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No such data set.
    #[error("{} has no data set {name:?}; it has: {known}", path.display())]
    NoDataset {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}

impl Configuration {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigurationError::Settings`] and [`ConfigurationError::Value`] for the first thing wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let raw: Settings = settings::load(path)?;
        let mut recipes = BTreeMap::new();
        for (name, dataset) in raw.datasets {
            let recipe = Recipe::check(&name, dataset).map_err(|wrong| locate(path, wrong))?;
            recipes.insert(name, recipe);
        }
        Ok(Self { kafka: raw.kafka, keys: raw.keys, publish: raw.publish, recipes })
    }

    /// How a data set is trained.
    ///
    /// # Errors
    /// [`ConfigurationError::NoDataset`] when the file has no such section.
    pub fn recipe(&self, path: &Path, name: &str) -> Result<&Recipe, ConfigurationError> {
        self.recipes.get(name).ok_or_else(|| ConfigurationError::NoDataset {
            path: path.to_owned(),
            name: name.to_owned(),
            known: self.recipes.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }
}

/// Finds the line of a setting by parsing the file once more, with places this time.
fn locate(path: &Path, wrong: WrongSetting) -> ConfigurationError {
    let text = fs::read_to_string(path).unwrap_or_default();
    let (span, whole) = find(&text, &wrong.key).unwrap_or((0..0, false));
    let line = text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
    let value = if whole { text.get(span).map(shorten) } else { None };
    ConfigurationError::Value {
        path: path.to_owned(),
        line,
        key: wrong.key.join("."),
        value: value.unwrap_or_else(|| "(not given)".to_owned()),
        cause: wrong.cause,
    }
}

/// Place of the value of a key, and whether it is that key's; else the place of the nearest table around it.
fn find(text: &str, key: &[String]) -> Option<(std::ops::Range<usize>, bool)> {
    let table = toml::de::DeTable::parse(text).ok()?;
    let root = DeValue::Table(table.get_ref().clone());
    let mut here: &DeValue<'_> = &root;
    let mut span = table.span();
    for part in key {
        let next: Option<&Spanned<DeValue<'_>>> =
            part.parse::<usize>().ok().and_then(|index| here.get(index)).or_else(|| here.get(part.as_str()));
        let Some(next) = next else { return Some((span, false)) };
        span = next.span();
        here = next.get_ref();
    }
    Some((span, true))
}

fn shorten(value: &str) -> String {
    let line = value.lines().next().unwrap_or_default();
    if line.chars().count() > 60 {
        line.chars().take(60).chain("…".chars()).collect()
    } else {
        line.to_owned()
    }
}
