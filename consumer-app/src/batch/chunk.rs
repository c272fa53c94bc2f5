//! A few thousand rows on their way from the input to the output: keys, encoded values, predictions, failures.
//!
//! Chunks are used again and again: filled by `encode`, completed by `score`, emptied by a sink.
//!
//! # Invariants
//! * `numbers`, `keys`, `values` and, once scored, `predictions` are of the same rows, in the input's order.
//! * Once its buffers have grown, filling a chunk allocates nothing for a row that has no failure.

use super::summary::Failure;

/// Most rows of a chunk.
pub const CHUNK_ROWS: usize = 8_192;
/// Longest cause of a failure.
const CAUSE_MAX_CHARS: usize = 300;
/// So much of a key stands in a failure.
const KEY_SHOWN_MAX_CHARS: usize = 200;

/// Rows on their way.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Number of each row in the input, from 0.
    pub numbers: Vec<u64>,
    /// Key of each row.
    pub keys: Texts,
    /// Encoded values, row after row.
    pub values: Vec<f64>,
    /// Predictions, row after row.
    pub predictions: Vec<f64>,
    /// The rows that are not among those above, in the input's order.
    pub failures: Vec<Failure>,
    /// Rows of the input up to this chunk's end, failed ones too: what the position is when it is written.
    pub end: u64,
    /// How much of the input is read when this chunk is: of `Input::total`.
    pub read: u64,
}

/// Many short texts in one buffer.
#[derive(Debug, Default)]
pub struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Chunk {
    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.keys.clear();
        self.values.clear();
        self.predictions.clear();
        self.failures.clear();
    }

    /// How many rows there are, without those that failed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Adds a row that is left out, with texts that are cut to their limits.
    pub fn fail(&mut self, row: u64, key: &str, cause: &str) {
        let (key, cause) = (cut(key, KEY_SHOWN_MAX_CHARS), cut(cause, CAUSE_MAX_CHARS));
        self.failures.push(Failure { row, key, cause });
    }

    /// Takes out the rows at these places, which are in ascending order, of `width` values and `outputs` predictions.
    pub fn take_out(&mut self, places: &[usize], width: usize, outputs: usize) {
        if places.is_empty() {
            return;
        }
        let mut rest = places;
        let mut keys = Texts::default();
        let mut keep = vec![true; self.len()];
        for (place, keep) in keep.iter_mut().enumerate() {
            if let [first, others @ ..] = rest
                && *first == place
            {
                (*keep, rest) = (false, others);
            } else {
                keys.push(self.keys.get(place));
            }
        }
        self.keys = keys;
        retain(&mut self.numbers, 1, &keep);
        retain(&mut self.values, width, &keep);
        retain(&mut self.predictions, outputs, &keep);
    }
}

impl Texts {
    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// The text at a place; empty beyond the last one.
    #[must_use]
    pub fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(place).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }
}

/// Keeps the groups of `size` values that are to be kept.
fn retain<T: Copy>(values: &mut Vec<T>, size: usize, keep: &[bool]) {
    let mut place = 0;
    values.retain(|_| {
        let kept = keep.get(place / size.max(1)).copied().unwrap_or(false);
        place += 1;
        kept
    });
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_taken_out_take_all_of_theirs_along() {
        let mut chunk = Chunk::default();
        for row in 0..5_u32 {
            chunk.numbers.push(u64::from(row) + 1);
            chunk.keys.push(&format!("k{row}"));
            chunk.values.extend([f64::from(row), f64::from(row) * 10.0]);
            chunk.predictions.push(f64::from(row) * 100.0);
        }
        chunk.take_out(&[0, 3], 2, 1);
        assert_eq!(chunk.numbers, [2, 3, 5]);
        assert_eq!((0..4).map(|place| chunk.keys.get(place)).collect::<Vec<_>>(), ["k1", "k2", "k4", ""]);
        assert_eq!(chunk.values, [1.0, 10.0, 2.0, 20.0, 4.0, 40.0]);
        assert_eq!(chunk.predictions, [100.0, 200.0, 400.0]);
    }

    #[test]
    fn a_failure_is_capped() {
        let mut chunk = Chunk::default();
        chunk.fail(1, &"ä".repeat(5_000), &"c".repeat(5_000));
        assert_eq!((chunk.failures[0].key.chars().count(), chunk.failures[0].cause.len()), (200, 300));
    }
}
