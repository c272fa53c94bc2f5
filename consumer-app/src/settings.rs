//! Settings: what the file says, what environment and flags put over it, and what that means.
//!
//! [`FileSettings`] is the file as it is written; [`Settings`] is checked and complete, and the application sees only
//! that. Reading the environment and flags is the command line's (see `cli`).
//!
//! # Invariants
//! * An unknown key and a value of the wrong form are named with file and line, an impossible value with its key.
//! * Each effective value is known with its source, for the start log; secrets are never shown.

mod http;
pub(crate) mod instance;
mod models;
pub(crate) mod predictions;
mod process;
pub(crate) mod source;
mod tls;

use std::{net::SocketAddr, path::Path};

use modelcast::settings::{KafkaSettings, KeySettings, SettingsError, load};
use modelcast_protocol::ModelName;
use serde::Deserialize;

use self::source::Shown;
pub use self::{
    http::HttpSettings,
    instance::InstanceSection,
    models::ModelSettings,
    predictions::{ServeSettings, Show, StoreSettings},
    process::{ProcessOverrides, ProcessSettings},
    source::Source,
    tls::TlsSettings,
};

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
    /// Where predictions are stored, to serve those too.
    pub predictions: Option<StoreSettings>,
}

/// What environment and flags put over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Of what every subcommand has.
    pub process: ProcessOverrides,
    /// Of `http.listen`.
    pub listen: Option<(SocketAddr, Source)>,
    /// In place of `[[models]]`; one that is in the file too keeps what the file says of it.
    pub models: Option<(Vec<ModelName>, Source)>,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What every subcommand has.
    pub process: ProcessSettings,
    /// The HTTP server.
    pub http: HttpSettings,
    /// What to serve; at least one.
    pub models: Vec<ModelSettings>,
    /// Where predictions are stored, if they are served.
    pub predictions: Option<StoreSettings>,
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
        let mut http = file.http;
        let source = shown.put_over(&mut http.listen, over.listen, "http", "listen");
        shown.add("http.listen", http.listen.to_string(), source);
        http::check(&http, &mut shown)?;

        let source = over.models.as_ref().map_or(Source::File, |(_, source)| *source);
        let models = models::check(file.models, over.models.map(|(names, _)| names), process.has_kafka())?;
        for model in &models {
            let embedded =
                model.embedded.as_ref().map_or_else(|| "none".to_owned(), |file| file.display().to_string());
            let values = format!("artifact_max_bytes={} embedded={embedded}", model.artifact_max_bytes);
            shown.add(&format!("models.{}", model.name), values, source);
        }
        let predictions = file.predictions;
        if let Some(predictions) = &predictions {
            predictions::check(predictions, &mut shown)?;
        }
        Ok(Self { process, http, models, predictions, shown: shown.list })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr};

    use modelcast_protocol::{InstanceName, limits::ARTIFACT_MAX_BYTES};

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
            (
                format!("[kafka]\nbootstrap_servers = \"\"\n{model}"),
                ["models.m.embedded", "bootstrap_servers is empty", "modelcast pull"],
            ),
            (format!("{model}artifact_max_bytes = 0\n"), ["models.m.artifact_max_bytes", "0", "from 1"]),
            (format!("[http]\nrows_max = 0\n{model}"), ["http.rows_max", "\"0\"", "from 1 to 1000000"]),
            (
                format!("[http]\nbodies_max_bytes = 1\n{model}"),
                ["http.bodies_max_bytes", "\"1\"", "16777216"],
            ),
            (format!("[http]\ndrain_timeout_seconds = 0\n{model}"), ["drain_timeout_seconds", "0", "3600"]),
            (
                format!("[http]\nidle_timeout_seconds = 30\n{model}"),
                ["http.idle_timeout_seconds", "\"30\"", "more than http.request_timeout_seconds (30)"],
            ),
            ("[predictions]\nfile = 1\n".to_owned(), ["file", "line 2", "consumer-app.toml"]),
            (format!("{model}[predictions]\nkeep_runs = 0\n"), ["predictions.keep_runs", "\"0\"", "from 1"]),
            (
                format!("{model}[predictions.serve]\nkeys_max = 0\n"),
                ["predictions.serve.keys_max", "\"0\"", "from 1"],
            ),
            (
                format!("{model}[predictions]\nstore = \"postgresql://a:b@c:d/e\"\n"),
                ["predictions.store", "(hidden)", "postgresql://USER@HOST"],
            ),
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
            process: ProcessOverrides {
                instance: Some((InstanceName::parse("i").unwrap(), Source::Flag)),
                ..ProcessOverrides::default()
            },
            models: Some((
                vec![ModelName::parse("b").unwrap(), ModelName::parse("a").unwrap()],
                Source::Flag,
            )),
        };
        let settings = read(text, overrides).unwrap();
        assert_eq!(settings.http.listen.port(), 2);
        assert_eq!(settings.process.state, Path::new("state/i"));
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
        assert_eq!(settings.predictions, Some(StoreSettings::default()));
        for (key, _, source) in &settings.shown {
            assert_eq!(*source, Source::File, "{key} is not in the shipped file");
        }
    }

    #[test]
    fn the_shipped_file_of_compose_loads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/compose/consumer-app.toml");
        // The password is where only a container has it.
        let text = fs::read_to_string(path).unwrap().replace("/run/secrets/postgres_password", "/dev/null");
        assert_eq!(read(&text, Overrides::default()).unwrap().models.len(), 2);
    }

    #[test]
    fn the_shipped_file_without_kafka_loads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/embedded.toml");
        let settings = Settings::read(Some(&path), Overrides::default()).unwrap();
        assert!(!settings.process.has_kafka());
        assert!(settings.models.iter().all(|model| model.embedded.is_some()));
    }
}
