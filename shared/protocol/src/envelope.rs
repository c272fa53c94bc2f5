//! The signed envelope around announcements and manifests.
//!
//! ```text
//! offset  size
//!      0     4  magic "MDC1"
//!      4     1  purpose: 1 announcement, 2 manifest
//!      5     8  key id: first 8 bytes of BLAKE3(public key)
//!     13    64  Ed25519 signature over domain || payload
//!     77     -  payload
//! ```
//! The domain is `modelcast/v1/announcement` or `modelcast/v1/manifest`, then one zero byte: a signature of one
//! purpose is worth nothing for the other. The layout never changes.

use thiserror::Error;

use crate::{
    digest::Digest,
    key::{KeyId, SigningKey, TrustedKeys},
};

const MAGIC: &[u8; 4] = b"MDC1";
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 77;

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A model's desired state.
    Announcement,
    /// The description of one version.
    Manifest,
}

/// A payload whose signature was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The trusted key that signed.
    pub signer: KeyId,
    /// The signed bytes.
    pub payload: &'a [u8],
    /// Digest of the signed bytes.
    pub digest: Digest,
}

/// Why an envelope is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Fewer bytes than a header has.
    #[error("{found} bytes are too short for a signed record")]
    TooShort {
        /// How many there were.
        found: usize,
    },
    /// Not a signed record of ours.
    #[error("not a signed record: it does not start with \"MDC1\"")]
    Magic,
    /// Signed for something else.
    #[error("signed for purpose {found}, wanted {wanted}")]
    WrongPurpose {
        /// The purpose byte in the record.
        found: u8,
        /// The purpose byte wanted.
        wanted: u8,
    },
    /// The signer is not among the trusted keys.
    #[error("signed by key {key_id}, which is not trusted here")]
    UnknownKey {
        /// The id in the record.
        key_id: KeyId,
    },
    /// The signature does not verify.
    #[error("the signature of key {key_id} does not verify")]
    BadSignature {
        /// The id in the record.
        key_id: KeyId,
    },
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Announcement => 1,
            Self::Manifest => 2,
        }
    }

    fn domain(self) -> &'static [u8] {
        match self {
            Self::Announcement => b"modelcast/v1/announcement\0",
            Self::Manifest => b"modelcast/v1/manifest\0",
        }
    }

    fn message(self, payload: &[u8]) -> Vec<u8> {
        [self.domain(), payload].concat()
    }
}

/// Signs a payload and puts it into an envelope.
#[must_use]
pub fn seal(purpose: Purpose, payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&purpose.message(payload));
    [MAGIC.as_slice(), &[purpose.byte()], key.id().as_bytes(), &signature, payload].concat()
}

/// Verifies an envelope; the caller has checked its length against its limit.
///
/// # Errors
/// [`EnvelopeError`], in the order of its variants.
pub fn open<'a>(purpose: Purpose, bytes: &'a [u8], keys: &TrustedKeys) -> Result<Opened<'a>, EnvelopeError> {
    let parts = split(purpose, bytes)?;
    let key = keys.get(parts.key_id).ok_or(EnvelopeError::UnknownKey { key_id: parts.key_id })?;
    if !key.verifies(&purpose.message(parts.payload), parts.signature) {
        return Err(EnvelopeError::BadSignature { key_id: parts.key_id });
    }
    Ok(Opened { signer: parts.key_id, payload: parts.payload, digest: Digest::of(parts.payload) })
}

/// The payload of an envelope that was **not** verified: for saying what an untrusted record claims.
///
/// # Errors
/// [`EnvelopeError`] when the bytes are no envelope for this purpose.
pub fn claim(purpose: Purpose, bytes: &[u8]) -> Result<(KeyId, &[u8]), EnvelopeError> {
    split(purpose, bytes).map(|parts| (parts.key_id, parts.payload))
}

struct Parts<'a> {
    key_id: KeyId,
    signature: &'a [u8; 64],
    payload: &'a [u8],
}

fn split(purpose: Purpose, bytes: &[u8]) -> Result<Parts<'_>, EnvelopeError> {
    let short = || EnvelopeError::TooShort { found: bytes.len() };
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let (&[found], rest) = rest.split_first_chunk::<1>().ok_or_else(short)?;
    let (key_id, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let (signature, payload) = rest.split_first_chunk::<64>().ok_or_else(short)?;
    if magic != MAGIC {
        return Err(EnvelopeError::Magic);
    }
    if found != purpose.byte() {
        return Err(EnvelopeError::WrongPurpose { found, wanted: purpose.byte() });
    }
    Ok(Parts { key_id: KeyId::from_bytes(*key_id), signature, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &SigningKey) -> TrustedKeys {
        TrustedKeys::new([key.public()]).unwrap()
    }

    #[test]
    fn a_sealed_payload_opens_with_its_key_only() {
        let (ours, theirs) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let bytes = seal(Purpose::Manifest, b"payload", &ours);
        let opened = open(Purpose::Manifest, &bytes, &keys(&ours)).unwrap();
        assert_eq!((opened.payload, opened.signer), (b"payload".as_slice(), ours.id()));
        assert_eq!(opened.digest, Digest::of(b"payload"));
        assert!(matches!(
            open(Purpose::Manifest, &bytes, &keys(&theirs)),
            Err(EnvelopeError::UnknownKey { .. })
        ));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let bytes = seal(Purpose::Announcement, b"payload", &key);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(Purpose::Announcement, &flipped, &keys(&key)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_signature_for_one_purpose_is_none_for_the_other() {
        let key = SigningKey::from_seed(&[1; 32]);
        let mut bytes = seal(Purpose::Announcement, b"payload", &key);
        bytes[4] = 2;
        assert!(matches!(
            open(Purpose::Manifest, &bytes, &keys(&key)),
            Err(EnvelopeError::BadSignature { .. })
        ));
    }

    #[test]
    fn every_truncation_is_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let bytes = seal(Purpose::Announcement, b"payload", &key);
        for length in 0..bytes.len() {
            assert!(open(Purpose::Announcement, &bytes[..length], &keys(&key)).is_err(), "{length}");
        }
    }
}
