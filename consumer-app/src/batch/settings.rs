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
use modelcast_protocol::ModelName;
use serde::Deserialize;

pub use self::{
    input::{InputSection, InputSettings},
    output::{OutputSection, OutputSettings, To},
    run::{Approve, FailuresMax, RunSection, RunSettings, When, WhenWord},
};
use crate::settings::{
    InstanceSection, ModelSettings, ProcessOverrides, ProcessSettings, Source, StoreSettings, predictions,
    source::{Shown, wrong},
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
    /// Of what every subcommand has.
    pub process: ProcessOverrides,
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
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What every subcommand has.
    pub process: ProcessSettings,
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
        let sections = (file.kafka, file.keys, file.instance);
        let process = ProcessSettings::check(sections, over.process, &mut shown)?;
        let model = check_model(file.model, over.model, process.has_kafka(), &mut shown)?;
        let input = InputSettings::check(file.input, over.input, over.key, &mut shown)?;
        let output = OutputSettings::check(file.output, over.output, &mut shown)?;
        let run = RunSettings::check(file.run, over.once, &output, &mut shown)?;
        if output.to == To::Table {
            predictions::check(&file.predictions, &mut shown)?;
        }
        let (predictions, shown) = (file.predictions, shown.list);
        Ok(Self { process, model, input, output, run, predictions, shown })
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
        (None, Some((name, _))) => ModelSettings::named(name),
        (None, None) => {
            return Err(wrong("model.name", &"", "the name of a model, in [model] or by --model, is"));
        }
    };
    model.check("model", has_kafka)?;
    shown.add("model.name", model.name.to_string(), source);
    let source = shown.written("model", "artifact_max_bytes");
    shown.add("model.artifact_max_bytes", model.artifact_max_bytes.to_string(), source);
    if let Some(file) = &model.embedded {
        shown.add("model.embedded", file.display().to_string(), Source::File);
    }
    Ok(model)
}

#[cfg(test)]
mod tests;
