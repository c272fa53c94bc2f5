//! From an artifact to a model: the formats that an application understands.
//!
//! The list is open: an application adds decoders of its own with [`Decoders::with`]. Does not fetch or verify bytes
//! and does not test the model (see `check`).
//!
//! # Invariants
//! * A decoder reads the artifact as a stream and refuses a declared size above its own cap before it reads.
//! * A format or required feature that is not known is refused by name.

use std::{fmt, io::Read, sync::Arc};

use modelcast_protocol::schema::FeatureSchema;
use thiserror::Error;

use crate::{
    glm::{GlmDecoder, GlmError},
    model::Model,
    nearest::start,
};

/// What a decoder is told beside the bytes; all of it from a verified manifest.
#[derive(Debug, Clone, Copy)]
pub struct DecodeContext<'a> {
    /// What the model takes and gives; it passed [`FeatureSchema::validate`].
    pub schema: &'a Arc<FeatureSchema>,
    /// Size of the artifact.
    pub size_bytes: u64,
    /// What the decoder must be able to do beyond the format's name.
    pub required_features: &'a [String],
}

/// Makes models from artifacts of one format.
pub trait Decoder: Send + Sync + 'static {
    /// The format's name, as manifests state it.
    fn format(&self) -> &str;

    /// Whether this decoder can do what a manifest requires beyond the format's name.
    fn supports(&self, required_feature: &str) -> bool {
        let _ = required_feature;
        false
    }

    /// Reads one artifact to its end and makes a model of it. The artifact may be 8 GiB on disk: what is held in
    /// memory is the decoder's choice; [`DecodeContext::read_whole`] serves those that hold all.
    ///
    /// Blocks for as long as reading and decoding take.
    ///
    /// # Errors
    /// [`DecodeError`], naming what is wrong with the artifact.
    fn decode(
        &self,
        artifact: &mut dyn Read,
        context: &DecodeContext<'_>,
    ) -> Result<Box<dyn Model>, DecodeError>;
}

/// The decoders of an application, one for each format. Cheap to clone.
#[derive(Clone, Default)]
pub struct Decoders(Vec<Arc<dyn Decoder>>);

/// Why an artifact did not become a model.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No decoder for the format.
    #[error("format {format:?} is unknown; known are: {known}")]
    UnknownFormat {
        /// The start of the format's name.
        format: String,
        /// The formats known, separated by commas.
        known: String,
    },
    /// The decoder cannot do what the manifest requires.
    #[error("the decoder of format {format:?} does not support {feature:?}")]
    UnsupportedFeature {
        /// The format.
        format: String,
        /// The start of what is required.
        feature: String,
    },
    /// The declared size is above the decoder's cap.
    #[error(
        "an artifact of {size_bytes} bytes is larger than {max_bytes}, the most for this format and schema"
    )]
    TooLarge {
        /// The size declared.
        size_bytes: u64,
        /// The most there may be.
        max_bytes: u64,
    },
    /// There is no memory for an artifact of the declared size.
    #[error("there is no memory for {size_bytes} bytes")]
    OutOfMemory {
        /// The size declared.
        size_bytes: u64,
    },
    /// The stream ended before or went on after the declared size.
    #[error("the artifact has {} {size_bytes} bytes declared", if *.longer { "more than the" } else { "less than the" })]
    Size {
        /// The size declared.
        size_bytes: u64,
        /// Whether there was more; else there was less.
        longer: bool,
    },
    /// The stream could not be read.
    #[error("the artifact could not be read")]
    Read(#[from] std::io::Error),
    /// Not a generalised linear model that fits the schema.
    #[error(transparent)]
    Glm(#[from] GlmError),
    /// A decoder of the application's own refused it.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl DecodeError {
    /// Whether decoding the same artifact again may succeed; otherwise the version is to be rejected.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(_) | Self::OutOfMemory { .. } => true,
            Self::UnknownFormat { .. }
            | Self::UnsupportedFeature { .. }
            | Self::TooLarge { .. }
            | Self::Size { .. }
            | Self::Glm(_)
            | Self::Other(_) => false,
        }
    }
}

impl DecodeContext<'_> {
    /// Reads a whole artifact into memory, when it is declared to have at most `max_bytes`.
    ///
    /// Allocates the declared size once, and never reads more than one byte beyond it.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] before anything is read, [`DecodeError::OutOfMemory`], [`DecodeError::Read`], and
    /// [`DecodeError::Size`] when the stream is shorter or longer than declared.
    pub fn read_whole(&self, artifact: &mut dyn Read, max_bytes: u64) -> Result<Vec<u8>, DecodeError> {
        let size_bytes = self.size_bytes;
        if size_bytes > max_bytes {
            return Err(DecodeError::TooLarge { size_bytes, max_bytes });
        }
        let mut bytes = Vec::new();
        let reserved = usize::try_from(size_bytes).map(|size| bytes.try_reserve_exact(size));
        if !matches!(reserved, Ok(Ok(()))) {
            return Err(DecodeError::OutOfMemory { size_bytes });
        }
        let read = artifact.take(size_bytes).read_to_end(&mut bytes)?;
        if u64::try_from(read) != Ok(size_bytes) {
            return Err(DecodeError::Size { size_bytes, longer: false });
        }
        if artifact.take(1).read_to_end(&mut Vec::new())? > 0 {
            return Err(DecodeError::Size { size_bytes, longer: true });
        }
        Ok(bytes)
    }
}

impl Decoders {
    /// The formats of this crate: `glm`.
    #[must_use]
    pub fn standard() -> Self {
        Self::default().with(GlmDecoder)
    }

