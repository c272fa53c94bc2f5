//! One connection: two lanes, each reading ahead a little and delivering under the faults of the moment.
//!
//! # Invariants
//! * A lane holds at most [`QUEUE_CHUNKS`] + 2 chunks.
//! * All parts of a connection are one task: what one does to it the others see at their next step.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::frames::{RequestHeader, Requests, Responses, answers};
use super::{Control, PRODUCE, Shared};
use crate::wait::after;

const CHUNK_BYTES: usize = 16 * 1024;
/// With a delay of 100 ms some 2.5 MB a second.
const QUEUE_CHUNKS: usize = 16;
/// A throttled lane sends in pieces that take so long.
const PIECES_PER_SECOND: u64 = 20;
/// Unanswered `Produce` requests that are remembered; those with `acks=0` are never answered.
const UNANSWERED_MAX: usize = 4096;
/// TLS records of a handshake begin with it. As the first byte of a frame it would announce 369 MB.
const TLS_HANDSHAKE: u8 = 0x16;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By one of its sides.
    Closed,
    /// By a fault.
    Cut,
}

/// What the two lanes of a connection know of each other.
#[derive(Default)]
struct Talk {
    /// Correlation ids of `Produce` requests, oldest first: Kafka answers in order.
    produces: Mutex<VecDeque<i32>>,
    /// What is said cannot be read.
    opaque: AtomicBool,
    /// Bytes were lost.
    torn: AtomicBool,
}

/// One direction.
struct Lane {
    side: Side,
    shared: Arc<Shared>,
    talk: Arc<Talk>,
    control: watch::Receiver<Control>,
    started: bool,
    pace: Pace,
    /// Bytes delivered under the faults that were set as the so manieth.
    delivered: (u64, u64),
}

enum Side {
    Requests(Requests),
    Responses(Responses),
}

struct Chunk {
    read_at: Instant,
    bytes: Vec<u8>,
}

/// Relays until one side closes, or a fault closes both.
pub(super) async fn relay(
    client: TcpStream,
    broker: TcpStream,
    shared: &Arc<Shared>,
    control: watch::Receiver<Control>,
) -> End {
    let talk = Arc::new(Talk::default());
    let lane = |side| Lane {
        side,
        shared: Arc::clone(shared),
        talk: Arc::clone(&talk),
        control: control.clone(),
        started: false,
        pace: Pace::default(),
        delivered: (0, 0),
    };
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    tokio::select! {
        end = lane(Side::Requests(Requests::default())).run(from_client, to_broker) => end,
        end = lane(Side::Responses(Responses::default())).run(from_broker, to_client) => end,
        () = told_to_close(control.clone(), &talk.torn) => End::Cut,
    }
}

/// Reads and answers nothing, until the client or the black hole ends.
pub(super) async fn swallow(mut client: TcpStream, control: watch::Receiver<Control>) -> End {
    let (torn, mut nowhere) = (AtomicBool::new(true), tokio::io::sink());
    tokio::select! {
        _ = tokio::io::copy(&mut client, &mut nowhere) => End::Closed,
        () = told_to_close(control, &torn) => End::Cut,
    }
}

/// Waits until this connection is to be cut: by order, or because the black hole that took bytes of it has ended.
async fn told_to_close(mut control: watch::Receiver<Control>, torn: &AtomicBool) {
    let cuts = control.borrow().cuts;
    loop {
        let now = *control.borrow_and_update();
        if now.cuts != cuts
            || (torn.load(Relaxed) && !now.faults.black_hole)
            || control.changed().await.is_err()
        {
            return;
        }
    }
}

impl Lane {
    async fn run(mut self, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin) -> End {
        let (into, chunks) = mpsc::channel(QUEUE_CHUNKS);
        tokio::select! {
            end = self.drain(chunks, to) => end,
            // The end of the stream has to wait for what was read before it.
            () = async { fill(from, into).await; std::future::pending().await } => End::Closed,
        }
    }

    async fn drain(&mut self, mut chunks: mpsc::Receiver<Chunk>, mut to: impl AsyncWrite + Unpin) -> End {
        while let Some(chunk) = chunks.recv().await {
            if let ControlFlow::Break(end) = self.deliver(chunk, &mut to).await {
                return end;
            }
        }
        End::Closed
    }

