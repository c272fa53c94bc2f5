//! Finding the headers of Kafka's frames in a stream, however it is cut into reads.
//!
//! A frame is its length in 4 bytes, then that much. A request begins with its API key, that key's version and a
//! correlation id; an answer with the correlation id of its request.
//!
//! # Invariants
//! * What goes in comes out, in order: only an unfinished header is held back, and what follows a stop.
//! * A stream that cannot be Kafka's is passed on unread from there on.

use std::ops::ControlFlow;

/// Length, API key, version, correlation id.
pub(super) type Requests = Frames<12>;
/// Length, correlation id.
pub(super) type Responses = Frames<8>;

/// One direction of a connection; `HEADER` counts the length too.
#[derive(Debug, Default)]
pub(super) struct Frames<const HEADER: usize> {
    /// The beginning of a header.
    held: Vec<u8>,
    /// Bytes of the frame at hand that are still to come.
    left: u64,
    unframed: bool,
}

/// The header of a request.
pub(super) struct RequestHeader {
    pub(super) api_key: i16,
    pub(super) correlation: i32,
}

impl From<&[u8; 12]> for RequestHeader {
    fn from(&[_, _, _, _, k0, k1, _, _, c0, c1, c2, c3]: &[u8; 12]) -> Self {
        Self { api_key: i16::from_be_bytes([k0, k1]), correlation: i32::from_be_bytes([c0, c1, c2, c3]) }
    }
}

/// The correlation id of an answer.
pub(super) fn answers(&[_, _, _, _, c0, c1, c2, c3]: &[u8; 8]) -> i32 {
    i32::from_be_bytes([c0, c1, c2, c3])
}

impl<const HEADER: usize> Frames<HEADER> {
    /// Takes in what was read and gives what can be passed on; each header is shown before it is passed. A break ends
    /// the stream before the frame that was shown.
    pub(super) fn pass(
        &mut self,
        read: Vec<u8>,
        mut show: impl FnMut(&[u8; HEADER]) -> ControlFlow<()>,
    ) -> (Vec<u8>, ControlFlow<()>) {
        let mut bytes = if self.held.is_empty() {
            read
        } else {
            let held = std::mem::take(&mut self.held);
            [held, read].concat()
        };
        let mut at = 0;
        while !self.unframed {
            let rest = bytes.get(at..).unwrap_or_default();
            let known = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            self.left -= known as u64;
            at += known;
            let rest = rest.get(known..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let Some(header) = rest.first_chunk::<HEADER>() else {
                self.held = bytes.split_off(at);
                break;
            };
            match frame_bytes(header) {
                Some(frame_bytes) if show(header).is_continue() => self.left = frame_bytes,
                Some(_) => {
                    bytes.truncate(at);
                    return (bytes, ControlFlow::Break(()));
                }
                None => self.unframed = true,
            }
        }
        (bytes, ControlFlow::Continue(()))
    }
}

/// Size of a frame with its length, if it can hold its header.
fn frame_bytes<const HEADER: usize>(header: &[u8; HEADER]) -> Option<u64> {
    let length = u64::try_from(i32::from_be_bytes(*header.first_chunk()?)).ok()?;
    (length + 4 >= HEADER as u64).then_some(length + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(4 + body.len()).unwrap();
        [&length.to_be_bytes()[..], &correlation.to_be_bytes(), body].concat()
    }

    /// Passes a stream in reads of one size; gives what came out, whom it showed, and whether it stopped.
    fn pass(stream: &[u8], read_bytes: usize, stop_at: Option<i32>) -> (Vec<u8>, Vec<i32>, bool) {
        let (mut frames, mut out, mut shown) = (Responses::default(), Vec::new(), Vec::new());
        for read in stream.chunks(read_bytes) {
            let (bytes, flow) = frames.pass(read.to_vec(), |header| {
                shown.push(answers(header));
                if Some(answers(header)) == stop_at {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            out.extend(bytes);
            assert!(frames.held.len() < 8);
            if flow.is_break() {
                return (out, shown, true);
            }
        }
        (out, shown, false)
    }

    #[test]
    fn every_header_is_shown_and_every_byte_comes_out_however_it_is_cut() {
        let stream = [response(1, b"one"), response(2, b""), response(-3, &[7; 100])].concat();
        for read_bytes in 1..=stream.len() {
            assert_eq!(
                pass(&stream, read_bytes, None),
                (stream.clone(), vec![1, 2, -3], false),
                "{read_bytes}"
            );
        }
    }

    #[test]
    fn a_stop_keeps_back_the_frame_shown_and_all_after_it() {
        let before = response(1, b"one");
        let stream = [before.clone(), response(2, b"two"), response(3, b"three")].concat();
        for read_bytes in 1..=stream.len() {
            assert_eq!(
                pass(&stream, read_bytes, Some(2)),
                (before.clone(), vec![1, 2], true),
                "{read_bytes}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_frame_is_passed_on_unread() {
        for length in [-1, 0, 3] {
            let stream = [response(1, b"one"), i32::to_be_bytes(length).to_vec(), vec![0; 50]].concat();
            for read_bytes in 1..=stream.len() {
                assert_eq!(
                    pass(&stream, read_bytes, Some(0)),
                    (stream.clone(), vec![1], false),
                    "{read_bytes}"
                );
            }
        }
    }

    #[test]
    fn a_request_is_read_as_kafka_writes_it() {
        let stream = [&[0, 0, 0, 9][..], &[0, 18], &[0, 3], &[0, 0, 1, 2], &[9]].concat();
        let mut seen = Vec::new();
        let (out, _) = Requests::default().pass(stream.clone(), |header| {
            let RequestHeader { api_key, correlation } = header.into();
            seen.push((api_key, correlation));
            ControlFlow::Continue(())
        });
        assert_eq!((out, seen), (stream, vec![(18, 258)]));
    }
}
