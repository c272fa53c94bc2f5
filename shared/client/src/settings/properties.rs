//! librdkafka properties and other secrets as a settings file gives them: as text, or where the text is to be had.
//!
//! So that no secret has to stand in a settings file. Read once, when the settings are; the value is not shown in any
//! error.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::Deserialize;

use super::{SettingsError, read};
use crate::with_causes;

/// The value of a property, or where it is.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a property is text in quotes, { file = \"PATH\" } or { env = \"NAME\" }")]
pub(super) enum Property {
    Text(String),
    Elsewhere(Elsewhere),
}

/// Where a secret's text is, so that it does not stand in a settings file: `{ file = "PATH" }` or `{ env = "NAME" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Elsewhere {
    /// A file that holds nothing else; a line break at its end does not count.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

/// A text that is never shown, such as a password. A settings file gives it as text, or as `{ file = "PATH" }` or
/// `{ env = "NAME" }`; it is read once, with the settings.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Property")]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl TryFrom<Property> for Secret {
    type Error = String;

    fn try_from(property: Property) -> Result<Self, String> {
        property.resolve().map(Self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The text of each property.
pub(super) fn resolve(
    properties: BTreeMap<String, Property>,
) -> Result<BTreeMap<String, String>, SettingsError> {
    properties.into_iter().map(|(key, property)| Ok((key.clone(), property.text(&key)?))).collect()
}

impl Property {
    fn text(self, key: &str) -> Result<String, SettingsError> {
        self.resolve().map_err(|cause| SettingsError::Property { key: key.to_owned(), cause })
    }

    /// The text, or why it is not to be had.
    fn resolve(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Elsewhere(place) => place.text(),
        }
    }
}

impl Elsewhere {
    /// Reads the text.
    ///
    /// # Errors
    /// What is wrong with the place; never what stands there.
    pub fn text(&self) -> Result<String, String> {
        match self {
            Self::File(path) => {
                let text = read(path).map_err(|error| with_causes(&error))?;
                Ok(text.strip_suffix('\n').map_or(&*text, |line| line.trim_end_matches('\r')).to_owned())
            }
            // Not the error's own text: it repeats a value that is no UTF-8.
            Self::Env(name) => {
                std::env::var(name).map_err(|_| format!("the environment has no text in {name}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::KafkaSettings;

    fn load(text: &str) -> Result<KafkaSettings, String> {
        #[derive(Debug, serde::Deserialize)]
        struct Program {
            kafka: KafkaSettings,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program.toml");
        fs::write(folder.path().join("password"), "hunter2\n").unwrap();
        fs::write(&path, text.replace("FOLDER", &folder.path().display().to_string())).unwrap();
        let program: Result<Program, _> = super::super::load(&path);
        program.map(|program| program.kafka).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_read_from_a_file_or_the_environment() {
        let text = "[kafka.properties]\n\"sasl.password\" = { file = \"FOLDER/password\" }\n\
                    \"client.rack\" = { env = \"CARGO_PKG_NAME\" }\n\"sasl.username\" = \"ada\"\n";
        let kafka = load(text).unwrap();
        let properties: Vec<_> = kafka.properties.iter().map(|(key, value)| (&**key, &**value)).collect();
        let name = env!("CARGO_PKG_NAME");
        assert_eq!(
            properties,
            [("client.rack", name), ("sasl.password", "hunter2"), ("sasl.username", "ada")]
        );
        assert!(!format!("{kafka:?}").contains("hunter2"), "{kafka:?}");
    }

    #[test]
    fn a_value_that_is_not_there_is_named_with_its_place() {
        let check = |value: &str, words: &[&str]| {
            let error = load(&format!("[kafka]\n[kafka.properties]\n\"sasl.password\" = {value}\n"));
            let error = error.expect_err(value);
            for word in words {
                assert!(error.contains(word), "{value}: {error:?} lacks {word:?}");
            }
        };
        check("{ file = \"FOLDER/none\" }", &["program.toml", "sasl.password", "none", "No such file"]);
        check("{ env = \"MODELCAST_NONE\" }", &["sasl.password", "MODELCAST_NONE"]);
        check("{ vault = \"secret/x\" }", &["line 3", "sasl.password"]);
    }
}
