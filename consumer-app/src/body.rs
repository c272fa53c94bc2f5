//! Reading a request's body under caps: its own size, that of all bodies together, and a deadline.
//!
//! # Invariants
//! * Memory for a body is accounted for before its bytes are kept, and given back when it is dropped.
//! * A declared length takes nothing; one over the cap is refused when it is read.
//! * What is inflated is under the cap of a body, and was accounted for at that cap.

mod budget;
mod encoding;

use std::time::Duration;

use axum::{body::Body, http::header::CONTENT_LENGTH, http::request::Parts};
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use self::budget::Budget;
pub use self::{budget::BodyPermit, encoding::Encoding};

use crate::{guard::Place, refusal::Refusal, settings::HttpSettings};

/// Memory for all bodies that are being read or answered.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    budget: Budget,
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

impl BodyBudget {
    /// A budget of `limits.bodies_max_bytes`.
    #[must_use]
    pub fn new(limits: HttpSettings) -> Self {
        let budget = Budget::new(limits.bodies_max_bytes, Duration::from_secs(limits.body_timeout_seconds));
        Self { budget, limits }
    }

    /// Memory for one body: none yet.
    #[must_use]
    pub fn permit(&self) -> BodyPermit {
        self.budget.permit()
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
        let mut permit = self.permit();
        let bytes = self.collect(body, declared.unwrap_or(max_bytes).min(max_bytes), &mut permit).await?;
        let bytes = match encoding {
            None => bytes,
            Some(encoding) => {
                let both = bytes.len().saturating_add(max_bytes);
                permit.cover(both, both).await?;
                encoding.inflate(bytes, max_bytes).await?
            }
        };
        Ok(ReadBody { bytes, _permit: permit, _place: parts.extensions.get().cloned() })
    }

    /// All bytes of a body that says it has so many at most. The time in which there is no room is not its sender's.
    async fn collect(&self, body: Body, most: usize, permit: &mut BodyPermit) -> Result<Vec<u8>, Refusal> {
        let (max_bytes, seconds) = (self.limits.body_max_bytes, self.limits.body_timeout_seconds);
        let mut until = Instant::now() + Duration::from_secs(seconds);
        let mut kept = Vec::new();
        let mut arrived = 0_usize;
        let mut stream = body.into_data_stream();
        loop {
            let next = timeout_at(until, stream.next()).await;
            let Some(frame) = next.map_err(|_| Refusal::BodyTimeout { seconds })? else { break };
            let frame = frame.map_err(|error| Refusal::BodyBroken { cause: error.to_string() })?;
            arrived = arrived.saturating_add(frame.len());
            if arrived > max_bytes.saturating_mul(2) {
                break;
            }
            if arrived > max_bytes {
                kept = Vec::new();
            } else {
                let since = Instant::now();
                permit.cover(arrived, most).await?;
                until += since.elapsed();
                kept.extend_from_slice(&frame);
            }
        }
        if arrived > max_bytes { Err(Refusal::BodyTooLarge { max_bytes }) } else { Ok(kept) }
    }
}
