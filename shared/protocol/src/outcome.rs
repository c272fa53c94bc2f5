//! What became of an announcement that was sent.
//!
//! Judged at the end of the log by the announcement in force there, never by the acknowledgement: that one may be
//! lost, and never by the first record of the generation that is still visible: the log may have been cut.

use crate::{digest::Digest, fold::InForce, number::Generation};

/// What became of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It took force, whether or not it still is in force.
    Committed,
    /// Another one took force at its generation.
    Conflict {
        /// Which.
        by: Digest,
    },
    /// The log does not say, yet or any more: send the same bytes again, read again, or report it as unknown.
    Undecided,
}

/// Judges the announcement with digest `ours` at `generation`.
#[must_use]
pub fn judge(ours: Digest, generation: Generation, in_force: Option<&InForce>) -> Verdict {
    match in_force.and_then(|in_force| in_force.digest_at(generation)) {
        Some(digest) if digest == ours => Verdict::Committed,
        Some(by) => Verdict::Conflict { by },
        None => Verdict::Undecided,
    }
}
