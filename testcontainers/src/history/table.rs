//! What a version of a run computes: a table of numbers, of which each says by whom it was published, and where it stood.
//!
//! A part of another version's table, or a part that is missing, shows in the first value asked from it.

use serde::{Deserialize, Serialize};

/// A table of numbers that follows from its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Of each publish another one.
    pub seed: u64,
    /// Numbers in it; at least 1.
    pub places: u32,
}

impl Table {
    /// The number at a place: a whole one below 2^53, which JSON and `f64` keep to the last bit.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "53 bits are left")]
    pub fn value(&self, place: u32) -> f64 {
        // SplitMix64's mixing (Steele, Lea, Flood 2014): neither compresses nor repeats.
        let mut bits = self.seed.rotate_left(32) ^ u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64
    }

    /// The artifact: its numbers one after the other, little-endian.
    #[must_use]
    pub fn artifact(&self) -> Vec<u8> {
        (0..self.places).flat_map(|place| self.value(place).to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_places_of_two_tables_are_alike() {
        let tables = [Table { seed: 1, places: 500 }, Table { seed: 2, places: 500 }];
        let values =
            tables.iter().flat_map(|table| (0..table.places).map(|place| table.value(place).to_bits()));
        assert_eq!(values.collect::<std::collections::BTreeSet<_>>().len(), 1_000);
        assert_eq!(tables[0].artifact().len(), 4_000);
    }

    #[test]
    fn a_value_survives_its_line_of_json() {
        for place in 0..1_000 {
            let value = Table { seed: u64::MAX, places: 1 }.value(place);
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), value.to_bits());
        }
    }
}
