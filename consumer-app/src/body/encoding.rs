//! Bodies that were compressed on the way: inflated under a cap, on a blocking thread.

use std::io::{self, Read as _};

use axum::http::{HeaderMap, header::CONTENT_ENCODING};
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::refusal::Refusal;

/// How a body, or one message of gRPC, was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip`.
    Gzip,
    /// `deflate`, which is zlib's form.
    Deflate,
}

impl Encoding {
    /// The encoding of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// The encoding that a request says; none when its body is plain.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        match value.to_str().unwrap_or_default() {
            "identity" | "" => Ok(None),
            name => Self::parse(name).map(Some).ok_or(Refusal::Encoding),
        }
    }

    /// The bytes as they were before, at most `max_bytes` of them.
    ///
    /// # Errors
    /// [`Refusal`] when there are more, or these are no whole stream of that encoding.
    pub async fn inflate(self, bytes: Vec<u8>, max_bytes: usize) -> Result<Vec<u8>, Refusal> {
        let inflate = move || self.inflate_here(&bytes, max_bytes);
        tokio::task::spawn_blocking(inflate).await.map_err(|_| Refusal::Lost)?
    }

    fn inflate_here(self, bytes: &[u8], max_bytes: usize) -> Result<Vec<u8>, Refusal> {
        let one_more = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        let mut inflated = Vec::new();
        let read: io::Result<usize> = match self {
            Self::Gzip => MultiGzDecoder::new(bytes).take(one_more).read_to_end(&mut inflated),
            Self::Deflate => ZlibDecoder::new(bytes).take(one_more).read_to_end(&mut inflated),
        };
        read.map_err(|error| Refusal::BodyBroken { cause: error.to_string() })?;
        if inflated.len() > max_bytes { Err(Refusal::BodyTooLarge { max_bytes }) } else { Ok(inflated) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_inflates_beyond_the_cap_or_breaks_off_is_refused() {
        let plain = vec![b' '; 100_000];
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain).unwrap();
        for (encoding, small) in
            [(Encoding::Gzip, gzip(&plain)), (Encoding::Deflate, encoder.finish().unwrap())]
        {
            assert!(small.len() < 1_000);
            assert_eq!(encoding.inflate_here(&small, 100_000).unwrap(), plain);
            let refused = encoding.inflate_here(&small, 99_999);
            assert!(matches!(refused, Err(Refusal::BodyTooLarge { max_bytes: 99_999 })), "{refused:?}");
            let refused = encoding.inflate_here(&small[..small.len() / 2], 100_000);
            assert!(matches!(refused, Err(Refusal::BodyBroken { .. })), "{refused:?}");
            let refused = encoding.inflate_here(b"plain text", 100_000);
            assert!(matches!(refused, Err(Refusal::BodyBroken { .. })), "{refused:?}");
        }
    }
}
