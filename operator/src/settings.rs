//! What the operator's command runs with: file, then environment, then flags.
//!
//! Reads `config/operator.toml` or the file of `--config`, lets the flags override it, and keeps where each value came
//! from for the start log. Keys are read when a verb needs them, not before: `modelcast keys generate` needs none.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{ArgMatches, parser::ValueSource};
use modelcast::settings::{self, KafkaSettings, KeySettings};
use serde::{Deserialize, Deserializer, de::Error as _};
use tracing::info;

use crate::{
    cli::{CommonArgs, stamp_text},
    failure::{Exit, Failure},
};

/// Read when it exists and `--config` names no other.
const DEFAULT_FILE: &str = "config/operator.toml";

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    kafka: KafkaSettings,
    #[serde(default)]
    keys: KeySettings,
    #[serde(default, deserialize_with = "author")]
    author: Option<String>,
}

/// The effective settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How to reach Kafka.
    pub(crate) kafka: KafkaSettings,
    /// Whom to trust, and as whom to sign.
    pub(crate) keys: KeySettings,
    /// The author in the file.
    author: Option<String>,
}

/// Reads the settings and logs each with its source.
///
/// # Errors
/// A [`Failure`] of [`Exit::Configuration`].
pub(crate) fn read(args: &CommonArgs, matches: &ArgMatches) -> Result<Settings, Failure> {
    let default = Path::new(DEFAULT_FILE);
    let path = args.config.clone().or_else(|| default.exists().then(|| default.to_owned()));
    let wrong = |error| Failure::new(Exit::Configuration, anyhow::Error::new(error));
    let (file, present) = match &path {
        Some(path) => {
            let file = settings::load::<File>(path).map_err(wrong)?;
            (file, settings::load::<toml::Table>(path).map_err(wrong)?)
        }
        None => (File::default(), toml::Table::new()),
    };
    let mut settings = Settings { kafka: file.kafka, keys: file.keys, author: file.author };
    if let Some(servers) = &args.kafka {
        settings.kafka.bootstrap_servers.clone_from(servers);
    }
    if let Some(namespace) = &args.namespace {
        settings.kafka.namespace = namespace.clone();
    }
    if settings.kafka.bootstrap_servers.trim().is_empty() {
        let key = "kafka.bootstrap_servers is empty: give HOST:PORT of a broker";
        return Err(Failure::new(Exit::Configuration, anyhow!(key)));
    }
    log(&settings, path.as_ref(), &present, matches);
    Ok(settings)
}

impl Settings {
    /// Who changes something: the flag, the file, or `USER@HOST`.
    pub(crate) fn author(&self, flag: Option<&str>) -> String {
        flag.or(self.author.as_deref()).map_or_else(user_at_host, ToOwned::to_owned)
    }
}

fn log(settings: &Settings, path: Option<&PathBuf>, present: &toml::Table, matches: &ArgMatches) {
    let shown = path.map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    info!(file = shown, "configuration file");
    for (key, value) in settings.kafka.shown() {
        let source = match key.as_str() {
            "kafka.bootstrap_servers" => overridden(matches, "kafka"),
            "kafka.namespace" => overridden(matches, "namespace"),
            _ => None,
        };
        let source = source.unwrap_or_else(|| if has(present, &key) { "file" } else { "default" });
        info!(key, value, source, "setting");
    }
    let trusted: Vec<_> = settings.keys.trusted.iter().map(|path| path.display().to_string()).collect();
    let signing = settings.keys.signing.as_ref().map(|path| path.display().to_string());
    let own = [
        ("keys.trusted", trusted.join(", ")),
        ("keys.signing", signing.unwrap_or_default()),
        ("author", settings.author(None)),
    ];
    for (key, value) in own {
        let source = if has(present, key) { "file" } else { "default" };
        info!(key, value, source, "setting");
    }
}

fn overridden(matches: &ArgMatches, id: &str) -> Option<&'static str> {
    match matches.value_source(id)? {
        ValueSource::CommandLine => Some("flag"),
        ValueSource::EnvVariable => Some("environment"),
        _ => None,
    }
}

