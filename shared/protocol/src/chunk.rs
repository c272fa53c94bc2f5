//! Chunks and the table that says which ones make up an artifact.
//!
//! A chunk travels raw, or as one zstd frame where that saves at least 5 %: stored and raw size in the table differ
//! exactly when it is compressed. Its digest is over the stored bytes. Cutting is `chunking`'s.
//!
//! The table is one packed binary field of 48 bytes a chunk, big-endian:
//! ```text
//! offset  size
//!      0    32  digest of the stored bytes
//!     32     4  stored size
//!     36     4  raw size
//!     40     8  offset in the model's blobs topic, -1 when unknown: a hint, checked by the digest
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::{
    digest::Digest,
    limits::{CHUNK_COUNT_MAX, CHUNK_MAX_BYTES},
};

/// Bytes of one packed entry.
pub const ENTRY_BYTES: usize = 48;
/// zstd's level: higher ones cost CPU and gain little on weights.
const ZSTD_LEVEL: i32 = 3;

/// One chunk of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Digest of the stored bytes.
    pub digest: Digest,
    /// Bytes in the record.
    pub stored_bytes: u32,
    /// Bytes in the artifact.
    pub raw_bytes: u32,
    /// Where the record was written; `None` when unknown.
    pub offset: Option<i64>,
}

/// The chunks of an artifact in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkTable {
    /// The chunks, in the artifact's order. One chunk may stand there several times.
    pub entries: Vec<ChunkEntry>,
}

/// What is wrong with a chunk table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChunkTableError {
    /// More chunks than an artifact may have.
    #[error("{found} chunks are more than {CHUNK_COUNT_MAX}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A chunk of no bytes, of too many, or stored larger than raw.
    #[error("chunk {index} states {stored} stored and {raw} raw bytes")]
    Size {
        /// Its place.
        index: usize,
        /// Stated stored size.
        stored: u32,
        /// Stated raw size.
        raw: u32,
    },
    /// The chunks do not add up to the artifact.
    #[error("the chunks have {found} bytes together, the artifact {stated}")]
    OtherSize {
        /// Sum of the raw sizes.
        found: u64,
        /// The manifest's size.
        stated: u64,
    },
}

/// Why stored bytes are not the chunk that a table names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// Another number of bytes than stated.
    #[error("the chunk has {found} bytes, its entry states {stated}")]
    Size {
        /// Bytes there.
        found: usize,
        /// Bytes stated.
        stated: u32,
    },
    /// Other bytes than stated.
    #[error("the chunk has digest {found}, its entry states {stated}")]
    Digest {
        /// Digest of the bytes there.
        found: Digest,
        /// Digest stated.
        stated: Digest,
    },
    /// The compressed bytes do not give what is stated.
    #[error("the chunk does not decompress to the {stated} bytes that its entry states")]
    Decompress {
        /// Raw bytes stated.
        stated: u32,
    },
}

/// Stored bytes of a chunk with its entry, offset unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChunk {
    /// The entry for the table.
    pub entry: ChunkEntry,
    /// The record's value.
    pub bytes: Vec<u8>,
}

/// Compresses a piece of an artifact where that pays, and names it by its digest.
///
/// `raw` has at most [`CHUNK_MAX_BYTES`] bytes: it comes from `chunking`.
#[must_use]
pub fn store(raw: &[u8]) -> StoredChunk {
    let compressed = zstd::bulk::compress(raw, ZSTD_LEVEL).ok();
    let pays = |stored: &Vec<u8>| stored.len() <= raw.len() - raw.len() / 20 && stored.len() < raw.len();
    let bytes = compressed.filter(pays).unwrap_or_else(|| raw.to_vec());
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let entry = ChunkEntry {
        digest: Digest::of(&bytes),
        stored_bytes: size(bytes.len()),
        raw_bytes: size(raw.len()),
        offset: None,
    };
    StoredChunk { entry, bytes }
}

impl ChunkEntry {
    /// Checks stored bytes against this entry and gives back the piece of the artifact.
    ///
    /// # Errors
    /// [`ChunkError`], in the order of its variants; never allocates more than the stated raw size.
    pub fn load(&self, stored: &[u8]) -> Result<Vec<u8>, ChunkError> {
        if usize::try_from(self.stored_bytes) != Ok(stored.len()) {
            return Err(ChunkError::Size { found: stored.len(), stated: self.stored_bytes });
        }
        let found = Digest::of(stored);
        if found != self.digest {
            return Err(ChunkError::Digest { found, stated: self.digest });
        }
        if self.stored_bytes == self.raw_bytes {
            return Ok(stored.to_vec());
        }
        let wrong = ChunkError::Decompress { stated: self.raw_bytes };
        let capacity = usize::try_from(self.raw_bytes).map_err(|_| wrong.clone())?.min(CHUNK_MAX_BYTES);
        let raw = zstd::bulk::decompress(stored, capacity).map_err(|_| wrong.clone())?;
        if usize::try_from(self.raw_bytes) == Ok(raw.len()) { Ok(raw) } else { Err(wrong) }
    }
}

