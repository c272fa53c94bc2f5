//! Reading a request's body under caps: its own size, that of all bodies together, and a deadline.
//!
//! # Invariants
//! * Memory for a body is accounted for before the first byte of it is read, and given back when it is dropped.
//! * A declared length allocates nothing.
//! * What is inflated is under the cap of a body, and was accounted for at that cap.

mod encoding;

use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::header::CONTENT_LENGTH, http::request::Parts};
use futures::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

pub use encoding::Encoding;

use crate::{guard::Place, refusal::Refusal, settings::HttpSettings};

/// One permit of the budget.
const PERMIT_BYTES: usize = 1024;

/// Memory for all bodies that are being read or answered.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    permits: Arc<Semaphore>,
    limits: HttpSettings,
}

/// A body that was read whole.
#[derive(Debug)]
pub struct ReadBody {
    /// Its bytes.
    pub bytes: Vec<u8>,
    _permit: BodyPermit,
    /// The request is under way until the work on its body has ended.
    _place: Option<Place>,
}

/// Memory that is accounted for, until this is dropped.
#[derive(Debug)]
pub struct BodyPermit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl BodyBudget {
    /// A budget of `limits.bodies_max_bytes`.
    #[must_use]
    pub fn new(limits: HttpSettings) -> Self {
        let permits = (limits.bodies_max_bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), limits }
    }

    /// Reads a body to its end. What is too large is read on for a while, so that its sender sees the answer and not
    /// a broken connection, but not kept.
    ///
    /// # Errors
    /// [`Refusal`] when it is too large, too slow, broken or compressed in an unknown way, or there is no room beside
    /// other bodies.
    pub async fn read(&self, parts: &Parts, body: Body) -> Result<ReadBody, Refusal> {
        let encoding = Encoding::of(&parts.headers)?;
        let max_bytes = self.limits.body_max_bytes;
        let declared =
            parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let arriving = max_bytes.min(declared.unwrap_or(usize::MAX));
        let inflated = encoding.map_or(0, |_| max_bytes);
        let permit = self.reserve(arriving.saturating_add(inflated)).await?;
        let bytes = timeout(self.deadline(), self.collect(body)).await;
        let bytes =
            bytes.map_err(|_| Refusal::BodyTimeout { seconds: self.limits.body_timeout_seconds })??;
        let bytes = match encoding {
            None => bytes,
            Some(encoding) => encoding.inflate(bytes, max_bytes).await?,
        };
        Ok(ReadBody { bytes, _permit: permit, _place: parts.extensions.get().cloned() })
    }

    /// Accounts for that many bytes, as soon as there is room for them.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is none within the time that a body may take.
    pub async fn reserve(&self, bytes: usize) -> Result<BodyPermit, Refusal> {
        let max_bytes = self.limits.bodies_max_bytes;
        // More than there is at all would never come.
        let permits = bytes.div_ceil(PERMIT_BYTES).min(max_bytes / PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let permit = timeout(self.deadline(), Arc::clone(&self.permits).acquire_many_owned(permits)).await;
        let permit = permit.ok().and_then(Result::ok);
        permit.map(BodyPermit).ok_or(Refusal::Busy { max_bytes })
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.limits.body_timeout_seconds)
    }

    async fn collect(&self, body: Body) -> Result<Vec<u8>, Refusal> {
        let max_bytes = self.limits.body_max_bytes;
        let mut kept = Vec::new();
        let mut arrived = 0_usize;
        let mut stream = body.into_data_stream();
        while let Some(frame) = stream.next().await {
            let frame = frame.map_err(|error| Refusal::BodyBroken { cause: error.to_string() })?;
            arrived = arrived.saturating_add(frame.len());
            if arrived > max_bytes.saturating_mul(2) {
                break;
            }
            if arrived > max_bytes {
                kept = Vec::new();
            } else {
                kept.extend_from_slice(&frame);
            }
        }
        if arrived > max_bytes { Err(Refusal::BodyTooLarge { max_bytes }) } else { Ok(kept) }
    }
}
