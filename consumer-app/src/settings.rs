//! Settings: what the file says, what environment and flags put over it, and what that means.
//!
//! [`FileSettings`] is the file as it is written; [`Settings`] is checked and complete, and the application sees only
//! that. Reading the environment and flags is the command line's (see `cli`).
//!
//! # Invariants
//! * An unknown key and a value of the wrong form are named with file and line, an impossible value with its key.
//! * Each effective value is known with its source, for the start log; secrets are never shown.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use modelcast::settings::{KafkaSettings, KeySettings, SettingsError, load};
use modelcast_protocol::{
    InstanceName, ModelName, Namespace,
    desired::Labels,
    limits::{ARTIFACT_MAX_BYTES, LABELS_MAX, SCHEMA_TEXT_MAX_BYTES},
};
use serde::Deserialize;

/// Most models of one process: each is fetched and admitted by tasks of its own.
const MODELS_MAX: usize = 256;
/// Longest time that a setting may name, in seconds: an hour.
const SECONDS_MAX: u64 = 3_600;
const GIB: usize = 1024 * MIB;
const MIB: usize = 1024 * 1024;

/// The settings file, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// Whose signatures are trusted.
    pub keys: KeySettings,
    /// The HTTP server.
    pub http: HttpSettings,
    /// This process in the fleet.
    pub instance: InstanceSection,
    /// What to serve.
    pub models: Vec<ModelSettings>,
}

/// `[http]`: where to listen, and the limits of what is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Rows of one request.
    pub rows_max: usize,
    /// Bytes of one request's body.
    pub body_max_bytes: usize,
    /// Bytes of all bodies that are being read or answered.
    pub bodies_max_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout_seconds: u64,
    /// Connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// How long a connection may be without a byte in either direction; events keep theirs alive.
    pub idle_timeout_seconds: u64,
    /// How long requests under way may take to end at a shutdown.
    pub drain_timeout_seconds: u64,
}

/// `[instance]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceSection {
    /// Name in the fleet; the machine's name when there is none.
    pub name: Option<InstanceName>,
    /// Labels, for cohorts and pins.
    pub labels: Labels,
    /// Folder for what must outlive the process: the last known good version of each model.
    pub state: Option<PathBuf>,
}

/// One of `[[models]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Its name.
    pub name: ModelName,
    /// Larger artifacts are refused.
    #[serde(default = "default_artifact_max")]
    pub artifact_max_bytes: u64,
}

/// What environment and flags put over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Of `kafka.bootstrap_servers`.
    pub kafka: Option<(String, Source)>,
    /// Of `kafka.namespace`.
    pub namespace: Option<(Namespace, Source)>,
    /// Of `http.listen`.
    pub listen: Option<(SocketAddr, Source)>,
    /// Of `instance.name`.
    pub instance: Option<(InstanceName, Source)>,
    /// Of `instance.state`.
    pub state: Option<(PathBuf, Source)>,
    /// In place of `[[models]]`; one that is in the file too keeps what the file says of it.
    pub models: Option<(Vec<ModelName>, Source)>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody said.
    Default,
    /// The settings file.
    File,
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// Whose signatures are trusted.
    pub keys: KeySettings,
    /// The HTTP server.
    pub http: HttpSettings,
    /// Name in the fleet.
    pub instance: InstanceName,
    /// Labels.
    pub labels: Labels,
    /// Folder for what must outlive the process.
    pub state: PathBuf,
    /// What to serve; at least one.
    pub models: Vec<ModelSettings>,
    /// Each effective value: key, value, source.
    pub shown: Vec<(String, String, Source)>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            rows_max: 10_000,
            body_max_bytes: 16 * MIB,
            bodies_max_bytes: 64 * MIB,
            body_timeout_seconds: 10,
            connections_max: 1_024,
            idle_timeout_seconds: 120,
            drain_timeout_seconds: 10,
        }
    }
}

impl Source {
    /// The word for the start log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
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
        let mut kafka = file.kafka;
        let servers = shown.put_over(&mut kafka.bootstrap_servers, over.kafka, "kafka", "bootstrap_servers");
        let namespace = shown.put_over(&mut kafka.namespace, over.namespace, "kafka", "namespace");
        shown.kafka(&kafka, servers, namespace);
        let source = shown.written("keys", "trusted");
        shown.add("keys.trusted", format!("{:?}", file.keys.trusted), source);

        let mut http = file.http;
        let source = shown.put_over(&mut http.listen, over.listen, "http", "listen");
        shown.add("http.listen", http.listen.to_string(), source);
        check_http(&http, &mut shown)?;

