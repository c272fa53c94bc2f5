//! `[predictions]`: where predictions are stored, and how they are served. The same section in each program's file.

use std::path::PathBuf;

use modelcast::settings::{Secret, SettingsError};
use serde::{Deserialize, Serialize};

use super::source::{Shown, wrong};
use crate::predictions::store::{Address, StoreError, place};

/// Longest that a statement may be given: an hour.
const SECONDS_MAX: u64 = 3_600;

/// `[predictions]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// A file of SQLite, or `postgresql://USER@HOST:PORT/DATABASE?sslmode=require`.
    pub store: String,
    /// The password for PostgreSQL.
    pub password: Option<Secret>,
    /// Certificates that vouch for PostgreSQL's, in place of the system's: a PEM file.
    pub ca: Option<PathBuf>,
    /// How long one statement may take, and how long it waits for other writers.
    pub statement_timeout_seconds: u64,
    /// Runs of each model that keep their rows; the approved one does in any case.
    pub keep_runs: u64,
    /// How they are served.
    pub serve: ServeSettings,
}

/// `[predictions.serve]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Connections to the store, and so questions that it answers at once.
    pub readers_max: usize,
    /// Keys of one request.
    pub keys_max: usize,
    /// What a model's page shows at first.
    pub show: Show,
    /// Whether the page of a run has a form to approve or reject it.
    pub decide_on_page: bool,
    /// Names under which a browser may reach the page to decide; addresses and `localhost` always may.
    pub page_hosts: Vec<String>,
}

/// Which predictions a model's page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Show {
    /// What the live version says for the values of the form.
    Live,
    /// What the approved run says for a key.
    Stored,
    /// Both, side by side.
    Both,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            store: "state/predictions.sqlite".to_owned(),
            password: None,
            ca: None,
            statement_timeout_seconds: 30,
            keep_runs: 10,
            serve: ServeSettings::default(),
        }
    }
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            readers_max: 4,
            keys_max: 1_000,
            show: Show::Live,
            decide_on_page: false,
            page_hosts: Vec::new(),
        }
    }
}

impl StoreSettings {
    /// Which database the settings name.
    #[must_use]
    pub fn address(&self) -> Address<'_> {
        if ["postgresql://", "postgres://"].iter().any(|scheme| self.store.starts_with(scheme)) {
            Address::Postgres(&self.store)
        } else {
            Address::Sqlite(PathBuf::from(self.store.strip_prefix("sqlite:").unwrap_or(&self.store)))
        }
    }
}

impl Show {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 3] = [Self::Live, Self::Stored, Self::Both];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stored => "stored",
            Self::Both => "both",
        }
    }
}

/// Checks the section, and shows it; never with a password, wherever that stands.
pub(crate) fn check(settings: &StoreSettings, shown: &mut Shown<'_>) -> Result<(), SettingsError> {
    let place = place(settings).map_err(|error| address_error(&error))?;
    shown.add("predictions.store", place, shown.written("predictions", "store"));
    let password = settings.password.as_ref().map_or("none", |_| "(hidden)");
    let ca = settings.ca.as_ref().map_or("the system's".to_owned(), |ca| ca.display().to_string());
    // What is not set is what most have: only a value is shown.
    for (name, value) in [("password", password), ("ca", &ca)] {
        if shown.written("predictions", name) == super::Source::File {
            shown.add(&format!("predictions.{name}"), value.to_owned(), super::Source::File);
        }
    }
    let serve = &settings.serve;
    let as_u64 = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let counts = [
        ("predictions", "statement_timeout_seconds", settings.statement_timeout_seconds, 1, SECONDS_MAX),
        ("predictions", "keep_runs", settings.keep_runs, 1, 1_000_000),
        ("predictions.serve", "readers_max", as_u64(serve.readers_max), 1, 256),
        ("predictions.serve", "keys_max", as_u64(serve.keys_max), 1, 100_000),
    ];
    for (section, name, value, low, high) in counts {
        let key = format!("{section}.{name}");
        if !(low..=high).contains(&value) {
            return Err(wrong(&key, &value, &format!("from {low} to {high} is")));
        }
        shown.add(&key, value.to_string(), shown.written(section, name));
    }
    let words = [
        ("show", serve.show.name().to_owned()),
        ("decide_on_page", serve.decide_on_page.to_string()),
        ("page_hosts", serve.page_hosts.join(", ")),
    ];
    for (name, value) in words {
        let source = shown.written("predictions.serve", name);
        shown.add(&format!("predictions.serve.{name}"), value, source);
    }
    Ok(())
}

fn address_error(error: &StoreError) -> SettingsError {
    SettingsError::Value {
        key: "predictions.store".to_owned(),
        value: "(hidden)".to_owned(), // a URL may hold a password
        cause: error.to_string(),
    }
}
