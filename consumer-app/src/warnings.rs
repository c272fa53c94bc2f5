//! What an answer warns of: some of it, and how much more there is.

use std::fmt::Display;

/// Most warnings that an answer lists.
const LISTED_MAX: usize = 16;

/// The first 16 warnings in words; a last one says how many more there are.
pub(crate) fn listed(mut warnings: impl Iterator<Item = impl Display>) -> Vec<String> {
    let first = warnings.by_ref().take(LISTED_MAX);
    let mut found: Vec<String> = first.map(|warning| warning.to_string()).collect();
    match warnings.count() {
        0 => {}
        more => found.push(format!("and {more} more warnings")),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_counted() {
        assert_eq!(listed(0..0), [""; 0]);
        assert_eq!(listed(0..16).last().unwrap(), "15");
        assert_eq!(listed(0..19)[15..], ["15", "and 3 more warnings"]);
    }
}
