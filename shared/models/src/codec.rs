//! Records of an application: named values in, predictions out, as JSON or MessagePack.
//!
//! Does not know a schema: what the values must be is `row`'s to say.
//!
//! # Invariants
//! * A record is one map of names to numbers and texts, without anything after it; anything else is an error that names
//!   the field.
//! * Memory is bounded by the record: its length is checked first, and a nested value is refused where it begins.
//! * A number that was read, predicted with and written keeps all its bits.

use std::{borrow::Cow, fmt, io::ErrorKind};

use modelcast_protocol::limits::FEATURE_COUNT_MAX;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap as _,
};
use thiserror::Error;

use crate::row::Value;

/// No value of a record lies deeper than its map.
const DEPTH_MAX: usize = 4;
/// Most of a text from outside that an error repeats.
const SHOWN_MAX: usize = 200;

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON object.
    Json,
    /// A MessagePack map.
    Msgpack,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Above the limit.
    #[error("a record of {found} bytes is larger than {max}")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Not such a map.
    #[error("not a {} of feature names to numbers and texts: {cause}", .format.noun())]
    Malformed {
        /// What it should be.
        format: Format,
        /// What the decoder met.
        cause: String,
    },
}

/// The named values of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Field<'a>)>);

#[derive(Debug, Clone, PartialEq)]
enum Field<'a> {
    Number(f64),
    Text(Cow<'a, str>),
}

/// What a record says of one prediction, in the schema's order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction<'a> {
    /// Value of each output.
    pub outputs: &'a [(&'a str, f64)],
    /// Label of those that have one.
    pub labels: &'a [(&'a str, &'a str)],
    /// What to know about the values that went in.
    pub warnings: &'a [String],
}

impl Format {
    /// The format of a `content-type`, whatever its parameters.
    #[must_use]
    pub fn of_content_type(text: &str) -> Option<Self> {
        let media = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "application/json" => Some(Self::Json),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Some(Self::Msgpack)
            }
            _ => None,
        }
    }

    /// The `content-type` of what is written.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/vnd.msgpack",
        }
    }

    /// The word of the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Json => "JSON object",
            Self::Msgpack => "MessagePack map",
        }
    }

    /// Reads a record of at most `max` bytes. Texts are borrowed from `bytes` where they stand there as they are.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] before anything is read, [`RecordError::Malformed`] for all that is not one such map.
    pub fn decode(self, bytes: &[u8], max: usize) -> Result<Fields<'_>, RecordError> {
        if bytes.len() > max {
            return Err(RecordError::TooLarge { found: bytes.len(), max });
        }
        let malformed = |cause: String| RecordError::Malformed { format: self, cause: bounded(&cause) };
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string())),
            Self::Msgpack => {
                let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
                decoder.set_max_depth(DEPTH_MAX);
                let fields =
                    Fields::deserialize(&mut decoder).map_err(|error| malformed(error.to_string()))?;
                // The decoder does not tell how far it came, but that there is nothing more.
                match IgnoredAny::deserialize(&mut decoder) {
                    Err(rmp_serde::decode::Error::InvalidMarkerRead(error))
                        if error.kind() == ErrorKind::UnexpectedEof =>
                    {
                        Ok(fields)
                    }
                    _ => Err(malformed("trailing bytes follow it".to_owned())),
                }
            }
        }
    }

    /// Writes a prediction.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for a value that has no such form, which no finite number is.
    pub fn encode(self, prediction: &Prediction<'_>) -> Result<Vec<u8>, RecordError> {
        let malformed = |cause: String| RecordError::Malformed { format: self, cause };
        match self {
            Self::Json => serde_json::to_vec(prediction).map_err(|error| malformed(error.to_string())),
            Self::Msgpack => {
                rmp_serde::to_vec_named(prediction).map_err(|error| malformed(error.to_string()))
            }
        }
    }
}

impl Fields<'_> {
    /// The values as an encoder takes them.
    pub fn values(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.0.iter().map(|(name, field)| {
            let value = match field {
                Field::Number(number) => Value::Number(*number),
                Field::Text(text) => Value::Category(text),
            };
            (name.as_ref(), value)
        })
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of feature names to numbers and texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    if fields.len() == FEATURE_COUNT_MAX {
                        return Err(de::Error::custom(format!("more than {FEATURE_COUNT_MAX} fields")));
                    }
                    let value = map.next_value::<Field<'de>>();
                    let value =
                        value.map_err(|error| de::Error::custom(format!("field {name:?}: {error}")))?;
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(OfMap)
    }
}

/// A text, borrowed where it can be.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Field::deserialize(deserializer)? {
            Field::Text(text) => Ok(Self(text)),
            Field::Number(number) => Err(de::Error::custom(format!("{number} is no feature's name"))),
        }
    }
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfScalar;
        impl<'de> Visitor<'de> for OfScalar {
            type Value = Field<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Field::Number(number))
            }

            #[expect(clippy::cast_precision_loss, reason = "as JSON readers in all languages take it")]
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Field::Number(number as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "as JSON readers in all languages take it")]
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Field::Number(number as f64))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Field::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Field::Text(Cow::Borrowed(text)))
            }
        }
        deserializer.deserialize_any(OfScalar)
    }
}

