//! A format whose artifacts say what goes wrong: with a decoder, or a prediction.
//!
//! `scale 2` is the model `price = 2 * area`, whatever follows, which makes it large; `panic` panics while it is decoded, `abort` ends the process, and
//! `tired 2` is `scale 2` while its golden row is tested once, and fails from then on.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use modelcast::admission::Policy;
use modelcast::models::decoder::{DecodeContext, DecodeError, Decoder, Decoders};
use modelcast::models::model::{Model, PredictError};
use modelcast::{Artifact, PublishRequest};

use super::linear;

pub(crate) const FORMAT: &str = "toy";
const ARTIFACT_MAX_BYTES: u64 = 100_000_000;
/// One golden row, alone and in a batch.
const PREDICTIONS_OF_A_TEST: u64 = 2;

struct Toy {
    scale: f64,
    predictions_left: AtomicU64,
}

/// Whether `abort` may end the process that decodes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Victim,
    Test,
}

struct ToyDecoder(Process);

impl Decoder for ToyDecoder {
    fn format(&self) -> &str {
        FORMAT
    }

    fn decode(
        &self,
        artifact: &mut dyn Read,
        context: &DecodeContext<'_>,
    ) -> Result<Box<dyn Model>, DecodeError> {
        let text = String::from_utf8(context.read_whole(artifact, ARTIFACT_MAX_BYTES)?).unwrap();
        let mut words = text.split(' ');
        let (word, number) = (words.next().unwrap(), words.next().unwrap_or("0"));
        let predictions_left = match word {
            "panic" => panic!("a decoder of the test's own"),
            "abort" if self.0 == Process::Victim => std::process::abort(),
            "abort" => panic!("would have ended the test"),
            "tired" => AtomicU64::new(PREDICTIONS_OF_A_TEST),
            _ => AtomicU64::new(u64::MAX),
        };
        Ok(Box::new(Toy { scale: number.parse().unwrap(), predictions_left }))
    }
}

impl Model for Toy {
    fn width(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        1
    }

    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        let left = self.predictions_left.try_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| PredictError::Other("too tired".into()))?;
        outputs[0] = self.scale * row[0];
        Ok(())
    }
}

/// A version with `scale` that takes so many bytes, of which zstd can save half.
pub(crate) fn large(name: &str, scale: f64, bytes: usize) -> PublishRequest {
    let mut noise = vec![0; bytes / 2];
    blake3::Hasher::new().update(&scale.to_le_bytes()).finalize_xof().fill(&mut noise);
    let mut request = linear::request(name, scale);
    request.artifact = Artifact::Memory(format!("scale {scale} {}", hex::encode(noise)).into_bytes());
    request.format = FORMAT.to_owned();
    request.decoders = policy(Process::Test).decoders;
    request
}

pub(crate) fn policy(process: Process) -> Policy {
    Policy { decoders: Arc::new(Decoders::standard().with(ToyDecoder(process))), ..Policy::standard() }
}
