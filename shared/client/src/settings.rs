//! Settings that every program shares: how to reach Kafka, and whom to trust.
//!
//! A program puts [`KafkaSettings`] and [`KeySettings`] into its own settings type and reads the file with [`load`].
//! Flags and environment are the program's own business.
//!
//! # Invariants
//! * An error about a file's form names the file, the key and its line; one about a value names key and value.
//! * No secret is ever shown.

mod properties;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use modelcast_protocol::{
    Namespace,
    key::{KeyError, PublicKey, SigningKey, TrustedKeys},
};
use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use self::properties::Property;
pub use self::properties::{Elsewhere, Secret};

/// Largest settings file and key file that is read.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// How to reach Kafka.
#[derive(Clone, Deserialize)]
#[serde(try_from = "KafkaSection")]
pub struct KafkaSettings {
    /// `host:port` of one or more brokers, separated by commas.
    pub bootstrap_servers: String,
    /// Prefix of all topics.
    pub namespace: Namespace,
    /// Any further librdkafka property, such as `security.protocol`. A settings file gives its text, or names a file
    /// or a variable of the environment that holds it.
    pub properties: BTreeMap<String, String>,
}

/// `[kafka]` as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KafkaSection {
    #[serde(default = "default_servers")]
    bootstrap_servers: String,
    #[serde(default = "default_namespace")]
    namespace: Namespace,
    #[serde(default)]
    properties: BTreeMap<String, Property>,
}

/// Whom to trust, and as whom to sign.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// Public keys: PEM files, or folders whose `*.pub.pem` files are taken.
    #[serde(default)]
    pub trusted: Vec<PathBuf>,
    /// The private key of a publisher: a PEM file.
    #[serde(default)]
    pub signing: Option<PathBuf>,
}

/// What is wrong with the settings. Programs end with exit code 64.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any settings or key file.
    #[error("{} is larger than {FILE_MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// The file's text is not what the program understands.
    #[error("{}: {cause}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Key, value and line.
        cause: String,
    },
    /// A key file holds something else.
    #[error("{}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// What it is not.
        source: KeyError,
    },
    /// A property's value is not where the settings say.
    #[error("kafka.properties.{key}: {cause}")]
    Property {
        /// Which property.
        key: String,
        /// What is wrong with that place.
        cause: String,
    },
    /// Nobody is trusted.
    #[error("no key is trusted: name public keys in [keys] trusted; `modelcast keys generate` makes some")]
    NoTrustedKeys,
    /// A publisher has no key.
    #[error("there is no key to sign with: name one in [keys] signing; `modelcast keys generate` makes one")]
    NoSigningKey,
    /// The keys cannot be used together.
    #[error("the trusted keys cannot be used")]
    Keys(#[source] KeyError),
    /// A value is not possible.
    #[error("{key} = {value:?} is not possible: {cause}")]
    Value {
        /// Which setting.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// Reads a settings file in TOML.
///
/// # Errors
/// [`SettingsError`] when the file cannot be read, is no TOML, or has a key or value that `T` does not take.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let text = read(path)?;
    toml::from_str(&text).map_err(|error| {
        // Not the error's own text: it repeats the line, and a secret may stand there.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let at = text.lines().nth(line - 1).unwrap_or_default();
        let key = at.split_once('=').map(|(key, _)| format!(", {}", key.trim())).unwrap_or_default();
        let what = if is_secret(at) { "a value of the wrong form (hidden)" } else { error.message() };
        let cause = format!("line {line}{key}: {what}");
        SettingsError::Malformed { path: path.to_owned(), cause }
    })
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: default_servers(),
            namespace: default_namespace(),
            properties: BTreeMap::new(),
        }
    }
}

impl TryFrom<KafkaSection> for KafkaSettings {
    type Error = SettingsError;

    fn try_from(section: KafkaSection) -> Result<Self, SettingsError> {
        let KafkaSection { bootstrap_servers, namespace, properties } = section;
        Ok(Self { bootstrap_servers, namespace, properties: properties::resolve(properties)? })
    }
}

