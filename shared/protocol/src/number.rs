//! Versions and generations: two counters that must never be mistaken for each other.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

/// Number of one published manifest of a model: 1, 2, 3 …, given by the announcement that first names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(u64);

/// Counter of a model's desired state: one per announcement, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a version: a whole number from 1")]
pub struct VersionError {
    text: String,
}

impl Version {
    /// The first version of a model.
    pub const FIRST: Self = Self(1);

    /// A version from its number; `None` for 0.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The version after this one; stays at `u64::MAX`, which no model reaches.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Generation {
    /// Before any announcement.
    pub const ZERO: Self = Self(0);

    /// A generation from its number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The generation that a publisher proposes after seeing this one. At `u64::MAX` there is none.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| D::Error::custom("a version is a whole number from 1, not 0"))
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let number = text.strip_prefix('v').unwrap_or(text).parse().ok().and_then(Self::new);
        number.ok_or_else(|| VersionError { text: text.chars().take(40).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_starts_at_one() {
        assert_eq!("7".parse::<Version>().unwrap().get(), 7);
        assert_eq!("v7".parse::<Version>().unwrap().get(), 7);
        for bad in ["0", "-1", "", "1.5", "latest"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_generation_follows_the_last() {
        assert_eq!(Generation::ZERO.next(), Some(Generation::new(1)));
        assert_eq!(Generation::new(u64::MAX).next(), None);
    }
}
