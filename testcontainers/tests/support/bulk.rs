//! A format whose models are as large as one likes: `price = sum * area`, where `sum` is made of all bytes.
//!
//! The decoder keeps the whole artifact in memory, and a prediction reads every byte of it.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::Arc;

use modelcast::admission::Policy;
use modelcast::models::{DecodeContext, DecodeError, Decoder, Decoders, Model, PredictError};
use modelcast::{Artifact, PublishRequest};

use super::linear;

const FORMAT: &str = "bulk";
const SIZE_MAX_BYTES: u64 = 1_000_000_000;

struct Bulk(Vec<u8>);

struct BulkDecoder;

impl Decoder for BulkDecoder {
    fn format(&self) -> &str {
        FORMAT
    }

    fn decode(
        &self,
        artifact: &mut dyn Read,
        context: &DecodeContext<'_>,
    ) -> Result<Box<dyn Model>, DecodeError> {
        Ok(Box::new(Bulk(context.read_whole(artifact, SIZE_MAX_BYTES)?)))
    }
}

impl Model for Bulk {
    fn width(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        1
    }

    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        outputs[0] = number(blake3::hash(&self.0)) * row[0];
        Ok(())
    }
}

/// A digest is a sum that is fast in a debug build too.
fn number(hash: blake3::Hash) -> f64 {
    f64::from(u32::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()))
}

pub(crate) fn policy() -> Policy {
    Policy { decoders: Arc::new(Decoders::standard().with(BulkDecoder)), ..Policy::standard() }
}

/// Writes random weights, other ones for each seed; gives the sum of them.
pub(crate) fn write_artifact(path: &Path, seed: u64, size_bytes: u64) -> f64 {
    let mut weights = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut file = File::create(path).unwrap();
    let (mut sum, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    let mut left = size_bytes;
    while left > 0 {
        let piece = &mut buffer[..usize::try_from(left.min(1 << 20)).unwrap()];
        weights.fill(piece);
        sum.update(piece);
        file.write_all(piece).unwrap();
        left -= piece.len() as u64;
    }
    number(sum.finalize())
}

/// To publish the artifact that was written there.
pub(crate) fn request(name: &str, path: &Path, sum: f64) -> PublishRequest {
    let mut request = linear::request(name, sum);
    request.artifact = Artifact::File(path.to_owned());
    request.format = FORMAT.to_owned();
    request.decoders = policy().decoders;
    request
}

/// The most memory that this process ever had resident.
pub(crate) fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib * 1024
}
