//! Settings of a batch: what the file says, what environment and flags put over it, and what that means.
//!
//! # Invariants
//! * An unknown key and a value of the wrong form are named with file and line, an impossible value with its key.
//! * Each effective value is known with its source, for the start log; secrets are never shown.

mod input;
mod output;
mod run;

use std::path::{Path, PathBuf};

use modelcast::settings::{KafkaSettings, KeySettings, SettingsError, load};
use modelcast_protocol::{InstanceName, ModelName, Namespace, desired::Labels, limits::ARTIFACT_MAX_BYTES};
use serde::Deserialize;

pub use self::{
    input::{InputSection, InputSettings},
    output::{OutputSection, OutputSettings, To},
    run::{Approve, FailuresMax, RunSection, RunSettings, When, WhenWord},
};
use crate::settings::{
    HttpSettings, InstanceSection, ModelSettings, Source, StoreSettings, instance, predictions,
    source::{Shown, some, wrong},
};

/// The settings file, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// Whose signatures are trusted.
    pub keys: KeySettings,
    /// This process in the fleet.
    pub instance: InstanceSection,
    /// The model that scores.
    pub model: Option<ModelSettings>,
    /// What is scored.
    pub input: InputSection,
    /// Where predictions go.
    pub output: OutputSection,
    /// When and how.
    pub run: RunSection,
    /// The store of predictions.
    pub predictions: StoreSettings,
}

/// What environment and flags put over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Of `kafka.bootstrap_servers`.
    pub kafka: Option<(String, Source)>,
    /// Of `kafka.namespace`.
    pub namespace: Option<(Namespace, Source)>,
    /// Of `input.path`; the format is then the one that its name says.
    pub input: Option<(PathBuf, Source)>,
    /// Of the whole of `[output]`.
    pub output: Option<(PathBuf, Source)>,
    /// Of `input.key`.
    pub key: Option<(String, Source)>,
    /// Of `model.name`.
    pub model: Option<(ModelName, Source)>,
    /// `run.when` is `once`.
    pub once: Option<Source>,
    /// Of `instance.name`.
    pub instance: Option<(InstanceName, Source)>,
    /// Of `instance.state`.
    pub state: Option<(PathBuf, Source)>,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// Whose signatures are trusted.
    pub keys: KeySettings,
    /// Name in the fleet.
    pub instance: InstanceName,
    /// Labels.
    pub labels: Labels,
    /// Folder for what must outlive the process.
    pub state: PathBuf,
    /// The model that scores.
    pub model: ModelSettings,
    /// What is scored.
    pub input: InputSettings,
    /// Where predictions go.
    pub output: OutputSettings,
    /// When and how.
    pub run: RunSettings,
    /// The store of predictions.
    pub predictions: StoreSettings,
    /// Each effective value: key, value, source.
    pub shown: Vec<(String, String, Source)>,
}

impl Settings {
    /// Whether there is a Kafka to subscribe at; without one the embedded file scores.
    #[must_use]
    pub fn has_kafka(&self) -> bool {
        has_kafka(&self.kafka)
    }

    /// The settings of an application that follows the same model.
    pub(super) fn of_subscriber(&self) -> crate::settings::Settings {
        crate::settings::Settings {
            kafka: self.kafka.clone(),
            keys: self.keys.clone(),
            http: HttpSettings::default(),
            instance: self.instance.clone(),
            labels: self.labels.clone(),
            state: self.state.clone(),
            models: vec![self.model.clone()],
            predictions: None,
            shown: Vec::new(),
        }
    }

    /// Reads the file, if there is one to read, and puts the overrides over it.
    ///
    /// # Errors
    /// [`SettingsError`] naming file, line and key of what is wrong.
    pub fn read(file: Option<&Path>, overrides: Overrides) -> Result<Self, SettingsError> {
        match file {
            None => Self::check(FileSettings::default(), &toml::Table::new(), overrides),
            Some(path) => Self::check(load(path)?, &load(path)?, overrides),
        }
    }

