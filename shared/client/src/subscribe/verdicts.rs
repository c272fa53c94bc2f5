//! What a model's loop knows of versions that do not serve: rejections that hold, and when to try the others again.
//!
//! # Invariants
//! * A rejection holds for its manifest until it is forgiven; the last 256 are remembered.
//! * Retries become rarer: a full disk or a missing chunk costs no decoding every second.

use std::{collections::HashMap, time::Duration};

use modelcast_protocol::{Digest, status::Stage};
use tokio::time::Instant;

use super::cache::DecodeMark;
use crate::{clock, live::Rejection};

/// How soon something that failed is tried again; twice as long after each further failure.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// How soon at the latest.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How soon a version whose records are missing is looked for again.
const RETRY_LATE: Duration = Duration::from_secs(30);
/// Most rejections that hold; far more than an announcement names versions without pins.
const REJECTIONS_MAX: usize = 256;

/// How soon something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It may pass: soon, then less and less often.
    Soon,
    /// Somebody has to do something about it.
    Late,
}

/// Rejections, and what waits for another try.
pub(super) struct Verdicts {
    /// Each with whether it was told.
    rejected: HashMap<Digest, (Rejection, bool)>,
    waiting: Option<(Instant, Option<Digest>)>,
    failures: u32,
    trouble: Option<String>,
}

impl Verdicts {
    /// Begins with the versions whose decoding ended the process.
    pub(super) fn after(crashes: &[DecodeMark]) -> Self {
        let mut verdicts = Self { rejected: HashMap::new(), waiting: None, failures: 0, trouble: None };
        for mark in crashes {
            let (version, manifest, at_unix_ms) = (mark.version, mark.manifest, clock::unix_ms());
            let cause = "the process died while decoding it".to_owned();
            verdicts.reject(Rejection { version, manifest, stage: Stage::Crash, cause, at_unix_ms });
        }
        verdicts
    }

    /// Holds a version off until it is forgiven.
    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.end_trouble();
        if self.rejected.len() >= REJECTIONS_MAX {
            let oldest = self.rejected.values().min_by_key(|(rejection, _)| rejection.at_unix_ms);
            if let Some(oldest) = oldest.map(|(rejection, _)| rejection.manifest) {
                self.rejected.remove(&oldest);
            }
        }
        self.rejected.insert(rejection.manifest, (rejection, false));
    }

    /// The rejection of a version, with whether this is the first time that it is told.
    pub(super) fn rejection(&mut self, manifest: Digest) -> Option<(Rejection, bool)> {
        let (rejection, told) = self.rejected.get_mut(&manifest)?;
        Some((rejection.clone(), !std::mem::replace(told, true)))
    }

    /// Tries a version again later.
    pub(super) fn wait(&mut self, retry: Retry, manifest: Digest, trouble: String) {
        self.pause(retry, Some(manifest));
        self.trouble = Some(trouble);
    }

    /// Tries nothing at all for a while.
    pub(super) fn wait_with_all(&mut self) {
        self.pause(Retry::Soon, None);
    }

    fn pause(&mut self, retry: Retry, manifest: Option<Digest>) {
        let pause = match retry {
            Retry::Soon => RETRY_MIN.saturating_mul(1 << self.failures.min(5)).min(RETRY_MAX),
            Retry::Late => RETRY_LATE,
        };
        self.failures = self.failures.saturating_add(1);
        self.waiting = Some((Instant::now() + pause, manifest));
    }

    /// Whether a version waits for another try.
    pub(super) fn waits(&self, manifest: Digest) -> bool {
        self.waiting.is_some_and(|(_, waiting)| waiting.is_none_or(|waiting| waiting == manifest))
    }

    /// Whether nothing may be tried before the next retry.
    pub(super) fn all_wait(&self) -> bool {
        self.waiting.is_some_and(|(_, waiting)| waiting.is_none())
    }

    /// When something is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.waiting.map(|(at, _)| at)
    }

    /// It is time.
    pub(super) fn end_wait(&mut self) {
        self.waiting = None;
    }

    /// What failed may go through now.
    pub(super) fn try_now(&mut self) {
        (self.waiting, self.failures) = (None, 0);
    }

    /// What keeps a version from being installed, for people.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Something went through, or was decided.
    pub(super) fn end_trouble(&mut self) {
        (self.waiting, self.failures, self.trouble) = (None, 0, None);
    }

    /// Forgets everything: somebody asked for another try.
    pub(super) fn forgive(&mut self) {
        self.rejected.clear();
        self.end_trouble();
    }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::Version;

    use super::*;

    fn rejection(number: u64) -> Rejection {
        Rejection {
            version: Version::new(number).unwrap(),
            manifest: Digest::of(&number.to_be_bytes()),
            stage: Stage::Golden,
            cause: "off".into(),
            at_unix_ms: number,
        }
    }

    #[test]
    fn a_rejection_is_new_once_and_holds_until_it_is_forgiven() {
        let mut verdicts = Verdicts::after(&[]);
        verdicts.reject(rejection(1));
        let manifest = rejection(1).manifest;
        assert_eq!(verdicts.rejection(manifest), Some((rejection(1), true)));
        assert_eq!(verdicts.rejection(manifest), Some((rejection(1), false)));
        verdicts.forgive();
        assert_eq!(verdicts.rejection(manifest), None);
    }

    #[test]
    fn rejections_are_bounded_and_the_oldest_goes() {
        let mut verdicts = Verdicts::after(&[]);
        (1..=300).for_each(|number| verdicts.reject(rejection(number)));
        assert_eq!(verdicts.rejected.len(), REJECTIONS_MAX);
        assert!(verdicts.rejection(rejection(44).manifest).is_none());
        assert!(verdicts.rejection(rejection(45).manifest).is_some());
    }

    #[test]
    fn retries_become_rarer_until_something_goes_through() {
        let mut verdicts = Verdicts::after(&[]);
        let pause = |verdicts: &mut Verdicts| {
            verdicts.wait(Retry::Soon, Digest::of(b"manifest"), "no space".into());
            verdicts.next_retry().unwrap().duration_since(Instant::now()).as_secs_f64().round()
        };
        let pauses: Vec<_> = (0..7).map(|_| pause(&mut verdicts)).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]);
        assert!(verdicts.waits(Digest::of(b"manifest")) && !verdicts.waits(Digest::of(b"other")));
        verdicts.end_trouble();
        assert!(verdicts.trouble().is_none() && verdicts.next_retry().is_none());
        assert_eq!(pause(&mut verdicts), 1.0);
    }
}
