//! The checker: a pure function from a history to a verdict for each guarantee.
//!
//! The guarantees that a history can contradict, by their numbers: 1, every answer is all of one version; 4, what was
//! committed survives; 5, outcomes are honest; 6, one writer wins and nothing is overwritten unseen; 7, generations never
//! fall; 8, every instance converges or says why not; 14, operators win; 16, status is truth. Each has a file here, or a
//! part of one, which says what contradicts it.

mod answers;
mod change;
mod convergence;
mod decidable;
mod generations;
mod index;
mod log;
mod outcomes;
mod statuses;
#[cfg(test)]
mod tests;
mod wanted;

use self::index::Index;
use super::event::{Action, Event, Outcome};
use super::read::History;
use super::report::{Counts, Report};

/// Says of each guarantee whether the history contradicts it.
#[must_use]
pub fn check(history: &History) -> Report {
    let index = Index::new(history);
    let findings = vec![
        answers::whole(&index),
        outcomes::durable(&index),
        outcomes::honest(&index),
        log::one_history(&index),
        generations::never_fall(&index),
        convergence::all_converge(&index),
        answers::operators_win(&index),
        statuses::true_reports(&index),
    ];
    let torn = history.processes.iter().filter(|process| process.torn).map(|process| process.name.clone());
    Report { findings, counts: count(&index), torn: torn.collect() }
}

fn count(index: &Index<'_>) -> Counts {
    let mut counts = Counts {
        processes: length(index.history.processes.len()),
        generations: index.logs.values().map(|log| length(log.entries.len())).sum(),
        statuses: index.statuses.values().map(|statuses| length(statuses.len())).sum(),
        ..Counts::default()
    };
    for operation in index.operations.values() {
        match operation.action {
            Action::Publish { .. } => counts.publishes += 1,
            _ => counts.changes += 1,
        }
        let Some((_, ended)) = operation.ended else {
            counts.unfinished += 1;
            continue;
        };
        counts.conflicts += length(ended.lost.len());
        match ended.outcome {
            Outcome::Committed { .. } => counts.committed += 1,
            Outcome::Unchanged { .. } => counts.unchanged += 1,
            Outcome::Unknown { .. } => counts.unknown += 1,
            Outcome::Refused { .. } => counts.refused += 1,
            Outcome::Unavailable { .. } => counts.unavailable += 1,
            Outcome::Conflict => {}
        }
    }
    for process in &index.history.processes {
        let mut swaps = 0;
        for line in &process.lines {
            match &line.event {
                Event::Answer(_) => counts.requests += 1,
                Event::Seen(seen) => swaps = swaps.max(seen.swaps),
                Event::NotVerified { .. } => counts.unverified += 1,
                Event::Fault { kind, .. } => *counts.faults.entry(kind.clone()).or_default() += 1,
                _ => {}
            }
        }
        counts.swaps += swaps;
    }
    counts
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
