//! The known names most like one that is not known, for error messages.
//!
//! # Invariants
//! * The cost is bounded, however long the name and the list are: about a millisecond.

/// Characters of a name that are compared.
const CHARS_MAX: usize = 32;
/// Names that are compared; further ones are not suggested.
const NAMES_MAX: usize = 1_024;
/// Names that are suggested.
const SUGGESTED: usize = 3;

/// Up to three of `known` that take few edits to become `name`, nearest first; letter case does not count.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = folded(name);
    let mut found: Vec<_> = known
        .take(NAMES_MAX)
        .map(|candidate| (distance(&wanted, &folded(candidate)), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.chars().count().min(CHARS_MAX) / 2)
        .collect();
    found.sort_by_key(|(edits, _)| *edits);
    found.into_iter().take(SUGGESTED).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// The start of a text that came from outside, short enough for a log line.
pub(crate) fn start(text: &str) -> String {
    text.chars().take(80).collect()
}

fn folded(text: &str) -> Vec<char> {
    text.chars().take(CHARS_MAX).flat_map(char::to_lowercase).collect()
}

/// Levenshtein's distance, one row at a time (Wagner and Fischer 1974).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.iter().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = before;
        }
        for (cell, to) in cells.zip(right) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            before = replaced.min(*cell + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_edits() {
        let rows =
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0), ("ab", "ba", 2)];
        for (left, right, edits) in rows {
            assert_eq!(distance(&folded(left), &folded(right)), edits, "{left} {right}");
        }
    }

    #[test]
    fn a_long_name_is_compared_by_its_start() {
        assert_eq!(folded(&"X".repeat(1_000)), ['x'; CHARS_MAX]);
    }

    #[test]
    fn likely_names_are_suggested_and_unlikely_ones_are_not() {
        let known = ["Gilbert", "Stone_Brook", "Gilmore", "Edwards"];
        assert_eq!(nearest("gilbrt", known.into_iter()), ["Gilbert", "Gilmore"]);
        assert_eq!(nearest("zzzzzzzzz", known.into_iter()), Vec::<String>::new());
        assert_eq!(nearest(&"x".repeat(1_000_000), known.into_iter()), Vec::<String>::new());
    }
}