        let mut instance = file.instance.name;
        let source = shown.put_over(&mut instance, some(over.instance), "instance", "name");
        let instance = instance.map_or_else(machine_name, Ok)?;
        shown.add("instance.name", instance.to_string(), source);
        check_labels(&file.instance.labels)?;
        let source = shown.written("instance", "labels");
        shown.add("instance.labels", format!("{:?}", file.instance.labels), source);
        let mut state = file.instance.state;
        let source = shown.put_over(&mut state, some(over.state), "instance", "state");
        let state = state.unwrap_or_else(|| PathBuf::from("state").join(instance.as_str()));
        shown.add("instance.state", state.display().to_string(), source);

        let source = over.models.as_ref().map_or(Source::File, |(_, source)| *source);
        let models = check_models(file.models, over.models.map(|(names, _)| names))?;
        for model in &models {
            let limit = format!("artifact_max_bytes={}", model.artifact_max_bytes);
            shown.add(&format!("models.{}", model.name), limit, source);
        }
        let (keys, labels, shown) = (file.keys, file.instance.labels, shown.list);
        Ok(Self { kafka, keys, http, instance, labels, state, models, shown })
    }
}

/// Collects each effective value with its source.
struct Shown<'w> {
    written: &'w toml::Table,
    list: Vec<(String, String, Source)>,
}

impl Shown<'_> {
    fn add(&mut self, key: &str, value: String, source: Source) {
        self.list.push((key.to_owned(), value, source));
    }

    fn written(&self, section: &str, key: &str) -> Source {
        let there = self.written.get(section).and_then(|section| section.get(key)).is_some();
        if there { Source::File } else { Source::Default }
    }

    fn put_over<T>(&self, value: &mut T, over: Option<(T, Source)>, section: &str, key: &str) -> Source {
        match over {
            Some((over, source)) => {
                *value = over;
                source
            }
            None => self.written(section, key),
        }
    }

    fn kafka(&mut self, kafka: &KafkaSettings, servers: Source, namespace: Source) {
        for (key, value) in kafka.shown() {
            let source = match key.as_str() {
                "kafka.bootstrap_servers" => servers,
                "kafka.namespace" => namespace,
                _ => Source::File,
            };
            self.list.push((key, value, source));
        }
    }
}

fn some<T>(over: Option<(T, Source)>) -> Option<(Option<T>, Source)> {
    over.map(|(value, source)| (Some(value), source))
}

fn check_http(http: &HttpSettings, shown: &mut Shown<'_>) -> Result<(), SettingsError> {
    let counts = [
        ("rows_max", http.rows_max, 1, 1_000_000),
        ("body_max_bytes", http.body_max_bytes, 1024, GIB),
        ("bodies_max_bytes", http.bodies_max_bytes, http.body_max_bytes, 64 * GIB),
        ("connections_max", http.connections_max, 1, 100_000),
    ];
    for (name, value, low, high) in counts {
        let key = format!("http.{name}");
        if !(low..=high).contains(&value) {
            return Err(wrong(&key, &value, &format!("from {low} to {high} is")));
        }
        shown.add(&key, value.to_string(), shown.written("http", name));
    }
    let times = [
        ("body_timeout_seconds", http.body_timeout_seconds),
        ("idle_timeout_seconds", http.idle_timeout_seconds),
        ("drain_timeout_seconds", http.drain_timeout_seconds),
    ];
    for (name, value) in times {
        let key = format!("http.{name}");
        if !(1..=SECONDS_MAX).contains(&value) {
            return Err(wrong(&key, &value, &format!("from 1 to {SECONDS_MAX} is")));
        }
        shown.add(&key, value.to_string(), shown.written("http", name));
    }
    Ok(())
}

fn check_labels(labels: &Labels) -> Result<(), SettingsError> {
    if labels.len() > LABELS_MAX {
        return Err(wrong("instance.labels", &labels.len(), &format!("at most {LABELS_MAX} are")));
    }
    let fits = |text: &String| (1..=SCHEMA_TEXT_MAX_BYTES).contains(&text.len());
    match labels.iter().find(|(name, value)| !fits(name) || !fits(value)) {
        Some((name, value)) => {
            let cause = format!("a text of 1 to {SCHEMA_TEXT_MAX_BYTES} bytes is");
            Err(wrong(&format!("instance.labels.{name}"), value, &cause))
        }
        None => Ok(()),
    }
}

