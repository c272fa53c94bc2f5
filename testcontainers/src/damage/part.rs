//! The parts of a record's value that damage is aimed at, so that a sweep hits each of them.

use std::ops::Range;

use modelcast::protocol::envelope::HEADER_BYTES;

use crate::hostile::Kind;

/// A part of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of a signed record: what says that it is one.
    Magic,
    /// Of a signed record: what it is signed for.
    Purpose,
    /// Of a signed record: whose key.
    KeyId,
    /// Of a signed record.
    Signature,
    /// Of an announcement's frame: its version, namespace and model.
    Names,
    /// The generation: an announcement's own, or the one that a report says was seen.
    Generation,
    /// Of an announcement's frame: the digests of its predecessors, with their count.
    Recent,
    /// Of what comes after all that: the first third.
    Head,
    /// The second third.
    Middle,
    /// The last third.
    End,
}

/// How a report names the generation that was seen.
const GENERATION_SEEN: &[u8] = b"generation_seen";

impl Part {
    /// The parts of a kind of record, in their order.
    #[must_use]
    pub fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Chunk => &[Self::Head, Self::Middle, Self::End],
            Kind::Manifest => &[
                Self::Magic,
                Self::Purpose,
                Self::KeyId,
                Self::Signature,
                Self::Head,
                Self::Middle,
                Self::End,
            ],
            Kind::Announcement => &[
                Self::Magic,
                Self::Purpose,
                Self::KeyId,
                Self::Signature,
                Self::Names,
                Self::Generation,
                Self::Recent,
                Self::Head,
                Self::Middle,
                Self::End,
            ],
            Kind::Status => &[Self::Head, Self::Generation, Self::Middle, Self::End],
        }
    }

    /// A byte of this part of a value that is of one of the kinds that have it; below its length.
    pub(super) fn place(self, value: &[u8], seed: u64) -> usize {
        let range = self.range(value);
        let length = u64::try_from(range.len().max(1)).unwrap_or(1);
        let place = range.start + usize::try_from(seed % length).unwrap_or(0);
        place.min(value.len().saturating_sub(1))
    }

    fn range(self, value: &[u8]) -> Range<usize> {
        let frame = Frame::of(value);
        match self {
            Self::Magic => 0..4,
            Self::Purpose => 4..5,
            Self::KeyId => 5..13,
            Self::Signature => 13..HEADER_BYTES,
            Self::Names => HEADER_BYTES..frame.generation,
            Self::Generation if is_signed(value) => frame.generation..frame.recent,
            Self::Generation => {
                let name = value.windows(GENERATION_SEEN.len()).position(|text| text == GENERATION_SEEN);
                let place = name.map_or(0, |name| name + GENERATION_SEEN.len());
                place..place + 1
            }
            Self::Recent => frame.recent..frame.body,
            Self::Head => third(value, 0),
            Self::Middle => third(value, 1),
            Self::End => third(value, 2),
        }
    }
}

/// Where the parts of an announcement's frame begin; see the announcement module of the protocol.
struct Frame {
    generation: usize,
    recent: usize,
    body: usize,
}

impl Frame {
    fn of(value: &[u8]) -> Self {
        let at = |place: usize| value.get(place).copied().map_or(0, usize::from);
        let namespace = HEADER_BYTES + 1;
        let model = namespace + 1 + at(namespace);
        let generation = model + 1 + at(model);
        let recent = generation + 8;
        Self { generation, recent, body: recent + 1 + 32 * at(recent) }
    }
}

fn is_signed(value: &[u8]) -> bool {
    value.starts_with(b"MDC1")
}

/// One of three equal pieces of what is neither header nor frame.
fn third(value: &[u8], nth: usize) -> Range<usize> {
    let is_announcement = is_signed(value) && value.get(4) == Some(&1);
    let start = match (is_signed(value), is_announcement) {
        (_, true) => Frame::of(value).body,
        (true, false) => HEADER_BYTES,
        (false, false) => 0,
    };
    let start = start.min(value.len());
    let piece = (value.len() - start) / 3;
    let end = if nth == 2 { value.len() } else { start + (nth + 1) * piece };
    start + nth * piece..end
}