    async fn deliver(&mut self, chunk: Chunk, to: &mut (impl AsyncWrite + Unpin)) -> ControlFlow<End> {
        let Chunk { read_at, bytes } = chunk;
        loop {
            let faults = self.control.borrow_and_update().faults;
            if faults.black_hole {
                self.talk.torn.store(true, Relaxed);
                return ControlFlow::Continue(());
            }
            let due = after(read_at, faults.delay);
            if due <= Instant::now() {
                break;
            }
            self.wait(due).await;
        }
        let (bytes, flow) = self.look(bytes);
        self.send(&bytes, to).await?;
        flow.map_break(|()| End::Cut)
    }

    /// Reads the headers of what is about to be sent; a break when the connection ends with it.
    fn look(&mut self, bytes: Vec<u8>) -> (Vec<u8>, ControlFlow<()>) {
        let (shared, talk) = (&self.shared, &self.talk);
        match &mut self.side {
            Side::Requests(frames) => {
                if !std::mem::replace(&mut self.started, true) && bytes.first() == Some(&TLS_HANDSHAKE) {
                    talk.opaque.store(true, Relaxed);
                }
                if talk.opaque.load(Relaxed) {
                    return (bytes, ControlFlow::Continue(()));
                }
                frames.pass(bytes, |header| {
                    let RequestHeader { api_key, correlation } = header.into();
                    *shared.counts().requests.entry(api_key).or_default() += 1;
                    if api_key == PRODUCE {
                        talk.expect_ack(correlation);
                    }
                    ControlFlow::Continue(())
                })
            }
            Side::Responses(_) if talk.opaque.load(Relaxed) => (bytes, ControlFlow::Continue(())),
            Side::Responses(frames) => frames.pass(bytes, |header| {
                let is_lost = talk.is_ack(answers(header)) && shared.loses_ack();
                if is_lost { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }),
        }
    }

    /// Sends under the throttle and up to the cut.
    async fn send(&mut self, mut bytes: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> ControlFlow<End> {
        while !bytes.is_empty() {
            let Control { faults, set, .. } = *self.control.borrow_and_update();
            if faults.black_hole {
                self.talk.torn.store(true, Relaxed);
                return ControlFlow::Continue(());
            }
            let allowed = self.allowed(faults.cut_after_response_bytes, set).unwrap_or(u64::MAX);
            if allowed == 0 {
                return ControlFlow::Break(End::Cut);
            }
            let waiting = bytes.len().min(usize::try_from(allowed).unwrap_or(usize::MAX));
            let piece_bytes = match self.pace.turn(Instant::now(), faults.bytes_per_second, waiting) {
                Turn::Send(piece_bytes) => piece_bytes,
                Turn::Wait(until) => {
                    self.wait(until).await;
                    continue;
                }
            };
            let (piece, rest) = bytes.split_at_checked(piece_bytes).unwrap_or((bytes, &[]));
            // Before it arrives: who has seen it arrive finds it counted.
            self.count(piece.len() as u64);
            if to.write_all(piece).await.is_err() {
                return ControlFlow::Break(End::Closed);
            }
            bytes = rest;
            if allowed == piece.len() as u64 {
                return ControlFlow::Break(End::Cut);
            }
        }
        ControlFlow::Continue(())
    }

    /// Bytes that may still be delivered before the cut, if there is to be one.
    fn allowed(&mut self, limit: Option<u64>, set: u64) -> Option<u64> {
        if self.delivered.1 != set {
            self.delivered = (0, set);
        }
        let limit = limit.filter(|_| matches!(self.side, Side::Responses(_)))?;
        Some(limit.saturating_sub(self.delivered.0))
    }

    fn count(&mut self, bytes: u64) {
        self.delivered.0 += bytes;
        let mut counts = self.shared.counts();
        match self.side {
            Side::Requests(_) => counts.request_bytes += bytes,
            Side::Responses(_) => counts.response_bytes += bytes,
        }
    }

    /// Waits until then, or until other faults are set.
    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            // The sender lives as long as the runtime that this runs on.
            _ = self.control.changed() => {}
        }
    }
}

