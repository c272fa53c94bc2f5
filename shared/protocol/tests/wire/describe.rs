//! Records in words: the JSON beside each binary file, made from what the decoder read.
//!
//! Fields have the names they have on the wire. Binary fields are hexadecimal, a chunk table is a list, a digest is
//! written `blake3:<hex>`.

use modelcast_protocol::{
    announcement::Announcement,
    chunk::{ChunkEntry, ChunkTable},
    desired::DesiredState,
    envelope::HEADER_BYTES,
    manifest::{Manifest, SignedManifest},
    status::Status,
};
use serde_json::{Value, json};

/// The envelope of a signed record, field by field.
pub(crate) fn envelope(bytes: &[u8]) -> Value {
    json!({
        "magic": String::from_utf8_lossy(&bytes[..4]),
        "purpose": bytes[4],
        "key_id": hex::encode(&bytes[5..13]),
        "signature": hex::encode(&bytes[13..HEADER_BYTES]),
        "payload_bytes": bytes.len() - HEADER_BYTES,
    })
}

pub(crate) fn announcement(announcement: &Announcement) -> Value {
    let frame = &announcement.frame;
    let body = announcement.body.as_ref();
    json!({
        "digest": announcement.digest.to_string(),
        "frame": {
            "version": 1,
            "namespace": frame.namespace,
            "model": frame.model,
            "generation": frame.generation,
            "recent": frame.recent,
        },
        "body": body.map_or(Value::Null, state),
    })
}

pub(crate) fn state(state: &DesiredState) -> Value {
    let mut value = serde_json::to_value(state).unwrap();
    value["nonce"] = hex::encode(state.nonce).into();
    if let Some(inline) = &state.inline {
        value["inline"]["manifest"] = hex::encode(&inline.manifest).into();
        if let Some(artifact) = &inline.artifact {
            value["inline"]["artifact"] = hex::encode(artifact).into();
        }
    }
    value
}

pub(crate) fn signed_manifest(signed: &SignedManifest) -> Value {
    json!({ "digest": signed.digest().to_string(), "body": manifest(signed.manifest()) })
}

fn manifest(manifest: &Manifest) -> Value {
    let mut value = serde_json::to_value(manifest).unwrap();
    value["chunks"] = table(&manifest.chunks);
    value
}

fn table(table: &ChunkTable) -> Value {
    table.entries.iter().map(entry).collect()
}

pub(crate) fn entry(entry: &ChunkEntry) -> Value {
    json!({
        "digest": entry.digest.to_string(),
        "stored_bytes": entry.stored_bytes,
        "raw_bytes": entry.raw_bytes,
        "offset": entry.offset,
    })
}

pub(crate) fn status(status: &Status) -> Value {
    serde_json::to_value(status).unwrap()
}