/// Whether the file sets a key, written with dots; a librdkafka property has dots in its own name.
fn has(table: &toml::Table, key: &str) -> bool {
    let nested = |section: &str, key: &str| table.get(section)?.as_table()?.get(key).map(|_| ());
    match key.split_once('.') {
        None => table.contains_key(key),
        Some((section, rest)) => rest.starts_with("properties.") || nested(section, rest).is_some(),
    }
}

fn author<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    stamp_text(&text).map(Some).map_err(|cause| D::Error::custom(format!("author {text:?} {cause}")))
}

/// The person at this machine, as far as the system tells.
fn user_at_host() -> String {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
    let read = |path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let host = read("/proc/sys/kernel/hostname").or_else(|| variable("HOSTNAME"));
    let author = format!("{user}@{}", host.as_deref().unwrap_or("unknown"));
    author.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::cli::Cli;

    fn read_line(line: &str) -> Result<Settings, Failure> {
        let words = std::iter::once("modelcast").chain(line.split_whitespace());
        let matches = Cli::command().try_get_matches_from(words).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        read(&cli.common, &matches)
    }

    fn with_file(text: &str, flags: &str) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.toml");
        std::fs::write(&path, text).unwrap();
        read_line(&format!("status --config {} {flags}", path.display()))
    }

    #[test]
    fn a_flag_beats_the_file() {
        let text = "author = \"ada\"\n[kafka]\nbootstrap_servers = \"file:1\"\nnamespace = \"file\"\n";
        let settings = with_file(text, "--kafka flag:2").unwrap();
        assert_eq!(settings.kafka.bootstrap_servers, "flag:2");
        assert_eq!(settings.kafka.namespace.as_str(), "file");
        assert_eq!(settings.author(None), "ada");
        assert_eq!(settings.author(Some("bob")), "bob");
    }

    #[test]
    fn a_flag_behind_the_verb_is_seen_with_its_source() {
        let words = ["modelcast", "status", "--kafka", "flag:2"];
        let matches = Cli::command().try_get_matches_from(words).unwrap();
        assert_eq!(overridden(&matches, "kafka"), Some("flag"));
        assert_eq!(overridden(&matches, "namespace"), None);
    }

    #[test]
    fn a_wrong_file_names_key_file_and_line_and_ends_with_64() {
        for (text, words) in [
            ("[kafka]\nbootstrap = 1\n", &["bootstrap", "line 2", "operator.toml"][..]),
            ("\nautor = \"ada\"\n", &["autor", "line 2", "operator.toml"]),
            ("author = \" \"\n", &["author", "\" \"", "line 1", "must not be empty"]),
            ("[kafka]\nnamespace = \"A B\"\n", &["A B", "line 2"]),
            ("[keys]\ntrust = []\n", &["trust", "line 2"]),
        ] {
            let failure = with_file(text, "").unwrap_err();
            assert_eq!(failure.exit, Exit::Configuration);
            for word in words {
                assert!(failure.text().contains(word), "{:?} lacks {word:?}", failure.text());
            }
        }
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let failure = read_line("status --config /nowhere/operator.toml").unwrap_err();
        assert_eq!(failure.exit, Exit::Configuration);
        assert!(failure.text().contains("/nowhere/operator.toml"), "{}", failure.text());
    }

    #[test]
    fn a_value_is_said_to_come_from_the_file_only_if_it_stands_there() {
        let text = "[kafka]\nnamespace = \"a\"\n[kafka.properties]\n\"sasl.username\" = \"ada\"\n";
        let table: toml::Table = toml::from_str(text).unwrap();
        for (key, stands) in [
            ("kafka.namespace", true),
            ("kafka.properties.sasl.username", true),
            ("kafka.bootstrap_servers", false),
            ("keys.trusted", false),
            ("author", false),
        ] {
            assert_eq!(has(&table, key), stands, "{key}");
        }
    }

    #[test]
    fn the_shipped_file_loads() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/operator.toml");
        settings::load::<File>(Path::new(path)).unwrap();
    }

    #[test]
    fn without_an_author_it_is_the_user_at_the_host() {
        let author = read_line("status --config /dev/null").unwrap().author(None);
        assert!(author.contains('@') && author.len() > 2, "{author}");
    }
}
