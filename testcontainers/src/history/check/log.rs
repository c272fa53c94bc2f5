//! Guarantee 6: one writer wins each generation, and no change is overwritten unseen.

use modelcast::protocol::limits::RECENT_MAX;
use modelcast::protocol::{Digest, Generation, ModelName};

use super::change::follows;
use super::index::{Index, Log};
use crate::history::event::{Event, Outcome};
use crate::history::read::At;
use crate::history::report::{Finding, Tally};

const CLAIM: &str = "one writer wins each generation, and no change is overwritten unseen";

/// One digest for each generation, without gaps, each computed from the one before and nothing else.
pub(super) fn one_history(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(6, CLAIM);
    for (model, log) in &index.logs {
        chain(model, log, &mut tally);
        changes(index, model, log, &mut tally);
    }
    agreement(index, &mut tally);
    tally.finding()
}

fn chain(model: &ModelName, log: &Log<'_>, tally: &mut Tally) {
    if let Some((at, first)) = log.entries.first()
        && first.generation.get() != 1
    {
        tally.broken(format!("the log of {model} begins at generation {}", first.generation), [*at]);
    }
    for (at, record) in &log.skips {
        let what = format!("generation {} of {model} follows none that the log has", record.generation);
        tally.broken(what, [*at]);
    }
    let digests: Vec<Digest> = log.entries.iter().map(|(_, record)| record.digest).collect();
    for (place, (at, record)) in log.entries.iter().enumerate() {
        tally.checked();
        let first = place.saturating_sub(RECENT_MAX);
        if digests.get(first..place) != Some(record.recent.as_slice()) {
            let what = format!("generation {} of {model} names other predecessors", record.generation);
            let before = place.checked_sub(1).and_then(|before| log.entries.get(before));
            tally.broken(what, [*at].into_iter().chain(before.map(|(at, _)| *at)));
        }
    }
}

fn changes(index: &Index<'_>, model: &ModelName, log: &Log<'_>, tally: &mut Tally) {
    let mut before = None;
    for (at, record) in &log.entries {
        let generation = record.generation;
        let Some(operation) = index.operations.get(record.state.stamp.reason.as_str()) else {
            let what =
                format!("generation {generation} of {model} was announced by nobody who said so before");
            tally.broken(what, [*at]);
            before = Some((at, record));
            continue;
        };
        tally.checked();
        let state = before.map(|(_, record): (_, &&crate::history::Announced)| &record.state);
        if let Err(cause) = follows(state, operation.action, &operation.uploaded, &record.state) {
            let what =
                format!("generation {generation} of {model} is not its change of the one before: {cause}");
            let evidence = [Some(*at), Some(operation.at), before.map(|(at, _)| *at)];
            tally.broken(what, evidence.into_iter().flatten());
        }
        before = Some((at, record));
    }
}

/// Whoever was told of a generation was told the same of it.
fn agreement(index: &Index<'_>, tally: &mut Tally) {
    let mut told = |at: At<'_>, model: &ModelName, generation: Generation, digest: Digest| {
        tally.checked();
        match index.in_force(model, generation) {
            Some((_, record)) if record.digest == digest => {}
            Some((theirs, record)) => {
                let what = format!(
                    "generation {generation} of {model} is {digest} here and {} there",
                    record.digest
                );
                tally.broken(what, [at, theirs]);
            }
            None => tally.broken(format!("the log has no generation {generation} of {model}"), [at]),
        }
    };
    for (at, line) in index.history.events() {
        match &line.event {
            Event::Seen(seen) => {
                if let Some(digest) = seen.announcement_seen {
                    told(at, &seen.model, seen.generation_seen, digest);
                }
            }
            Event::Reported(reported) => {
                let status = &reported.status;
                if let Some(digest) = status.announcement_seen {
                    told(at, &status.model, status.generation_seen, digest);
                }
            }
            Event::Ended(ended) => {
                let Some(operation) = index.operations.get(ended.operation.as_str()) else { continue };
                for lost in &ended.lost {
                    told(at, operation.model, lost.generation, lost.announcement);
                }
                if let Outcome::Committed { generation, announcement, .. } = ended.outcome {
                    told(at, operation.model, generation, announcement);
                }
            }
            _ => {}
        }
    }
}
