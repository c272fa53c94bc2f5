//! Damage as data: what is done to which record, and what must come of it.
//!
//! [`matrix`] lists every action on every kind of record, in every way. [`Damage::apply`] does it to the records that
//! a good publisher would have written (see `hostile`), [`Damage::outcome`] says what readers must make of it, and
//! [`Damage::reason`] why. Pure: sends nothing.
//!
//! # Invariants
//! * The same damage to the same records gives the same bytes.
//! * Each changes something: bytes, number or order of the records.
//! * What is signed is never signed again: whoever damages has no trusted key. What a holder of a key may do wrong is
//!   another story (`admission`).

mod outcome;
mod part;

use crate::hostile::{Kind, Record};

pub use outcome::{Outcome, Report, Said};
pub use part::Part;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// One bit of the value is another.
    Flip(Part),
    /// The value ends somewhere in this part.
    Truncate(Part),
    /// The record is not written.
    Drop,
    /// The record is written twice.
    Duplicate,
    /// The record changes places.
    Reorder(Order),
    /// The record stands there with another value.
    Replace(Substitute),
}

/// Which of the chunks is hit. Of the other kinds a version has one record, and of an instance's reports it is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The first.
    First,
    /// The one in the middle.
    Middle,
    /// The last.
    Last,
}

/// With what a record changes places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// With its neighbour of the same kind: another chunk, the announcement after it, the report before it.
    Neighbour,
    /// With nobody: it goes before everything that it refers to.
    BeforeItsBlobs,
}

/// What stands there instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Substitute {
    /// A good value of the same kind: another chunk of the version, the manifest or announcement before it, the report
    /// of another instance.
    Another,
    /// The same, from somebody without a trusted key; a report that is not true.
    Forged,
    /// As many bytes that mean nothing.
    Noise,
    /// A tombstone.
    Nothing,
}

/// What replaces the value of a record that is not a chunk.
#[derive(Debug, Clone, Default)]
pub struct Spares {
    /// For [`Substitute::Another`].
    pub another: Vec<u8>,
    /// For [`Substitute::Forged`].
    pub forged: Vec<u8>,
}

/// One action on one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// To which kind of record.
    pub kind: Kind,
    /// To which of them.
    pub which: Which,
    /// What is done.
    pub action: Action,
    /// Chooses the byte within the part, the bit, and the noise.
    pub seed: u64,
}

const KINDS: [Kind; 4] = [Kind::Chunk, Kind::Manifest, Kind::Announcement, Kind::Status];

/// Every action on every kind of record, in every way: 24 cells. The seed moves the places within their parts.
#[must_use]
pub fn matrix(seed: u64) -> Vec<Damage> {
    let ways = KINDS.into_iter().flat_map(|kind| {
        let hit = |action| whichs(kind, action).iter().map(move |&which| (kind, which, action));
        actions(kind).into_iter().flat_map(hit).collect::<Vec<_>>()
    });
    let seeds = (0_u64..).map(|place| random(&[seed, place], 1));
    ways.zip(seeds)
        .map(|((kind, which, action), seed)| Damage { kind, which, action, seed: first_number(&seed) })
        .collect()
}

impl Damage {
    /// The name of its cell, such as `flip-chunk`: fit for a model's name.
    #[must_use]
    pub fn cell(&self) -> String {
        let action = match self.action {
            Action::Flip(_) => "flip",
            Action::Truncate(_) => "truncate",
            Action::Drop => "drop",
            Action::Duplicate => "duplicate",
            Action::Reorder(_) => "reorder",
            Action::Replace(_) => "replace",
        };
        format!("{action}-{:?}", self.kind).to_lowercase()
    }

    /// Does it to the records of a version, or to the reports of an instance; `spares` are of the damaged kind.
    #[must_use]
    pub fn apply(&self, good: &[Record], spares: &Spares) -> Vec<Record> {
        let mut records = good.to_vec();
        let Some(place) = self.place(good) else { return records };
        let mut hit = records.remove(place);
        let value = hit.value.take().unwrap_or_default();
        hit.value = match self.action {
            Action::Flip(part) => Some(self.flipped(value, part)),
            Action::Truncate(part) => Some(self.truncated(value, part)),
            Action::Replace(substitute) => self.replaced(&value, substitute, good, spares),
            Action::Drop | Action::Duplicate | Action::Reorder(_) => Some(value),
        };
        let back_at: &[usize] = match self.action {
            Action::Flip(_) | Action::Truncate(_) | Action::Replace(_) => &[place],
            Action::Drop => &[],
            Action::Duplicate => &[place, place],
            Action::Reorder(Order::Neighbour) => {
                records.insert(place, hit);
                records.swap(place, self.neighbour(good, place).unwrap_or(place));
                return records;
            }
            Action::Reorder(Order::BeforeItsBlobs) => &[0],
        };
        for &place in back_at {
            records.insert(place, hit.clone());
        }
        records
    }

