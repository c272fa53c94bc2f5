//! How an embedded file is laid out: a head of three lengths, then announcement, manifest and artifact as they are.
//!
//! ```text
//! offset  size  big-endian
//!      0     8  magic "MDCEMBED"
//!      8     2  version of this layout, 1
//!     10     4  length of the announcement
//!     14     4  length of the manifest
//!     18     8  length of the artifact
//!     26     -  the signed announcement, the signed manifest, the artifact's raw bytes
//! ```
//! Pure: neither reads files nor judges signatures. `docs/embedded.md` says the same in prose.
//!
//! # Invariants
//! * A length is below its cap, and all of them together are the file's, before anything is read because of them.

use std::ops::Range;

use modelcast_protocol::limits::{ANNOUNCEMENT_MAX_BYTES, ARTIFACT_MAX_BYTES, MANIFEST_MAX_BYTES};
use thiserror::Error;

const MAGIC: &[u8; 8] = b"MDCEMBED";
const VERSION: u16 = 1;
/// Bytes before the announcement.
pub const HEADER_BYTES: usize = 26;

/// Where the parts of an embedded file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    announcement_bytes: u32,
    manifest_bytes: u32,
    artifact_bytes: u64,
}

/// Why bytes are not an embedded file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// Something else, or cut off within the first bytes.
    #[error("not an embedded model: it does not start with \"MDCEMBED\"; `modelcast pull` writes one")]
    Magic,
    /// Written by a later release.
    #[error("the embedded model has layout {found}, and this program understands {VERSION}: upgrade it")]
    UnknownVersion {
        /// The version in the file.
        found: u16,
    },
    /// A part that is larger than it may be.
    #[error("the {part} has {found} bytes, {allowed} are allowed")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Its length.
        found: u64,
        /// The cap.
        allowed: u64,
    },
    /// Cut off, or continued by somebody.
    #[error("the embedded model has {found} bytes, its parts have {stated}: it was not written to its end")]
    OtherSize {
        /// Bytes there.
        found: u64,
        /// Bytes stated.
        stated: u64,
    },
}

impl Layout {
    /// The layout of these parts, the signed records as they are in their topics.
    ///
    /// # Errors
    /// [`LayoutError::TooLarge`].
    pub fn of(announcement: &[u8], manifest: &[u8], artifact_bytes: u64) -> Result<Self, LayoutError> {
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        let (announcement_bytes, manifest_bytes) = (length(announcement), length(manifest));
        Self { announcement_bytes, manifest_bytes, artifact_bytes }.capped()
    }

    /// Reads the first bytes of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// [`LayoutError`], in the order of its variants.
    pub fn decode(start: &[u8], file_bytes: u64) -> Result<Self, LayoutError> {
        let (magic, rest) = start.split_first_chunk::<8>().ok_or(LayoutError::Magic)?;
        if magic != MAGIC {
            return Err(LayoutError::Magic);
        }
        let short = || LayoutError::OtherSize { found: file_bytes, stated: HEADER_BYTES as u64 };
        let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let found = u16::from_be_bytes(*version);
        if found != VERSION {
            return Err(LayoutError::UnknownVersion { found });
        }
        let (announcement, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (manifest, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (artifact, _) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let layout = Self {
            announcement_bytes: u32::from_be_bytes(*announcement),
            manifest_bytes: u32::from_be_bytes(*manifest),
            artifact_bytes: u64::from_be_bytes(*artifact),
        };
        let layout = layout.capped()?;
        let stated = layout.artifact_at() + layout.artifact_bytes;
        if stated != file_bytes {
            return Err(LayoutError::OtherSize { found: file_bytes, stated });
        }
        Ok(layout)
    }

    /// The first bytes of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts: [&[u8]; 5] = [
            MAGIC,
            &VERSION.to_be_bytes(),
            &self.announcement_bytes.to_be_bytes(),
            &self.manifest_bytes.to_be_bytes(),
            &self.artifact_bytes.to_be_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Where the announcement is.
    #[must_use]
    pub fn announcement(&self) -> Range<usize> {
        HEADER_BYTES..HEADER_BYTES + self.announcement_bytes as usize
    }

    /// Where the manifest is.
    #[must_use]
    pub fn manifest(&self) -> Range<usize> {
        let start = self.announcement().end;
        start..start + self.manifest_bytes as usize
    }

    /// Where the artifact starts; it goes on to the file's end.
    #[must_use]
    pub fn artifact_at(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.announcement_bytes) + u64::from(self.manifest_bytes)
    }

    fn capped(self) -> Result<Self, LayoutError> {
        let parts = [
            ("announcement", u64::from(self.announcement_bytes), ANNOUNCEMENT_MAX_BYTES as u64),
            ("manifest", u64::from(self.manifest_bytes), MANIFEST_MAX_BYTES as u64),
            ("artifact", self.artifact_bytes, ARTIFACT_MAX_BYTES),
        ];
        match parts.into_iter().find(|(_, found, allowed)| found > allowed) {
            Some((part, found, allowed)) => Err(LayoutError::TooLarge { part, found, allowed }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(announcement: u32, manifest: u32, artifact: u64) -> [u8; HEADER_BYTES] {
        Layout { announcement_bytes: announcement, manifest_bytes: manifest, artifact_bytes: artifact }
            .encode()
    }

    #[test]
    fn a_layout_gives_the_places_of_its_parts() {
        let layout = Layout::of(b"announced", b"manifest", 5).unwrap();
        assert_eq!((layout.announcement(), layout.manifest(), layout.artifact_at()), (26..35, 35..43, 43));
        assert_eq!(Layout::decode(&layout.encode(), 48), Ok(layout));
    }

    #[test]
    fn what_a_header_claims_is_held_against_caps_and_the_file() {
        let cut = |length: usize| Layout::decode(&header(1, 1, 1)[..length], length as u64);
        for (found, words) in [
            (Layout::decode(b"", 0), "does not start with"),
            (Layout::decode(b"MDC1 is a record, not a file", 28), "does not start with"),
            (cut(9), "has 9 bytes"),
            (cut(25), "has 25 bytes"),
            (Layout::decode(&header(1, 1, 1), 28), "has 28 bytes, its parts have 29"),
            (Layout::decode(&header(1, 1, 1), 30), "has 30 bytes, its parts have 29"),
            (Layout::decode(&header(u32::MAX, 1, 1), 100), "the announcement has 4294967295 bytes"),
            (Layout::decode(&header(1, 900_001, 1), 100), "the manifest has 900001 bytes"),
            (Layout::decode(&header(1, 1, u64::MAX), 100), "the artifact has 18446744073709551615 bytes"),
        ] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
        let mut newer = header(1, 1, 1);
        newer[9] = 2;
        assert_eq!(Layout::decode(&newer, 29), Err(LayoutError::UnknownVersion { found: 2 }));
    }
}