/// Reads ahead, as far as the queue goes.
async fn fill(mut from: impl AsyncRead + Unpin, into: mpsc::Sender<Chunk>) {
    loop {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        if !matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
        if into.send(Chunk { read_at: Instant::now(), bytes }).await.is_err() {
            return;
        }
    }
}

impl Talk {
    fn expect_ack(&self, correlation: i32) {
        let mut produces = self.produces.lock().unwrap_or_else(PoisonError::into_inner);
        if produces.len() == UNANSWERED_MAX {
            produces.pop_front();
        }
        produces.push_back(correlation);
    }

    /// Whether this answers a `Produce`; those before it are not answered any more.
    fn is_ack(&self, correlation: i32) -> bool {
        let mut produces = self.produces.lock().unwrap_or_else(PoisonError::into_inner);
        let place = produces.iter().position(|one| *one == correlation);
        place.is_some_and(|place| produces.drain(..=place).next().is_some())
    }
}

/// The throttle of one lane; knows no clock.
#[derive(Default)]
struct Pace {
    /// When what was sent so far is through.
    free_at: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// So many bytes now.
    Send(usize),
    /// None before then.
    Wait(Instant),
}

impl Pace {
    /// Whose turn it is at `now`, with so many bytes waiting.
    fn turn(&mut self, now: Instant, bytes_per_second: Option<NonZeroU64>, waiting_bytes: usize) -> Turn {
        let Some(rate) = bytes_per_second.map(NonZeroU64::get) else {
            self.free_at = None;
            return Turn::Send(waiting_bytes);
        };
        let start = match self.free_at {
            Some(free_at) if free_at > now => return Turn::Wait(free_at),
            // A timer that wakes late does not slow the lane.
            Some(free_at) if now - free_at < Duration::from_secs(1) / 20 => free_at,
            Some(_) | None => now,
        };
        let most = usize::try_from((rate / PIECES_PER_SECOND).max(1)).unwrap_or(usize::MAX);
        let piece_bytes = waiting_bytes.min(most);
        self.free_at = Some(start + Duration::from_secs_f64(piece_bytes as f64 / rate as f64));
        Turn::Send(piece_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long so many bytes take when each wake-up is late by as much.
    fn takes(bytes: usize, bytes_per_second: u64, late: Duration) -> Duration {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut now, mut left) = (start, bytes);
        while left > 0 {
            match pace.turn(now, NonZeroU64::new(bytes_per_second), left) {
                Turn::Send(piece) => left -= piece,
                Turn::Wait(until) => now = until + late,
            }
        }
        pace.free_at.unwrap() - start
    }

    #[test]
    fn a_throttled_lane_delivers_so_many_bytes_a_second_whenever_it_is_woken() {
        for (bytes, rate) in [(10_000, 1_000), (1, 1), (7, 1), (5_000_000, 1_000_000)] {
            for late in [Duration::ZERO, Duration::from_millis(3)] {
                let seconds = takes(bytes, rate, late).as_secs_f64();
                let expected = bytes as f64 / rate as f64;
                assert!((seconds - expected).abs() < 0.001 * expected + 0.01, "{bytes}: {seconds} s");
            }
        }
    }

    #[test]
    fn a_lane_without_throttle_sends_all_at_once() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.turn(now, NonZeroU64::new(20), 100), Turn::Send(1));
        assert_eq!(pace.turn(now, NonZeroU64::new(20), 99), Turn::Wait(now + Duration::from_millis(50)));
        assert_eq!(pace.turn(now, None, 99), Turn::Send(99));
    }

    #[test]
    fn an_answer_is_an_acknowledgement_when_its_request_was_a_produce() {
        let talk = Talk::default();
        talk.expect_ack(1);
        talk.expect_ack(4);
        assert!(!talk.is_ack(2));
        assert!(talk.is_ack(4), "what has no answer is passed over");
        assert!(!talk.is_ack(1) && !talk.is_ack(4));
        for correlation in 0..10_000 {
            talk.expect_ack(correlation);
        }
        assert_eq!(talk.produces.lock().unwrap().len(), UNANSWERED_MAX);
        assert!(talk.is_ack(9_999));
    }
}
