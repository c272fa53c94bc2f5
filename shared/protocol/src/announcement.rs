//! The announcement: the signed desired state of one model at one generation.
//!
//! Its payload is a frame whose layout never changes, then the body as named MessagePack. A reader of any age can
//! verify the frame and so follow generations, even when it does not understand the body.
//!
//! ```text
//! size  frame, big-endian
//!    1  frame version, 1
//!  1+n  length and text of the namespace
//!  1+n  length and text of the model
//!    8  generation, from 1
//!    1  count of `recent`, at most 64
//! 32*n  digests of the predecessors, oldest first; the last is the announcement that this one was computed from
//! ```

use thiserror::Error;

use crate::{
    codec::{self, CodecError},
    desired::DesiredState,
    digest::Digest,
    envelope::{self, EnvelopeError, Purpose},
    key::{KeyId, SigningKey, TrustedKeys},
    limits::{ANNOUNCEMENT_MAX_BYTES, RECENT_MAX},
    name::{ModelName, Namespace},
    number::Generation,
};

const FRAME_VERSION: u8 = 1;

/// The part of an announcement that every reader understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it holds.
    pub namespace: Namespace,
    /// Of which model.
    pub model: ModelName,
    /// The generation it proposes.
    pub generation: Generation,
    /// Digests of its predecessors, oldest first, at most [`RECENT_MAX`].
    pub recent: Vec<Digest>,
}

/// A verified announcement.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// Where, of which model, which generation, after which.
    pub frame: Frame,
    /// The desired state, or why this program does not understand it.
    pub body: Result<DesiredState, CodecError>,
    /// Digest of the signed payload.
    pub digest: Digest,
    /// Who signed it.
    pub signer: KeyId,
}

/// An announcement ready to be sent, as often as needed: the same bytes are the same announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAnnouncement {
    /// Digest of the signed payload.
    pub digest: Digest,
    /// The generation it proposes.
    pub generation: Generation,
    /// The record's value.
    pub bytes: Vec<u8>,
}

/// Why a record is not an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnnouncementError {
    /// Above the limit.
    #[error("an announcement of {found} bytes is larger than {ANNOUNCEMENT_MAX_BYTES}")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not trusted.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload does not start with a frame.
    #[error("the announcement's frame is damaged or of an unknown layout")]
    Frame,
    /// The body cannot be written.
    #[error(transparent)]
    Body(#[from] CodecError),
}

impl Frame {
    /// Signs this frame with a desired state.
    ///
    /// # Errors
    /// [`AnnouncementError::Body`] for a state that is not valid, [`AnnouncementError::TooLarge`] for one that does
    /// not fit a record, [`AnnouncementError::Frame`] for too many predecessors or generation 0.
    pub fn seal(
        &self,
        state: &DesiredState,
        key: &SigningKey,
    ) -> Result<SealedAnnouncement, AnnouncementError> {
        state.validate()?;
        let mut payload = self.encode().ok_or(AnnouncementError::Frame)?;
        payload.extend(codec::encode(state)?);
        let bytes = envelope::seal(Purpose::Announcement, &payload, key);
        if bytes.len() > ANNOUNCEMENT_MAX_BYTES {
            return Err(AnnouncementError::TooLarge { found: bytes.len() });
        }
        Ok(SealedAnnouncement { digest: Digest::of(&payload), generation: self.generation, bytes })
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let count = u8::try_from(self.recent.len()).ok().filter(|&count| usize::from(count) <= RECENT_MAX)?;
        // Zero stands for "nothing announced yet" in status records and on disk.
        (self.generation > Generation::ZERO).then_some(())?;
        let mut bytes = vec![FRAME_VERSION];
        for name in [self.namespace.as_str(), self.model.as_str()] {
            bytes.push(u8::try_from(name.len()).ok()?);
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(&self.generation.get().to_be_bytes());
        bytes.push(count);
        bytes.extend(self.recent.iter().flat_map(|digest| digest.as_bytes()));
        Some(bytes)
    }

    /// Reads a frame; gives it with the bytes after it.
    fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (&[version], rest) = payload.split_first_chunk::<1>()?;
        let (namespace, rest) = text(rest)?;
        let (model, rest) = text(rest)?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (&[count], rest) = rest.split_first_chunk::<1>()?;
        let (digests, body) = rest.split_at_checked(usize::from(count) * 32)?;
        let known = version == FRAME_VERSION && usize::from(count) <= RECENT_MAX && *generation != [0; 8];
        let recent = digests.as_chunks::<32>().0.iter().copied().map(Digest::from_bytes).collect();
        let frame = Self {
            namespace: Namespace::parse(namespace).ok()?,
            model: ModelName::parse(model).ok()?,
            generation: Generation::new(u64::from_be_bytes(*generation)),
            recent,
        };
        known.then_some((frame, body))
    }
}

/// Verifies the bytes of an announcement and reads its frame; the body may still not be understood.
///
/// # Errors
/// [`AnnouncementError`], in the order of its variants, but never `Body`.
pub fn open(bytes: &[u8], keys: &TrustedKeys) -> Result<Announcement, AnnouncementError> {
    if bytes.len() > ANNOUNCEMENT_MAX_BYTES {
        return Err(AnnouncementError::TooLarge { found: bytes.len() });
    }
    let opened = envelope::open(Purpose::Announcement, bytes, keys)?;
    let (frame, body) = Frame::decode(opened.payload).ok_or(AnnouncementError::Frame)?;
    let body = codec::decode::<DesiredState>(body).and_then(|state| state.validate().map(|()| state));
    Ok(Announcement { frame, body, digest: opened.digest, signer: opened.signer })
}

/// What a record that was **not** verified claims to be.
#[must_use]
pub fn claimed_frame(bytes: &[u8]) -> Option<Frame> {
    let bounded = (bytes.len() <= ANNOUNCEMENT_MAX_BYTES).then_some(bytes)?;
    let (_, payload) = envelope::claim(Purpose::Announcement, bounded).ok()?;
    Frame::decode(payload).map(|(frame, _)| frame)
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&[length], rest) = bytes.split_first_chunk::<1>()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
