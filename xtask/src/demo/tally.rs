//! Who answered how many requests with which version, and which failed.

use std::collections::BTreeMap;

/// Causes kept of failed requests; all are counted.
const CAUSES: usize = 5;

/// The requests of one app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    answered: BTreeMap<(String, u64), u64>,
    failed: u64,
    causes: Vec<String>,
}

impl Tally {
    pub(super) fn answer(&mut self, model: &str, version: u64) {
        *self.answered.entry((model.to_owned(), version)).or_default() += 1;
    }

    pub(super) fn fail(&mut self, cause: String) {
        self.failed += 1;
        if self.causes.len() < CAUSES {
            self.causes.push(cause);
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// The causes of the first few failures.
    pub(super) fn causes(&self) -> &[String] {
        &self.causes
    }

    pub(super) fn total(&self) -> u64 {
        self.answered.values().sum::<u64>() + self.failed
    }

    pub(super) fn answered_by(&self, model: &str, version: u64) -> u64 {
        self.answered.get(&(model.to_owned(), version)).copied().unwrap_or(0)
    }

    /// Versions of a model with their answers, and those of `earlier` taken off.
    pub(super) fn versions_since(&self, model: &str, earlier: &Self) -> Vec<(u64, u64)> {
        let of_model = self.answered.iter().filter(|((name, _), _)| name == model);
        of_model
            .map(|(key, count)| (key.1, count - earlier.answered.get(key).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_version_and_all_failures_with_the_first_causes() {
        let mut tally = Tally::default();
        tally.answer("a", 1);
        let earlier = tally.clone();
        tally.answer("a", 1);
        tally.answer("a", 2);
        tally.answer("b", 9);
        (0..7).for_each(|n| tally.fail(n.to_string()));
        assert_eq!(tally.versions_since("a", &Tally::default()), [(1, 2), (2, 1)]);
        assert_eq!(tally.versions_since("a", &earlier), [(1, 1), (2, 1)]);
        assert_eq!((tally.answered_by("a", 1), tally.answered_by("a", 3)), (2, 0));
        assert_eq!((tally.failed(), tally.causes().len(), tally.total()), (7, CAUSES, 11));
    }
}
