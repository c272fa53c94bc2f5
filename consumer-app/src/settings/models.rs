//! `[[models]]`: what to serve.

use std::{collections::BTreeSet, path::PathBuf};

use modelcast::{admission::Policy, settings::SettingsError};
use modelcast_protocol::{ModelName, limits::ARTIFACT_MAX_BYTES};
use serde::Deserialize;

use super::source::wrong;

/// Most models of one process: each is fetched and admitted by tasks of its own.
const MODELS_MAX: usize = 256;

/// One of `[[models]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Its name.
    pub name: ModelName,
    /// Larger artifacts are refused.
    #[serde(default = "default_artifact_max")]
    pub artifact_max_bytes: u64,
    /// A file that `modelcast pull` wrote: the last resort, and without Kafka what serves.
    #[serde(default)]
    pub embedded: Option<PathBuf>,
}

impl ModelSettings {
    /// A model that only a flag names.
    pub(crate) fn named(name: ModelName) -> Self {
        Self { name, artifact_max_bytes: ARTIFACT_MAX_BYTES, embedded: None }
    }

    /// Checks a model that stands in `section`.
    pub(crate) fn check(&self, section: &str, has_kafka: bool) -> Result<(), SettingsError> {
        if !(1..=ARTIFACT_MAX_BYTES).contains(&self.artifact_max_bytes) {
            let (key, possible) =
                (format!("{section}.artifact_max_bytes"), format!("from 1 to {ARTIFACT_MAX_BYTES} is"));
            return Err(wrong(&key, &self.artifact_max_bytes, &possible));
        }
        if !has_kafka && self.embedded.is_none() {
            let possible =
                "kafka.bootstrap_servers is empty: without Kafka only a file that `modelcast pull` wrote is";
            return Err(wrong(&format!("{section}.embedded"), &"", possible));
        }
        Ok(())
    }

    /// What of an artifact is admitted.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy { artifact_max_bytes: self.artifact_max_bytes, ..Policy::standard() }
    }
}

/// The models of the file, or those of the flags in their place.
pub(super) fn check(
    file: Vec<ModelSettings>,
    over: Option<Vec<ModelName>>,
    has_kafka: bool,
) -> Result<Vec<ModelSettings>, SettingsError> {
    let models = match over {
        None => file,
        Some(names) => names
            .into_iter()
            .map(|name| {
                let in_file = file.iter().find(|model| model.name == name).cloned();
                in_file.unwrap_or_else(|| ModelSettings::named(name))
            })
            .collect(),
    };
    if models.is_empty() || models.len() > MODELS_MAX {
        let cause = format!("from 1 to {MODELS_MAX} models are: name them in [[models]] or by --model");
        return Err(wrong("models", &models.len(), &cause));
    }
    let mut seen = BTreeSet::new();
    for model in &models {
        if !seen.insert(&model.name) {
            return Err(wrong("models.name", &model.name, "a model named once is"));
        }
        model.check(&format!("models.{}", model.name), has_kafka)?;
    }
    Ok(models)
}

fn default_artifact_max() -> u64 {
    ARTIFACT_MAX_BYTES
}