    /// Where the record stands that is hit.
    fn place(&self, records: &[Record]) -> Option<usize> {
        let places = self.places(records);
        let nth = match (self.kind, self.which) {
            // Of two announcements in a row the first is hit, so that it has one after it.
            (Kind::Announcement, _) | (_, Which::First) => 0,
            (_, Which::Middle) => places.len() / 2,
            (_, Which::Last) => places.len().saturating_sub(1),
        };
        places.get(nth).copied()
    }

    /// The next record of the same kind, or the one before the last.
    fn neighbour(&self, records: &[Record], place: usize) -> Option<usize> {
        let places = self.places(records);
        let after = places.iter().find(|&&other| other > place);
        after.or_else(|| places.iter().rfind(|&&other| other < place)).copied()
    }

    fn places(&self, records: &[Record]) -> Vec<usize> {
        let of_kind = |(place, record): (usize, &Record)| (record.kind == self.kind).then_some(place);
        records.iter().enumerate().filter_map(of_kind).collect()
    }

    fn flipped(&self, mut value: Vec<u8>, part: Part) -> Vec<u8> {
        let place = part.place(&value, self.seed);
        if let Some(byte) = value.get_mut(place) {
            *byte ^= 1 << ((self.seed >> 32) % 8);
        }
        value
    }

    fn truncated(&self, mut value: Vec<u8>, part: Part) -> Vec<u8> {
        value.truncate(part.place(&value, self.seed));
        value
    }

    fn replaced(
        &self,
        value: &[u8],
        substitute: Substitute,
        good: &[Record],
        spares: &Spares,
    ) -> Option<Vec<u8>> {
        match (substitute, self.kind) {
            (Substitute::Another, Kind::Chunk) => {
                let neighbour = self.neighbour(good, self.place(good)?)?;
                good.get(neighbour)?.value.clone()
            }
            (Substitute::Another, _) => Some(spares.another.clone()),
            (Substitute::Forged, _) => Some(spares.forged.clone()),
            (Substitute::Noise, _) => Some(random(&[self.seed], value.len())),
            (Substitute::Nothing, _) => None,
        }
    }
}

fn actions(kind: Kind) -> Vec<Action> {
    let parts = Part::of(kind).iter();
    let orders: &[Order] = match kind {
        Kind::Chunk | Kind::Status => &[Order::Neighbour],
        Kind::Manifest => &[Order::BeforeItsBlobs],
        Kind::Announcement => &[Order::Neighbour, Order::BeforeItsBlobs],
    };
    let substitutes: &[Substitute] = match kind {
        // Nobody signs a chunk.
        Kind::Chunk => &[Substitute::Another, Substitute::Noise, Substitute::Nothing],
        Kind::Manifest | Kind::Announcement | Kind::Status => {
            &[Substitute::Another, Substitute::Forged, Substitute::Noise, Substitute::Nothing]
        }
    };
    let flips = parts.clone().map(|&part| Action::Flip(part));
    let truncations = parts.map(|&part| Action::Truncate(part));
    let orders = orders.iter().map(|&order| Action::Reorder(order));
    let substitutes = substitutes.iter().map(|&substitute| Action::Replace(substitute));
    let others = [Action::Drop, Action::Duplicate].into_iter();
    flips.chain(truncations).chain(others).chain(orders).chain(substitutes).collect()
}

fn whichs(kind: Kind, action: Action) -> &'static [Which] {
    match (kind, action) {
        (Kind::Chunk, Action::Flip(_) | Action::Drop | Action::Duplicate | Action::Reorder(_)) => {
            &[Which::First, Which::Middle, Which::Last]
        }
        (Kind::Chunk, Action::Truncate(_) | Action::Replace(_)) => &[Which::Middle],
        (Kind::Manifest | Kind::Announcement | Kind::Status, _) => &[Which::Last],
    }
}

/// Bytes that only the seeds decide.
fn random(seeds: &[u64], count: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    for seed in seeds {
        hasher.update(&seed.to_be_bytes());
    }
    let mut bytes = vec![0; count.max(8)];
    hasher.finalize_xof().fill(&mut bytes);
    bytes.truncate(count.max(8));
    bytes
}

fn first_number(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