    /// Adds a decoder; it takes the place of one that has the same format.
    #[must_use]
    pub fn with(mut self, decoder: impl Decoder) -> Self {
        self.0.retain(|held| held.format() != decoder.format());
        self.0.push(Arc::new(decoder));
        self
    }

    /// The decoder of a format.
    #[must_use]
    pub fn get(&self, format: &str) -> Option<&dyn Decoder> {
        self.0.iter().find(|decoder| decoder.format() == format).map(|decoder| &**decoder)
    }

    /// The names of the formats, in the order in which they were added.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|decoder| decoder.format())
    }

    /// The decoder of a format, if it supports all that is required of it. Reads nothing.
    ///
    /// # Errors
    /// [`DecodeError::UnknownFormat`] and [`DecodeError::UnsupportedFeature`].
    pub fn select(&self, format: &str, required_features: &[String]) -> Result<&dyn Decoder, DecodeError> {
        let decoder = self.get(format).ok_or_else(|| DecodeError::UnknownFormat {
            format: start(format),
            known: self.formats().collect::<Vec<_>>().join(", "),
        })?;
        check_supported(decoder, required_features)?;
        Ok(decoder)
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Decoders").field(&self.formats().collect::<Vec<_>>()).finish()
    }
}

impl Decoder for Box<dyn Decoder> {
    fn format(&self) -> &str {
        (**self).format()
    }

    fn supports(&self, required_feature: &str) -> bool {
        (**self).supports(required_feature)
    }

    fn decode(
        &self,
        artifact: &mut dyn Read,
        context: &DecodeContext<'_>,
    ) -> Result<Box<dyn Model>, DecodeError> {
        (**self).decode(artifact, context)
    }
}

/// Refuses the first required feature that a decoder does not support.
pub(crate) fn check_supported(decoder: &dyn Decoder, required: &[String]) -> Result<(), DecodeError> {
    match required.iter().find(|feature| !decoder.supports(feature)) {
        None => Ok(()),
        Some(feature) => Err(DecodeError::UnsupportedFeature {
            format: decoder.format().to_owned(),
            feature: start(feature),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PredictError;

    struct Constant;
    struct ConstantDecoder(&'static str);

    impl Model for Constant {
        fn width(&self) -> usize {
            0
        }
        fn outputs(&self) -> usize {
            0
        }
        fn predict(&self, _row: &[f64], _outputs: &mut [f64]) -> Result<(), PredictError> {
            Ok(())
        }
    }

    impl Decoder for ConstantDecoder {
        fn format(&self) -> &str {
            self.0
        }
        fn supports(&self, required_feature: &str) -> bool {
            required_feature == "quiet"
        }
        fn decode(
            &self,
            artifact: &mut dyn Read,
            context: &DecodeContext<'_>,
        ) -> Result<Box<dyn Model>, DecodeError> {
            context.read_whole(artifact, 4)?;
            Ok(Box::new(Constant))
        }
    }

    fn decode(artifact: &mut dyn Read, size_bytes: u64) -> Result<Box<dyn Model>, DecodeError> {
        let schema = Arc::new(FeatureSchema { features: Vec::new(), outputs: Vec::new() });
        let context = DecodeContext { schema: &schema, size_bytes, required_features: &[] };
        ConstantDecoder("constant").decode(artifact, &context)
    }

    #[test]
    fn an_application_brings_its_own_format_and_may_replace_one() {
        let boxed: Box<dyn Decoder> = Box::new(ConstantDecoder("constant"));
        let decoders = Decoders::standard().with(boxed).with(ConstantDecoder("glm"));
        assert_eq!(decoders.formats().collect::<Vec<_>>(), ["constant", "glm"]);
        assert!(decoders.get("glm").unwrap().supports("quiet"));
        assert_eq!(format!("{decoders:?}"), r#"Decoders(["constant", "glm"])"#);
    }

    #[test]
    fn an_unknown_format_or_required_feature_is_refused_by_name() {
        let decoders = Decoders::standard().with(ConstantDecoder("constant"));
        assert!(decoders.select("constant", &["quiet".into()]).is_ok());
        let rows = [
            ("onnx", "quiet", "format \"onnx\" is unknown; known are: glm, constant"),
            ("constant", "loud", "format \"constant\" does not support \"loud\""),
            ("glm", "quiet", "format \"glm\" does not support \"quiet\""),
        ];
        for (format, required, words) in rows {
            let error = decoders.select(format, &[required.into()]).err().unwrap();
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.is_transient());
        }
    }

    #[test]
    fn an_artifact_above_the_cap_is_refused_before_it_is_read() {
        struct Unreadable;
        impl Read for Unreadable {
            fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
                panic!("read before the cap was checked");
            }
        }
        for size_bytes in [5, u64::MAX] {
            let error = decode(&mut Unreadable, size_bytes).err().unwrap();
            assert!(matches!(error, DecodeError::TooLarge { max_bytes: 4, .. }), "{error}");
        }
    }

    #[test]
    fn a_stream_of_another_size_than_declared_is_refused_and_not_read_on() {
        assert!(decode(&mut &b"abc"[..], 3).is_ok());
        let error = decode(&mut &b"ab"[..], 3).err().unwrap();
        assert!(error.to_string().contains("less than"), "{error}");
        let mut endless = &[0_u8; 100][..];
        let error = decode(&mut endless, 3).err().unwrap();
        assert!(error.to_string().contains("more than"), "{error}");
        assert_eq!(endless.len(), 96);
    }
}