impl Serialize for Prediction<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (labels, warnings) = (!self.labels.is_empty(), !self.warnings.is_empty());
        let mut map = serializer.serialize_map(Some(1 + usize::from(labels) + usize::from(warnings)))?;
        map.serialize_entry("outputs", &Pairs(self.outputs))?;
        if labels {
            map.serialize_entry("labels", &Pairs(self.labels))?;
        }
        if warnings {
            map.serialize_entry("warnings", self.warnings)?;
        }
        map.end()
    }
}

struct Pairs<'a, T>(&'a [(&'a str, T)]);

impl<T: Serialize> Serialize for Pairs<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_000;

    fn msgpack(json: &str) -> Vec<u8> {
        rmp_serde::to_vec_named(&serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap()
    }

    #[test]
    fn both_formats_give_the_same_values_to_the_last_bit() {
        let text = r#"{"area": 0.1, "rooms": 3, "depth": -2, "zone": "town", "ß\n": "a\"b"}"#;
        let expected = [
            ("area", Value::Number(0.1)),
            ("rooms", Value::Number(3.0)),
            ("depth", Value::Number(-2.0)),
            ("zone", Value::Category("town")),
            ("ß\n", Value::Category("a\"b")),
        ];
        let json = Format::Json.decode(text.as_bytes(), MAX).unwrap();
        let bytes = msgpack(text);
        let msgpack = Format::Msgpack.decode(&bytes, MAX).unwrap();
        for fields in [json, msgpack] {
            let mut found: Vec<_> = fields.values().collect();
            found.sort_by_key(|(name, _)| expected.iter().position(|(other, _)| other == name));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_bad_record_is_named_with_its_field() {
        let rows = [
            ("", "EOF"),
            ("7", "map"),
            ("[]", "map"),
            (r#"{"area": 1"#, "EOF"),
            (r#"{"area": 1} 2"#, "trailing"),
            (r#"{"area": null}"#, "\"area\""),
            (r#"{"area": true}"#, "\"area\""),
            (r#"{"area": [1]}"#, "\"area\""),
            (r#"{"area": {"in": 1}}"#, "\"area\""),
            (r#"{"area": NaN}"#, "expected value"),
        ];
        for (text, word) in rows {
            let error = Format::Json.decode(text.as_bytes(), MAX).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error:?} lacks {word:?}");
        }
        for text in [r#"{"area": null}"#, r#"{"area": [1]}"#, r#"{"area": {"in": 1}}"#] {
            let error = Format::Msgpack.decode(&msgpack(text), MAX).unwrap_err().to_string();
            assert!(error.contains("\"area\""), "{text}: {error:?}");
        }
        let large = vec![b' '; MAX + 1];
        assert_eq!(Format::Json.decode(&large, MAX), Err(RecordError::TooLarge { found: MAX + 1, max: MAX }));
    }

    #[test]
    fn hostile_msgpack_is_an_error() {
        let mut trailing = msgpack(r#"{"area": 1}"#);
        trailing.push(0);
        let huge_map = [0xdf, 0xff, 0xff, 0xff, 0xff];
        let huge_text = [0x81, 0xdb, 0xff, 0xff, 0xff, 0xff];
        let number_for_a_name = [0x81, 0x01, 0x02];
        for bytes in
            [&trailing[..], &huge_map, &huge_text, &number_for_a_name, &[0x91; 900], b"", b"\xc1", b"\xc0"]
        {
            assert!(Format::Msgpack.decode(bytes, MAX).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_prediction_says_what_there_is() {
        let warnings = ["area = 9 is outside of 1 to 2".to_owned()];
        let outputs = [("malignant", 0.1 + 0.2), ("price", 1e25)];
        let whole = Prediction { outputs: &outputs, labels: &[("malignant", "no")], warnings: &warnings };
        let json = r#"{"outputs":{"malignant":0.30000000000000004,"price":1e+25},"labels":{"malignant":"no"},"warnings":["area = 9 is outside of 1 to 2"]}"#;
        assert_eq!(String::from_utf8(Format::Json.encode(&whole).unwrap()).unwrap(), json);
        let bytes = Format::Msgpack.encode(&whole).unwrap();
        let back: serde_json::Value = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(back, serde_json::from_str::<serde_json::Value>(json).unwrap());
        let plain = Prediction { labels: &[], warnings: &[], ..whole };
        let json = r#"{"outputs":{"malignant":0.30000000000000004,"price":1e+25}}"#;
        assert_eq!(String::from_utf8(Format::Json.encode(&plain).unwrap()).unwrap(), json);
    }

    #[test]
    fn a_content_type_names_its_format() {
        let rows = [
            ("application/json; charset=utf-8", Some(Format::Json)),
            ("Application/MsgPack", Some(Format::Msgpack)),
            ("text/csv", None),
            ("", None),
        ];
        for (text, format) in rows {
            assert_eq!(Format::of_content_type(text), format, "{text}");
        }
    }
}
