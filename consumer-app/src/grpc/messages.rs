//! What arrives on a gRPC call, taken in message by message before anything decodes it.
//!
//! Stands as the request's body between the connection and tonic: it hands on whole messages that are within the
//! caps, uncompressed and of bounded structure, and nothing else. Does not know tensors.
//!
//! # Invariants
//! * Memory for a message is accounted for as its bytes arrive; a length that is claimed takes nothing.
//! * A message that has begun arrives within `http.body_timeout_seconds`, or ends its call.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    http::{Extensions, HeaderName},
};
use futures::{StreamExt as _, stream};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::Status;

use super::bounds;
use crate::{
    body::{BodyBudget, BodyPermit, Encoding},
    guard::Place,
    refusal::Refusal,
    router::Shared,
    server::Ending,
    settings::HttpSettings,
};

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// A flag and four bytes of length are before each message.
const PREFIX_BYTES: usize = 5;

/// The memory of a message, until it is answered.
#[derive(Debug)]
pub(super) struct Held {
    /// Bytes of the message.
    pub(super) bytes: usize,
    _permit: BodyPermit,
    /// The call is under way until the work on its message has ended.
    _place: Option<Place>,
}

/// Where the body leaves the memory of a message for whoever answers it.
#[derive(Debug, Clone, Default)]
struct Handover(Arc<Mutex<Option<Held>>>);

struct Messages {
    body: BodyDataStream,
    kept: Vec<u8>,
    encoding: Option<Encoding>,
    budget: BodyBudget,
    limits: HttpSettings,
    handover: Handover,
    ending: watch::Receiver<Ending>,
    place: Option<Place>,
    is_stream: bool,
    had_one: bool,
}

/// The same request, whose body is checked message by message.
pub(super) fn capped(shared: &Shared, request: Request) -> Request {
    let is_stream = request.uri().path().ends_with("/ModelStreamInfer");
    let (mut parts, body) = request.into_parts();
    let named = parts.headers.remove(ENCODING);
    let place = parts.extensions.get().cloned();
    let handover = Handover::default();
    parts.extensions.insert(handover.clone());
    let messages = Messages {
        body: body.into_data_stream(),
        kept: Vec::new(),
        encoding: named.and_then(|name| Encoding::parse(name.to_str().ok()?)),
        budget: shared.bodies.clone(),
        limits: shared.limits.clone(),
        handover,
        ending: shared.ending.clone(),
        place,
        is_stream,
        had_one: false,
    };
    let frames = stream::try_unfold(messages, |mut messages| async {
        let frame = messages.next().await?;
        Ok::<_, Status>(frame.map(|frame| (frame, messages)))
    });
    Request::from_parts(parts, Body::from_stream(frames))
}

/// Takes the memory of the message that was decoded last.
pub(super) fn held(extensions: &Extensions) -> Option<Held> {
    let handover = extensions.get::<Handover>()?;
    handover.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Messages {
    /// The next message with its prefix; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if self.kept.is_empty() && !self.begin().await? {
            let is_enough = self.is_stream || self.had_one;
            let cause = "the call has no message".to_owned();
            return if is_enough { Ok(None) } else { Err(Refusal::BodyBroken { cause }) };
        }
        // Its memory and its size would stand for those of the first.
        if self.had_one && !self.is_stream {
            return Err(Refusal::Malformed { cause: "the call has more than one message".to_owned() });
        }
        self.had_one = true;
        let seconds = self.limits.body_timeout_seconds;
        let whole = timeout(Duration::from_secs(seconds), self.whole()).await;
        whole.map_err(|_| Refusal::BodyTimeout { seconds })?.map(Some)
    }

    /// Waits for the first byte of a message; false at the end. A stream may be silent for as long as a connection may:
    /// it has a place among the requests under way.
    async fn begin(&mut self) -> Result<bool, Refusal> {
        if self.is_stream {
            let (mut ending, idle_seconds) = (self.ending.clone(), self.limits.idle_timeout_seconds);
            return tokio::select! {
                more = self.more() => more,
                // Not an end like any other: what is on its way is not answered.
                _ = ending.wait_for(|ending| *ending == Ending::Closing) => Err(Refusal::Ending),
                () = sleep(Duration::from_secs(idle_seconds)) => Err(Refusal::Idle { seconds: idle_seconds }),
            };
        }
        let seconds = self.limits.body_timeout_seconds;
        let more = timeout(Duration::from_secs(seconds), self.more()).await;
        more.map_err(|_| Refusal::BodyTimeout { seconds })?
    }

    /// Keeps what arrives next; false at the end.
    async fn more(&mut self) -> Result<bool, Refusal> {
        loop {
            match self.body.next().await {
                None => return Ok(false),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.kept.extend_from_slice(&bytes);
                    return Ok(true);
                }
                Some(Err(error)) => return Err(Refusal::BodyBroken { cause: error.to_string() }),
            }
        }
    }

    async fn whole(&mut self) -> Result<Bytes, Refusal> {
        self.until(PREFIX_BYTES).await?;
        let [flag, len @ ..] = self.kept.first_chunk::<PREFIX_BYTES>().copied().unwrap_or_default();
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        let max_bytes = self.limits.body_max_bytes;
        if len > max_bytes {
            return Err(Refusal::BodyTooLarge { max_bytes });
        }
        let end = len.saturating_add(PREFIX_BYTES);
        let mut permit = self.budget.permit();
        while self.kept.len() < end {
            permit.cover(self.kept.len(), end).await?;
            self.until(self.kept.len().saturating_add(1).min(end)).await?;
        }
        let all = if flag == 0 { end } else { end.saturating_add(max_bytes) };
        permit.cover(all, all).await?;
        let rest = self.kept.split_off(end);
        let mut frame = std::mem::replace(&mut self.kept, rest);
        if flag == 1 {
            frame = inflated(frame.split_off(PREFIX_BYTES), self.encoding, max_bytes).await?;
        } else if flag != 0 {
            return Err(Refusal::Malformed { cause: format!("a message begins with the flag {flag}") });
        }
        let message = frame.get(PREFIX_BYTES..).unwrap_or_default();
        bounds::check(message, self.limits.rows_max).map_err(|cause| Refusal::Malformed { cause })?;
        let held = Held { bytes: frame.len(), _permit: permit, _place: self.place.clone() };
        *self.handover.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(frame.into())
    }

    async fn until(&mut self, len: usize) -> Result<(), Refusal> {
        while self.kept.len() < len {
            if !self.more().await? {
                let cause = format!("a message ends after {} of {len} bytes", self.kept.len());
                return Err(Refusal::BodyBroken { cause });
            }
        }
        Ok(())
    }
}

/// The frame of a message that was compressed.
async fn inflated(
    message: Vec<u8>,
    encoding: Option<Encoding>,
    max_bytes: usize,
) -> Result<Vec<u8>, Refusal> {
    let message = encoding.ok_or(Refusal::Encoding)?.inflate(message, max_bytes).await?;
    let len = u32::try_from(message.len()).map_err(|_| Refusal::BodyTooLarge { max_bytes })?;
    Ok([&[0][..], &len.to_be_bytes(), &message].concat())
}
