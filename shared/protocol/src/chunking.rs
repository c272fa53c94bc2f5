//! Cutting an artifact into content-defined chunks.
//!
//! FastCDC (Xia et al., 2016 and 2020): an insertion moves one cut, not all that follow, so that a retrained artifact
//! shares chunks with the one before. Where the cuts are is the publisher's own business: a reader only follows the
//! chunk table.

use std::io::{self, Read};

use fastcdc::v2020::{Error, StreamCDC};

use crate::limits::{CHUNK_MAX_BYTES, LARGE_ARTIFACT_BYTES};

const KIB: usize = 1024;

/// Smallest, average and largest piece, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    min: usize,
    average: usize,
    max: usize,
}

impl ChunkSizes {
    /// The sizes for an artifact of `size_bytes`: larger chunks from 256 MiB on, to keep the table in one record.
    #[must_use]
    pub fn for_artifact(size_bytes: u64) -> Self {
        if size_bytes < LARGE_ARTIFACT_BYTES {
            Self { min: 64 * KIB, average: 256 * KIB, max: CHUNK_MAX_BYTES }
        } else {
            Self { min: 512 * KIB, average: 768 * KIB, max: CHUNK_MAX_BYTES }
        }
    }
}

/// Cuts what `artifact` gives, one piece in memory at a time.
pub fn cut(artifact: impl Read, sizes: ChunkSizes) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    StreamCDC::new(artifact, sizes.min, sizes.average, sizes.max).map(|piece| match piece {
        Ok(piece) => Ok(piece.data),
        Err(Error::IoError(error)) => Err(error),
        Err(error) => Err(io::Error::other(error.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 9_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
        cut(bytes, ChunkSizes::for_artifact(0)).collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn the_pieces_are_the_artifact_and_within_their_sizes() {
        let artifact = noise(5_000_000);
        let pieces = pieces(&artifact);
        assert_eq!(pieces.concat(), artifact);
        assert!(pieces.iter().all(|piece| piece.len() <= CHUNK_MAX_BYTES));
        assert!(pieces.len() > 5);
    }

    #[test]
    fn an_insertion_leaves_the_other_pieces_as_they_were() {
        let artifact = noise(5_000_000);
        let mut changed = artifact.clone();
        changed.splice(2_000_000..2_000_000, [1, 2, 3]);
        let before: Vec<_> = pieces(&artifact).iter().map(|piece| Digest::of(piece)).collect();
        let new = pieces(&changed).iter().filter(|piece| !before.contains(&Digest::of(piece))).count();
        assert!(new <= 3, "{new} of {} pieces are new", before.len());
    }

    #[test]
    fn the_largest_artifact_fits_the_table() {
        let sizes = ChunkSizes::for_artifact(crate::limits::ARTIFACT_MAX_BYTES);
        let most = crate::limits::ARTIFACT_MAX_BYTES / sizes.min as u64;
        assert!(most <= crate::limits::CHUNK_COUNT_MAX as u64);
    }

    #[test]
    fn no_bytes_give_no_piece() {
        assert!(pieces(&[]).is_empty());
    }
}
