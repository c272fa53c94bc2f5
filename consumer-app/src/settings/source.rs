//! Where each effective value comes from, for the start log.

use modelcast::settings::{KafkaSettings, SettingsError};

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

/// Collects each effective value with its source.
pub(crate) struct Shown<'w> {
    pub(crate) written: &'w toml::Table,
    pub(crate) list: Vec<(String, String, Source)>,
}

impl Shown<'_> {
    pub(crate) fn add(&mut self, key: &str, value: String, source: Source) {
        self.list.push((key.to_owned(), value, source));
    }

    pub(crate) fn written(&self, section: &str, key: &str) -> Source {
        let mut tables = section.split('.');
        let first = tables.next().and_then(|name| self.written.get(name));
        let section = tables.fold(first, |table, name| table.and_then(|table| table.get(name)));
        if section.and_then(|section| section.get(key)).is_some() { Source::File } else { Source::Default }
    }

    pub(crate) fn put_over<T>(
        &self,
        value: &mut T,
        over: Option<(T, Source)>,
        section: &str,
        key: &str,
    ) -> Source {
        match over {
            Some((over, source)) => {
                *value = over;
                source
            }
            None => self.written(section, key),
        }
    }

    pub(crate) fn kafka(&mut self, kafka: &KafkaSettings, servers: Source, namespace: Source) {
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

/// An override of a setting that may be missing.
pub(crate) fn some<T>(over: Option<(T, Source)>) -> Option<(Option<T>, Source)> {
    over.map(|(value, source)| (Some(value), source))
}

/// A value that is not possible, and which are.
pub(crate) fn wrong(key: &str, value: &impl ToString, possible: &str) -> SettingsError {
    let cause = format!("{possible} possible");
    SettingsError::Value { key: key.to_owned(), value: value.to_string(), cause }
}
