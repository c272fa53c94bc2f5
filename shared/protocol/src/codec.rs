//! Named MessagePack: the one codec for what Modelcast puts into records.
//!
//! Fields travel by name, so that a reader skips those it does not know and a new field with a default does not
//! break an old reader. Every encoded type carries `v`, its major version; a reader refuses a higher one.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::limits::CODEC_DEPTH_MAX;

/// A type that is encoded with its major version in a field `v`.
pub trait Record: Serialize + DeserializeOwned {
    /// The highest major version that this code understands.
    const VERSION: u16;
    /// What it is called in errors.
    const NOUN: &'static str;
}

/// Why bytes did not become a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The bytes are not the MessagePack of this type.
    #[error("{noun} cannot be decoded: {cause}")]
    Malformed {
        /// Which record.
        noun: &'static str,
        /// What the decoder met.
        cause: String,
    },
    /// Bytes follow after the value.
    #[error("{noun} is followed by {count} bytes that do not belong to it")]
    TrailingBytes {
        /// Which record.
        noun: &'static str,
        /// How many.
        count: usize,
    },
    /// The writer is a major version ahead.
    #[error("{noun} has version {found}, and this program understands up to {known}: upgrade it")]
    UnknownVersion {
        /// Which record.
        noun: &'static str,
        /// The version in the bytes.
        found: u16,
        /// The highest understood.
        known: u16,
    },
    /// The value is decoded but says something that no writer of ours says.
    #[error("{noun} is not valid: {cause}")]
    Invalid {
        /// Which record.
        noun: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The value cannot be encoded; only a value built wrongly in this process.
    #[error("{noun} cannot be encoded: {cause}")]
    Unencodable {
        /// Which record.
        noun: &'static str,
        /// What the encoder met.
        cause: String,
    },
}

#[derive(Deserialize)]
struct Head {
    v: u16,
}

/// Encodes a record as a MessagePack map with field names.
///
/// # Errors
/// [`CodecError::Unencodable`] when a value has no MessagePack form.
pub fn encode<T: Record>(value: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec_named(value)
        .map_err(|error| CodecError::Unencodable { noun: T::NOUN, cause: error.to_string() })
}

/// Decodes a record; the caller has checked the length of `bytes` against its limit.
///
/// # Errors
/// [`CodecError::UnknownVersion`] for a newer major version, [`CodecError::Malformed`] and
/// [`CodecError::TrailingBytes`] for anything else that is not exactly one value of this type.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T, CodecError> {
    let head: Head = value(bytes, T::NOUN)?.0;
    if head.v > T::VERSION {
        return Err(CodecError::UnknownVersion { noun: T::NOUN, found: head.v, known: T::VERSION });
    }
    let (value, rest) = value(bytes, T::NOUN)?;
    if rest > 0 {
        return Err(CodecError::TrailingBytes { noun: T::NOUN, count: rest });
    }
    Ok(value)
}

fn value<T: DeserializeOwned>(bytes: &[u8], noun: &'static str) -> Result<(T, usize), CodecError> {
    let mut rest = bytes;
    let mut decoder = rmp_serde::Deserializer::new(&mut rest);
    decoder.set_max_depth(CODEC_DEPTH_MAX);
    let value = T::deserialize(&mut decoder)
        .map_err(|error| CodecError::Malformed { noun, cause: bounded(&error.to_string()) })?;
    Ok((value, rest.len()))
}

/// Cuts a text that may repeat input to a length that fits a log line.
fn bounded(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        v: u16,
        name: String,
    }
    #[derive(Serialize, Deserialize)]
    struct New {
        v: u16,
        name: String,
        added: Vec<u64>,
    }
    impl Record for Old {
        const VERSION: u16 = 1;
        const NOUN: &'static str = "old";
    }
    impl Record for New {
        const VERSION: u16 = 2;
        const NOUN: &'static str = "new";
    }

    #[test]
    fn an_old_reader_skips_a_field_it_does_not_know() {
        let bytes = encode(&New { v: 1, name: "a".into(), added: vec![1] }).unwrap();
        assert_eq!(decode::<Old>(&bytes).unwrap(), Old { v: 1, name: "a".into() });
    }

    #[test]
    fn a_newer_major_version_is_refused_by_number() {
        let bytes = encode(&New { v: 2, name: "a".into(), added: vec![] }).unwrap();
        assert_eq!(
            decode::<Old>(&bytes),
            Err(CodecError::UnknownVersion { noun: "old", found: 2, known: 1 })
        );
    }

    #[test]
    fn hostile_bytes_are_errors() {
        let nested = vec![0x91; 200_000];
        let huge_array = [0xdd, 0xff, 0xff, 0xff, 0xff];
        let mut trailing = encode(&Old { v: 1, name: "a".into() }).unwrap();
        trailing.push(0);
        for bytes in [&nested[..], &huge_array, &trailing, b"", b"\xc1"] {
            assert!(decode::<Old>(bytes).is_err());
        }
    }
}