impl ChunkTable {
    /// Checks a table that came from outside and gives the artifact's size in bytes.
    ///
    /// # Errors
    /// [`ChunkTableError`] for the first thing wrong.
    pub fn validate(&self) -> Result<u64, ChunkTableError> {
        if self.entries.len() > CHUNK_COUNT_MAX {
            return Err(ChunkTableError::TooMany { found: self.entries.len() });
        }
        let max = u32::try_from(CHUNK_MAX_BYTES).unwrap_or(u32::MAX);
        for (index, entry) in self.entries.iter().enumerate() {
            let (stored, raw) = (entry.stored_bytes, entry.raw_bytes);
            if !(1..=max).contains(&raw) || !(1..=raw).contains(&stored) {
                return Err(ChunkTableError::Size { index, stored, raw });
            }
        }
        Ok(self.entries.iter().map(|entry| u64::from(entry.raw_bytes)).sum())
    }

    fn pack(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            packed.extend_from_slice(entry.digest.as_bytes());
            packed.extend_from_slice(&entry.stored_bytes.to_be_bytes());
            packed.extend_from_slice(&entry.raw_bytes.to_be_bytes());
            packed.extend_from_slice(&entry.offset.unwrap_or(-1).to_be_bytes());
        }
        packed
    }

    fn unpack(packed: &[u8]) -> Option<Self> {
        if packed.len() > CHUNK_COUNT_MAX * ENTRY_BYTES {
            return None;
        }
        let (entries, rest) = packed.as_chunks::<ENTRY_BYTES>();
        let entries: Option<Vec<_>> = entries.iter().map(unpack_entry).collect();
        rest.is_empty().then_some(Self { entries: entries? })
    }
}

fn unpack_entry(packed: &[u8; ENTRY_BYTES]) -> Option<ChunkEntry> {
    let (digest, rest) = packed.split_first_chunk::<32>()?;
    let (stored, rest) = rest.split_first_chunk::<4>()?;
    let (raw, rest) = rest.split_first_chunk::<4>()?;
    let offset = i64::from_be_bytes(*rest.first_chunk::<8>()?);
    Some(ChunkEntry {
        digest: Digest::from_bytes(*digest),
        stored_bytes: u32::from_be_bytes(*stored),
        raw_bytes: u32::from_be_bytes(*raw),
        offset: (offset >= 0).then_some(offset),
    })
}

impl Serialize for ChunkTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::Bytes::new(&self.pack()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ChunkTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = serde_bytes::ByteBuf::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom(format!("{} bytes are no chunk table", packed.len()));
        Self::unpack(&packed).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn a_chunk_is_compressed_only_where_it_pays() {
        let (zeros, noise) = (store(&[0; 10_000]), store(&noise(10_000)));
        assert!(zeros.entry.stored_bytes < 100);
        assert_eq!(noise.entry.stored_bytes, noise.entry.raw_bytes);
        assert_eq!(zeros.entry.load(&zeros.bytes).unwrap(), [0; 10_000]);
        assert_eq!(noise.entry.load(&noise.bytes).unwrap(), noise.bytes);
    }

    #[test]
    fn a_chunk_that_is_not_the_stated_one_is_refused() {
        let chunk = store(&[0; 10_000]);
        let mut flipped = chunk.bytes.clone();
        flipped[3] ^= 1;
        assert!(matches!(chunk.entry.load(&flipped), Err(ChunkError::Digest { .. })));
        assert!(matches!(chunk.entry.load(&chunk.bytes[1..]), Err(ChunkError::Size { .. })));
        for raw_bytes in [9_999, 10_001, u32::MAX] {
            let entry = ChunkEntry { raw_bytes, ..chunk.entry };
            assert!(matches!(entry.load(&chunk.bytes), Err(ChunkError::Decompress { .. })), "{raw_bytes}");
        }
    }

    #[test]
    fn a_table_packs_and_unpacks() {
        let entry = ChunkEntry { offset: Some(7), ..store(b"x").entry };
        let table = ChunkTable { entries: vec![entry, ChunkEntry { offset: None, ..entry }] };
        assert_eq!(ChunkTable::unpack(&table.pack()).unwrap(), table);
        assert_eq!(ChunkTable::unpack(&[0; ENTRY_BYTES + 1]), None);
        assert_eq!(ChunkTable::unpack(&vec![0; (CHUNK_COUNT_MAX + 1) * ENTRY_BYTES]), None);
    }

    #[test]
    fn a_table_with_impossible_sizes_is_refused() {
        let good = store(b"model").entry;
        for (stored_bytes, raw_bytes) in [(0, 5), (5, 0), (6, 5), (5, u32::MAX)] {
            let table = ChunkTable { entries: vec![ChunkEntry { stored_bytes, raw_bytes, ..good }] };
            assert!(table.validate().is_err(), "{stored_bytes} {raw_bytes}");
        }
    }
}