fn check_models(
    file: Vec<ModelSettings>,
    over: Option<Vec<ModelName>>,
) -> Result<Vec<ModelSettings>, SettingsError> {
    let models = match over {
        None => file,
        Some(names) => names
            .into_iter()
            .map(|name| {
                let in_file = file.iter().find(|model| model.name == name).cloned();
                in_file.unwrap_or(ModelSettings { name, artifact_max_bytes: ARTIFACT_MAX_BYTES })
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
        if !(1..=ARTIFACT_MAX_BYTES).contains(&model.artifact_max_bytes) {
            let key = format!("models.{}.artifact_max_bytes", model.name);
            return Err(wrong(
                &key,
                &model.artifact_max_bytes,
                &format!("from 1 to {ARTIFACT_MAX_BYTES} is"),
            ));
        }
    }
    Ok(models)
}

/// The machine's name, as far as it can be the name of an instance.
fn machine_name() -> Result<InstanceName, SettingsError> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase();
    InstanceName::parse(&name).map_err(|error| SettingsError::Value {
        key: "instance.name".to_owned(),
        value: name,
        cause: format!("{error}: there is none in the settings, and the machine's name does not do"),
    })
}

fn wrong(key: &str, value: &impl ToString, possible: &str) -> SettingsError {
    let cause = format!("{possible} possible");
    SettingsError::Value { key: key.to_owned(), value: value.to_string(), cause }
}

fn default_artifact_max() -> u64 {
    ARTIFACT_MAX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: Overrides) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("consumer-app.toml");
        fs::write(&path, text).unwrap();
        Settings::read(Some(&path), overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_place() {
        let model = "[[models]]\nname = \"m\"\n";
        let rows = [
            ("[http]\nlisten_on = 1\n".to_owned(), ["listen_on", "line 2", "consumer-app.toml"]),
            ("[http]\nlisten = \"here\"\n".to_owned(), ["listen", "line 2", "consumer-app.toml"]),
            ("[http]\nrows_max = -1\n".to_owned(), ["rows_max", "line 2", "consumer-app.toml"]),
            (format!("{model}artifact = 1\n"), ["artifact", "line 3", "consumer-app.toml"]),
            ("[instance]\nname = \"Up\"\n".to_owned(), ["Up", "line 2", "consumer-app.toml"]),
            (String::new(), ["models", "--model", "0"]),
            (format!("{model}{model}"), ["models.name", "\"m\"", "once"]),
            (format!("{model}artifact_max_bytes = 0\n"), ["models.m.artifact_max_bytes", "0", "from 1"]),
            (format!("[http]\nrows_max = 0\n{model}"), ["http.rows_max", "\"0\"", "from 1 to 1000000"]),
            (
                format!("[http]\nbodies_max_bytes = 1\n{model}"),
                ["http.bodies_max_bytes", "\"1\"", "16777216"],
            ),
            (format!("[http]\ndrain_timeout_seconds = 0\n{model}"), ["drain_timeout_seconds", "0", "3600"]),
            (format!("[instance.labels]\nzone = \"\"\n{model}"), ["instance.labels.zone", "\"\"", "256"]),
        ];
        for (text, words) in rows {
            let error = read(&text, Overrides::default()).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{error:?} lacks {word:?}");
            }
        }
    }

    #[test]
    fn flags_go_over_the_file_and_the_sources_are_known() {
        let text = "[http]\nlisten = \"127.0.0.1:1\"\n[[models]]\nname = \"a\"\nartifact_max_bytes = 5\n";
        let overrides = Overrides {
            listen: Some((SocketAddr::from((Ipv4Addr::LOCALHOST, 2)), Source::Environment)),
            instance: Some((InstanceName::parse("i").unwrap(), Source::Flag)),
            models: Some((
                vec![ModelName::parse("b").unwrap(), ModelName::parse("a").unwrap()],
                Source::Flag,
            )),
            ..Overrides::default()
        };
        let settings = read(text, overrides).unwrap();
        assert_eq!(settings.http.listen.port(), 2);
        assert_eq!(settings.state, Path::new("state/i"));
        let caps: Vec<_> = settings.models.iter().map(|model| model.artifact_max_bytes).collect();
        assert_eq!(caps, [ARTIFACT_MAX_BYTES, 5]);
        let source = |key: &str| settings.shown.iter().find(|shown| shown.0 == key).unwrap().2;
        assert_eq!(source("http.listen"), Source::Environment);
        assert_eq!(source("instance.name"), Source::Flag);
        assert_eq!(source("http.rows_max"), Source::Default);
    }

    /// The shipped file says every setting that there is, each at its default where there is one.
    #[test]
    fn the_shipped_file_names_every_setting() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/consumer-app.toml");
        let settings = Settings::read(Some(&path), Overrides::default()).unwrap();
        assert_eq!(settings.http, HttpSettings::default());
        for (key, _, source) in &settings.shown {
            assert_eq!(*source, Source::File, "{key} is not in the shipped file");
        }
    }
}
