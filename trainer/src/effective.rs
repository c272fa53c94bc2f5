//! The effective settings: file, then environment, then flags; logged with where each comes from.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, parser::ValueSource};
use modelcast::settings::SettingsError;
use tracing::info;
use trainer::{
    configuration::{Configuration, ConfigurationError},
    recipe::Recipe,
};

use crate::{
    cli::{self, CommonArgs},
    failure::Failure,
};

/// Read when it exists and `--config` names no other.
const DEFAULT_FILE: &str = "config/trainer.toml";

/// The configuration with what flags and environment change.
#[derive(Debug)]
pub(crate) struct Effective {
    /// Where it was read from, for errors.
    path: PathBuf,
    /// What it says.
    pub(crate) configuration: Configuration,
}

/// Reads the configuration and logs each value with its source.
///
/// # Errors
/// A [`Failure`] with exit code 64.
pub(crate) fn read(args: &CommonArgs, matches: &ArgMatches) -> Result<Effective, Failure> {
    let default = Path::new(DEFAULT_FILE);
    let path = args.config.clone().or_else(|| default.exists().then(|| default.to_owned()));
    let mut configuration = match &path {
        Some(path) => Configuration::load(path)?,
        None => Configuration::default(),
    };
    if let Some(servers) = &args.kafka {
        configuration.kafka.bootstrap_servers.clone_from(servers);
    }
    if let Some(namespace) = &args.namespace {
        configuration.kafka.namespace = namespace.clone();
    }
    if let Some(author) = &configuration.publish.author {
        let wrong =
            |cause| SettingsError::Value { key: "publish.author".into(), value: author.clone(), cause };
        cli::author(author).map_err(wrong)?;
    }
    let path = path.unwrap_or_else(|| default.to_owned());
    log(&path, &configuration, matches);
    Ok(Effective { path, configuration })
}

impl Effective {
    /// How a data set is trained.
    pub(crate) fn recipe(&self, dataset: &str) -> Result<&Recipe, ConfigurationError> {
        self.configuration.recipe(&self.path, dataset)
    }

    /// Who publishes: the flag, the file, or the user at this host.
    pub(crate) fn author(&self, flag: Option<&str>) -> String {
        let stated = flag.or(self.configuration.publish.author.as_deref());
        stated.map_or_else(user_at_host, str::to_owned)
    }
}

fn log(path: &Path, configuration: &Configuration, matches: &ArgMatches) {
    info!(file = %path.display(), "configuration file");
    for (key, value) in configuration.kafka.shown() {
        let id = match key.as_str() {
            "kafka.bootstrap_servers" => "kafka",
            "kafka.namespace" => "namespace",
            _ => "",
        };
        let overridden = matches.ids().any(|known| known == id).then(|| matches.value_source(id)).flatten();
        let source = match overridden {
            Some(ValueSource::CommandLine) => "flag",
            Some(ValueSource::EnvVariable) => "environment",
            _ => "file or default",
        };
        info!(key, value, source, "setting");
    }
    let keys = &configuration.keys;
    info!(key = "keys.trusted", value = ?keys.trusted, source = "file or default", "setting");
    info!(key = "keys.signing", value = ?keys.signing, source = "file or default", "setting");
    info!(key = "publish.author", value = ?configuration.publish.author, source = "file or default", "setting");
    let datasets: Vec<_> = configuration.recipes.keys().collect();
    info!(key = "datasets", value = ?datasets, source = "file or default", "setting");
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
