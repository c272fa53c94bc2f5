//! Why a record is refused, in one word that does not depend on this implementation's texts.

use modelcast_protocol::{
    ModelName,
    announcement::{self, AnnouncementError},
    chunk::{ChunkEntry, ChunkError},
    codec::CodecError,
    digest::Digest,
    envelope::EnvelopeError,
    fold::{Fold, LogRecord, Step},
    manifest::{ManifestError, SignedManifest},
    status::Status,
};
use serde_json::Value;

use crate::{
    folder::read,
    scene::{namespace, trusted},
};

/// Reads a record of the folder as its description says, and compares the reason.
pub(crate) fn check(description: &Value) {
    let text = |name: &str| description[name].as_str().unwrap();
    let found = reason(text("record"), text("key"), &read(text("file")));
    assert_eq!(found, text("reason"), "{}", text("file"));
}

/// Why `bytes` are no such record.
pub(crate) fn reason(record: &str, key: &str, bytes: &[u8]) -> &'static str {
    match record {
        "announcement" => of_announcement(key, bytes),
        "body" => of_body(key, bytes),
        "manifest" => {
            let model = ModelName::parse(key).unwrap();
            of_manifest(&SignedManifest::open(bytes.to_vec(), &model, &trusted()).unwrap_err())
        }
        "chunk" => of_chunk(key, bytes),
        _ => of_codec(&Status::decode(bytes).unwrap_err()),
    }
}

fn of_announcement(key: &str, bytes: &[u8]) -> &'static str {
    let mut fold = Fold::new(namespace());
    let step = fold.apply(LogRecord { offset: 0, key: key.as_bytes(), value: bytes }, &trusted());
    assert_eq!(fold.models().count(), 0, "it took force");
    let error = announcement::open(bytes, &trusted()).err();
    match (step, error) {
        (Step::Unverified(..) | Step::Foreign { .. }, Some(AnnouncementError::Envelope(error))) => {
            of_envelope(&error)
        }
        (Step::Foreign { .. }, Some(AnnouncementError::Frame)) => "frame",
        (Step::Foreign { .. }, None) => "belongs_elsewhere",
        other => panic!("{other:?}"),
    }
}

/// The frame takes force; the body is not followed.
fn of_body(key: &str, bytes: &[u8]) -> &'static str {
    let mut fold = Fold::new(namespace());
    let step = fold.apply(LogRecord { offset: 0, key: key.as_bytes(), value: bytes }, &trusted());
    assert!(matches!(step, Step::TookForce(_)), "{step:?}");
    of_codec(&announcement::open(bytes, &trusted()).unwrap().body.unwrap_err())
}

fn of_envelope(error: &EnvelopeError) -> &'static str {
    match error {
        EnvelopeError::TooShort { .. } => "too_short",
        EnvelopeError::Magic => "magic",
        EnvelopeError::WrongPurpose { .. } => "wrong_purpose",
        EnvelopeError::UnknownKey { .. } => "unknown_key",
        EnvelopeError::BadSignature { .. } => "bad_signature",
    }
}

fn of_manifest(error: &ManifestError) -> &'static str {
    match error {
        ManifestError::TooLarge { .. } => "too_large",
        ManifestError::Envelope(error) => of_envelope(error),
        ManifestError::Codec(error) => of_codec(error),
        ManifestError::OtherModel { .. } => "other_model",
    }
}

fn of_codec(error: &CodecError) -> &'static str {
    match error {
        CodecError::Malformed { .. } => "malformed",
        CodecError::TrailingBytes { .. } => "trailing_bytes",
        CodecError::UnknownVersion { .. } => "unknown_version",
        CodecError::Invalid { .. } => "invalid",
        CodecError::Unencodable { .. } => "unencodable",
    }
}

/// A raw chunk under its key: the key is the digest.
fn of_chunk(key: &str, bytes: &[u8]) -> &'static str {
    let digest: Digest = format!("blake3:{key}").parse().unwrap();
    let size = u32::try_from(bytes.len()).unwrap();
    let entry = ChunkEntry { digest, stored_bytes: size, raw_bytes: size, offset: None };
    match entry.load(bytes).unwrap_err() {
        ChunkError::Size { .. } => "size",
        ChunkError::Digest { .. } => "digest",
        ChunkError::Decompress { .. } => "decompress",
    }
}
