//! Ed25519 keys: who may publish, and whom a process trusts.
//!
//! Keys are PEM files (PKCS #8 for the private one, SPKI for the public one), as `openssl genpkey` writes them.

use std::{collections::BTreeMap, fmt};

use ed25519_dalek::{
    Signature, Signer as _, SigningKey as DalekSigningKey, VerifyingKey,
    pkcs8::{
        DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding,
    },
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{digest::Digest, limits::TRUSTED_KEYS_MAX};

/// The first 8 bytes of the BLAKE3 digest of a public key: says which key signed, proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId([u8; 8]);

/// Private half of a publisher's key.
#[derive(Clone)]
pub struct SigningKey {
    key: DalekSigningKey,
    id: KeyId,
}

/// Public half of a publisher's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

/// The keys whose signatures a process accepts.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys(BTreeMap<KeyId, PublicKey>);

/// Why a text is not a key, or a set of keys not usable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not a private Ed25519 key.
    #[error("not a private Ed25519 key in PEM form (PKCS #8): {cause}")]
    NotPrivate {
        /// What the parser met.
        cause: String,
    },
    /// Not a public Ed25519 key.
    #[error("not a public Ed25519 key in PEM form (SPKI): {cause}")]
    NotPublic {
        /// What the parser met.
        cause: String,
    },
    /// A public key for which anybody can make signatures.
    #[error("public key {id} is weak: anybody can sign for it")]
    Weak {
        /// Which key.
        id: KeyId,
    },
    /// More keys than a process may trust.
    #[error("{count} trusted keys are more than {TRUSTED_KEYS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
}

impl SigningKey {
    /// A key from 32 bytes of a cryptographic random generator: this crate has none.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::new(DalekSigningKey::from_bytes(seed))
    }

    /// Reads a PKCS #8 PEM text.
    ///
    /// # Errors
    /// [`KeyError::NotPrivate`] when it is anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        DalekSigningKey::from_pkcs8_pem(pem)
            .map(Self::new)
            .map_err(|error| KeyError::NotPrivate { cause: error.to_string() })
    }

    /// Writes the PKCS #8 PEM text: keep it secret.
    ///
    /// # Errors
    /// [`KeyError::NotPrivate`] when the key has no such form, which no Ed25519 key lacks.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.key
            .to_pkcs8_pem(LineEnding::LF)
            .map(|pem| pem.to_string())
            .map_err(|error| KeyError::NotPrivate { cause: error.to_string() })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { key: self.key.verifying_key(), id: self.id }
    }

    /// The id of the public half.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    fn new(key: DalekSigningKey) -> Self {
        let id = KeyId::of(&key.verifying_key());
        Self { key, id }
    }
}

impl PublicKey {
    /// Reads an SPKI PEM text.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`] when it is anything else, [`KeyError::Weak`] for a key of small order.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|error| KeyError::NotPublic { cause: error.to_string() })?;
        let id = KeyId::of(&key);
        if key.is_weak() { Err(KeyError::Weak { id }) } else { Ok(Self { key, id }) }
    }

    /// Writes the SPKI PEM text.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`] when the key has no such form, which no Ed25519 key lacks.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.key
            .to_public_key_pem(LineEnding::LF)
            .map_err(|error| KeyError::NotPublic { cause: error.to_string() })
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether `signature` is this key's over `message`, by the strict rules (no malleable signatures).
    #[must_use]
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl TrustedKeys {
    /// Collects the keys to trust; a key named twice counts once.
    ///
    /// # Errors
    /// [`KeyError::TooMany`] above the limit.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, KeyError> {
        let keys: BTreeMap<_, _> = keys.into_iter().map(|key| (key.id(), key)).collect();
        if keys.len() > TRUSTED_KEYS_MAX {
            return Err(KeyError::TooMany { count: keys.len() });
        }
        Ok(Self(keys))
    }

    /// These keys and one more.
    #[must_use]
    pub fn with(&self, key: PublicKey) -> Self {
        let mut keys = self.clone();
        keys.0.insert(key.id(), key);
        keys
    }

    /// The key of that id, if it is trusted.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&PublicKey> {
        self.0.get(&id)
    }

    /// Ids of all trusted keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.keys().copied()
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl KeyId {
    /// An id from its 8 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The 8 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    fn of(key: &VerifyingKey) -> Self {
        let digest = Digest::of(key.as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        Self([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_from_pem() {
        let key = SigningKey::from_seed(&[7; 32]);
        assert_eq!(SigningKey::from_pem(&key.to_pem().unwrap()).unwrap().id(), key.id());
        assert_eq!(PublicKey::from_pem(&key.public().to_pem().unwrap()).unwrap(), key.public());
    }

    #[test]
    fn a_wrong_pem_says_which_kind_was_wanted() {
        let key = SigningKey::from_seed(&[7; 32]);
        let error = PublicKey::from_pem(&key.to_pem().unwrap()).unwrap_err().to_string();
        assert!(error.contains("public"), "{error}");
        assert!(SigningKey::from_pem("nonsense").is_err());
    }

    #[test]
    fn a_debug_text_holds_no_secret() {
        let key = SigningKey::from_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains("0707"));
    }
}
