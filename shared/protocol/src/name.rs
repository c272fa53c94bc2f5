//! Names of namespaces, models and instances.
//!
//! One grammar for all three, so that each can stand in a topic name, a key, a path and a URL without escaping:
//! `[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?`. Labels and feature names are not names in this sense.

use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest name, in bytes: a topic `<namespace>.blobs.<model>` stays below Kafka's 249.
pub const NAME_MAX_BYTES: usize = 64;

/// What a [`Name`] names; makes a model's name and an instance's name different types.
pub trait NameKind {
    /// The noun for error messages.
    const NOUN: &'static str;
}

/// Marks the name of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceKind;
/// Marks the name of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKind;
/// Marks the name of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKind;

impl NameKind for NamespaceKind {
    const NOUN: &'static str = "namespace";
}
impl NameKind for ModelKind {
    const NOUN: &'static str = "model";
}
impl NameKind for InstanceKind {
    const NOUN: &'static str = "instance";
}

/// Prefix of all topics of one installation.
pub type Namespace = Name<NamespaceKind>;
/// A named line of versions.
pub type ModelName = Name<ModelKind>;
/// One subscribing process.
pub type InstanceName = Name<InstanceKind>;

/// A checked name; cloning it copies a pointer.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<K> {
    text: Arc<str>,
    kind: PhantomData<K>,
}

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{noun} name {text:?} does not match [a-z0-9]([a-z0-9._-]{{0,62}}[a-z0-9])?")]
pub struct NameError {
    noun: &'static str,
    text: String,
}

impl<K: NameKind> Name<K> {
    /// Checks a text against the grammar.
    ///
    /// # Errors
    /// [`NameError`] when the text does not match it; at most 80 characters of the text are repeated.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        let fits = bytes.len() <= NAME_MAX_BYTES
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().copied().all(inner);
        if fits {
            Ok(Self { text: text.into(), kind: PhantomData })
        } else {
            Err(NameError { noun: K::NOUN, text: text.chars().take(80).collect() })
        }
    }
}

impl<K> Name<K> {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<K> Clone for Name<K> {
    fn clone(&self) -> Self {
        Self { text: Arc::clone(&self.text), kind: PhantomData }
    }
}

impl<K> fmt::Display for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<K> fmt::Debug for Name<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl<K: NameKind> FromStr for Name<K> {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl<K> Serialize for Name<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, K: NameKind> Deserialize<'de> for Name<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        let longest = "a".repeat(64);
        for good in ["a", "0", "ames-price", "a.b_c-d9", longest.as_str()] {
            assert!(ModelName::parse(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", "-a", "a-", ".a", "A", "a b", "a/b", "ä", "a\n", too_long.as_str()] {
            assert!(ModelName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_names_the_noun_and_the_text() {
        let error = InstanceName::parse("Up").unwrap_err().to_string();
        assert!(error.contains("instance") && error.contains("\"Up\""), "{error}");
    }
}