    fn check(file: FileSettings, written: &toml::Table, over: Overrides) -> Result<Self, SettingsError> {
        let mut shown = Shown { written, list: Vec::new() };
        let mut kafka = file.kafka;
        let servers = shown.put_over(&mut kafka.bootstrap_servers, over.kafka, "kafka", "bootstrap_servers");
        let namespace = shown.put_over(&mut kafka.namespace, over.namespace, "kafka", "namespace");
        shown.kafka(&kafka, servers, namespace);
        let source = shown.written("keys", "trusted");
        shown.add("keys.trusted", format!("{:?}", file.keys.trusted), source);

        let mut instance = file.instance.name;
        let source = shown.put_over(&mut instance, some(over.instance), "instance", "name");
        let instance = instance.map_or_else(instance::machine_name, Ok)?;
        shown.add("instance.name", instance.to_string(), source);
        instance::check_labels(&file.instance.labels)?;
        let source = shown.written("instance", "labels");
        shown.add("instance.labels", format!("{:?}", file.instance.labels), source);
        let mut state = file.instance.state;
        let source = shown.put_over(&mut state, some(over.state), "instance", "state");
        let state = state.unwrap_or_else(|| PathBuf::from("state").join(instance.as_str()));
        shown.add("instance.state", state.display().to_string(), source);

        let has_kafka = has_kafka(&kafka);
        let model = check_model(file.model, over.model, has_kafka, &mut shown)?;
        let input = InputSettings::check(file.input, over.input, over.key, &mut shown)?;
        let output = OutputSettings::check(file.output, over.output, &mut shown)?;
        let run = RunSettings::check(file.run, over.once, &output, &mut shown)?;
        if output.to == To::Table {
            predictions::check(&file.predictions, &mut shown)?;
        }
        let (keys, labels, predictions, shown) =
            (file.keys, file.instance.labels, file.predictions, shown.list);
        Ok(Self { kafka, keys, instance, labels, state, model, input, output, run, predictions, shown })
    }
}

fn check_model(
    file: Option<ModelSettings>,
    over: Option<(ModelName, Source)>,
    has_kafka: bool,
    shown: &mut Shown<'_>,
) -> Result<ModelSettings, SettingsError> {
    let source = over.as_ref().map_or(Source::File, |(_, source)| *source);
    let model = match (file, over) {
        (Some(file), Some((name, _))) => ModelSettings { name, ..file },
        (Some(file), None) => file,
        (None, Some((name, _))) => {
            ModelSettings { name, artifact_max_bytes: ARTIFACT_MAX_BYTES, embedded: None }
        }
        (None, None) => {
            return Err(wrong("model.name", &"", "the name of a model, in [model] or by --model, is"));
        }
    };
    if !(1..=ARTIFACT_MAX_BYTES).contains(&model.artifact_max_bytes) {
        let possible = format!("from 1 to {ARTIFACT_MAX_BYTES} is");
        return Err(wrong("model.artifact_max_bytes", &model.artifact_max_bytes, &possible));
    }
    if !has_kafka && model.embedded.is_none() {
        let possible =
            "kafka.bootstrap_servers is empty: without Kafka only a file that `modelcast pull` wrote is";
        return Err(wrong("model.embedded", &"", possible));
    }
    shown.add("model.name", model.name.to_string(), source);
    let source = shown.written("model", "artifact_max_bytes");
    shown.add("model.artifact_max_bytes", model.artifact_max_bytes.to_string(), source);
    if let Some(file) = &model.embedded {
        shown.add("model.embedded", file.display().to_string(), Source::File);
    }
    Ok(model)
}

fn has_kafka(kafka: &KafkaSettings) -> bool {
    !kafka.bootstrap_servers.trim().is_empty()
}

#[cfg(test)]
mod tests;