/// As [`KafkaSettings::shown`].
impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl KafkaSettings {
    /// The settings as a start log shows them: key and value, secrets hidden.
    #[must_use]
    pub fn shown(&self) -> Vec<(String, String)> {
        let own = [
            ("kafka.bootstrap_servers".to_owned(), self.bootstrap_servers.clone()),
            ("kafka.namespace".to_owned(), self.namespace.to_string()),
        ];
        let properties = self.properties.iter().map(|(key, value)| {
            let value = if is_secret(key) { "(hidden)" } else { value };
            (format!("kafka.properties.{key}"), value.to_owned())
        });
        own.into_iter().chain(properties).collect()
    }
}

impl KeySettings {
    /// Reads the trusted public keys.
    ///
    /// # Errors
    /// [`SettingsError`] when there are none, or one cannot be read.
    pub fn trusted(&self) -> Result<TrustedKeys, SettingsError> {
        let mut files = Vec::new();
        for path in &self.trusted {
            if path.is_dir() { files.extend(public_keys_in(path)?) } else { files.push(path.clone()) }
        }
        if files.is_empty() {
            return Err(SettingsError::NoTrustedKeys);
        }
        let keys: Result<Vec<_>, _> = files
            .iter()
            .map(|path| {
                PublicKey::from_pem(&read(path)?)
                    .map_err(|source| SettingsError::Key { path: path.clone(), source })
            })
            .collect();
        TrustedKeys::new(keys?).map_err(SettingsError::Keys)
    }

    /// Reads the private key.
    ///
    /// # Errors
    /// [`SettingsError`] when there is none, or it cannot be read.
    pub fn signing(&self) -> Result<SigningKey, SettingsError> {
        let path = self.signing.as_ref().ok_or(SettingsError::NoSigningKey)?;
        SigningKey::from_pem(&read(path)?).map_err(|source| SettingsError::Key { path: path.clone(), source })
    }
}

fn public_keys_in(folder: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".pub.pem")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_MAX_BYTES {
        return Err(SettingsError::TooLarge { path: path.to_owned() });
    }
    fs::read_to_string(path).map_err(unreadable)
}

fn is_secret(key: &str) -> bool {
    ["password", "passphrase", "secret", "key.pem", "oauthbearer.config", "jaas"]
        .iter()
        .any(|part| key.contains(part))
}

fn default_servers() -> String {
    "localhost:9092".to_owned()
}

fn default_namespace() -> Namespace {
    Namespace::parse("modelcast").expect("the default namespace follows the grammar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Program {
        kafka: KafkaSettings,
    }

    fn load_text(text: &str) -> Result<Program, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program.toml");
        fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error =
            load_text("[kafka]\nbootstrap_servers = \"a:1\"\nbootstrap = 1\n").unwrap_err().to_string();
        for word in ["program.toml", "bootstrap", "line 3"] {
            assert!(error.contains(word), "{error:?} lacks {word:?}");
        }
    }

    #[test]
    fn a_secret_that_lacks_its_quotes_is_not_repeated() {
        let error = load_text("[kafka.properties]\n\"sasl.password\" = 12345\n").unwrap_err().to_string();
        assert!(error.contains("line 2, \"sasl.password\"") && !error.contains("12345"), "{error}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let text = "[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n\"sasl.username\" = \"ada\"\n\
                    \"sasl.oauthbearer.assertion.private.key.passphrase\" = \"hunter2\"\n";
        let shown = load_text(text).unwrap().kafka.shown();
        assert!(!format!("{shown:?}").contains("hunter2"));
        assert!(format!("{shown:?}").contains("ada"));
    }

    #[test]
    fn a_folder_of_keys_gives_its_public_ones() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::from_seed(&[1; 32]);
        fs::write(folder.path().join("a.pub.pem"), key.public().to_pem().unwrap()).unwrap();
        fs::write(folder.path().join("a.key.pem"), key.to_pem().unwrap()).unwrap();
        let settings = KeySettings {
            trusted: vec![folder.path().to_owned()],
            signing: Some(folder.path().join("a.key.pem")),
        };
        assert_eq!(settings.trusted().unwrap().ids().collect::<Vec<_>>(), [key.id()]);
        assert_eq!(settings.signing().unwrap().id(), key.id());
        assert!(matches!(KeySettings::default().trusted(), Err(SettingsError::NoTrustedKeys)));
    }
}
