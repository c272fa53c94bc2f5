//! Guarantees 4 and 5: what was committed stays, and what publishers were told is so.

use modelcast::protocol::Generation;

use super::change::is_refused;
use super::decidable::decidable;
use super::index::{Index, Operation};
use crate::history::event::{Action, Event, Lost, Outcome, Refusal, Settlement};
use crate::history::read::At;
use crate::history::report::{Finding, Tally};

/// Every commit is in the log, every record of that verifies, and every version that is still named reads back whole.
pub(super) fn durable(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(4, "what was committed survives");
    for (name, operation) in &index.operations {
        let Some((at, ended)) = operation.ended else { continue };
        let Outcome::Committed { generation, announcement, .. } = ended.outcome else { continue };
        tally.checked();
        match index.in_force(operation.model, generation) {
            Some((_, record)) if record.digest == announcement => {}
            Some((theirs, _)) => {
                tally.broken(format!("{name} was committed at {generation}, another is there"), [at, theirs]);
            }
            None => tally.broken(format!("{name} was committed at {generation}, the log ends before"), [at]),
        }
    }
    for (at, line) in index.history.events() {
        match &line.event {
            Event::ReadBack { model, version, error, .. } => {
                tally.checked();
                if let Some(error) = error {
                    tally.broken(format!("version {version} of {model} does not read back: {error}"), [at]);
                }
            }
            // Everybody signs, and no fault writes: somebody's announcement was there, and is not now.
            Event::NotVerified { offset, cause } => {
                tally.checked();
                tally.broken(format!("the announcement at offset {offset} does not verify: {cause}"), [at]);
            }
            _ => {}
        }
    }
    tally.finding()
}

/// Every outcome is what the log says.
pub(super) fn honest(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(5, "what publishers are told is so");
    for (name, operation) in &index.operations {
        let Some((at, ended)) = operation.ended else { continue };
        tally.checked();
        for lost in &ended.lost {
            conflict(index, name, operation, at, lost, &mut tally);
        }
        let (allowed, told) = match &ended.outcome {
            Outcome::Committed { generation, .. } => {
                committed(index, name, operation, at, *generation, &mut tally);
                (1, "committed")
            }
            Outcome::Unknown { .. } => {
                unknown(index, name, operation, at, &mut tally);
                (1, "unknown")
            }
            Outcome::Unchanged { .. } => {
                unchanged(index, name, operation, at, &mut tally);
                (0, "unchanged")
            }
            Outcome::Conflict if ended.lost.is_empty() => {
                tally.broken(format!("{name} was told: conflict, and not with whom"), [at]);
                (0, "conflict")
            }
            Outcome::Conflict => (0, "conflict"),
            Outcome::Refused { rule, .. } => {
                refused(index, name, operation, at, *rule, &mut tally);
                (0, "refused")
            }
            Outcome::Unavailable { .. } => (0, "nothing was announced"),
        };
        let in_force = announced_by(index, name, operation);
        if in_force.len() > allowed {
            let what = format!("{name} was told: {told}, and has {} announcements in force", in_force.len());
            tally.broken(what, [at].into_iter().chain(in_force));
        }
    }
    tally.finding()
}

/// The announcements in force that an operation made.
fn announced_by<'a>(index: &Index<'a>, name: &str, operation: &Operation<'a>) -> Vec<At<'a>> {
    let entries = index.logs.get(operation.model).map(|log| log.entries.as_slice()).unwrap_or_default();
    let ours = entries.iter().filter(|(_, record)| record.state.stamp.reason == name);
    ours.map(|(at, _)| *at).collect()
}

fn committed(
    index: &Index<'_>,
    name: &str,
    operation: &Operation<'_>,
    at: At<'_>,
    generation: Generation,
    tally: &mut Tally,
) {
    let Some((theirs, record)) = index.in_force(operation.model, generation) else { return };
    if record.state.stamp.reason != name {
        let by = &record.state.stamp.reason;
        tally.broken(format!("{name} was told that {generation} is its own, which is {by}'s"), [at, theirs]);
    }
    let told = operation.ended.and_then(|(_, ended)| match ended.outcome {
        Outcome::Committed { version, .. } => version,
        _ => None,
    });
    let introduced = record.state.versions.last().map(|entry| entry.version);
    if told.is_some() && told != introduced {
        let what = format!("{name} was told version {told:?}, announced is {introduced:?}");
        tally.broken(what, [at, theirs]);
    }
}

fn conflict(
    index: &Index<'_>,
    name: &str,
    operation: &Operation<'_>,
    at: At<'_>,
    lost: &Lost,
    tally: &mut Tally,
) {
    let generation = lost.generation;
    let Some((theirs, record)) = index.in_force(operation.model, generation) else {
        tally.broken(format!("{name} lost generation {generation}, which the log does not have"), [at]);
        return;
    };
    // Where another took force since, the publisher knows no more of the winner than the announcement.
    let winner = [&record.state.stamp.author, &format!("announcement {}", record.digest.short())];
    if record.state.stamp.reason == name {
        tally.broken(format!("{name} lost generation {generation} to itself"), [at, theirs]);
    } else if record.digest != lost.announcement || !winner.contains(&&lost.by) {
        let winner = &record.state.stamp.author;
        tally.broken(format!("{name} lost {generation} to {}, the log says {winner}", lost.by), [at, theirs]);
    }
}

fn unknown(index: &Index<'_>, name: &str, operation: &Operation<'_>, at: At<'_>, tally: &mut Tally) {
    let (tries_at, tries_from_us) = operation.tries_from;
    let tried_ms = operation.ended_us.saturating_sub(tries_from_us) / 1_000;
    if tried_ms < operation.patience_ms {
        let what = format!("{name} gave up after {tried_ms} ms of {} ms", operation.patience_ms);
        tally.broken(what, [at, tries_at]);
    }
    let Some((_, ended)) = operation.ended else { return };
    let Outcome::Unknown { generation, announcement, .. } = ended.outcome else { return };
    let found = index.in_force(operation.model, generation);
    let ours = found.is_some_and(|(_, record)| record.digest == announcement);
    let by_name = announced_by(index, name, operation);
    if !ours && !by_name.is_empty() {
        let what = format!("{name} does not know of {generation}, and has another in force");
        tally.broken(what, [at].into_iter().chain(by_name));
    }
    for (settled_at, of, digest, settlement) in &operation.settled {
        tally.checked();
        let right = match settlement {
            Settlement::Committed => ours,
            Settlement::Conflict { by } => !ours && found.is_some_and(|(_, record)| record.digest == *by),
            // True when it was said; later it may land, and it may never.
            Settlement::Undecided => true,
        };
        if !right || (*of, *digest) != (generation, announcement) {
            let what = format!("{name} was settled as {settlement:?}, and the log says otherwise");
            tally.broken(what, [*settled_at, at].into_iter().chain(found.map(|(at, _)| at)));
        }
    }
}

fn unchanged(index: &Index<'_>, name: &str, operation: &Operation<'_>, at: At<'_>, tally: &mut Tally) {
    let Some((_, ended)) = operation.ended else { return };
    let Outcome::Unchanged { version, generation, manifest } = ended.outcome else { return };
    let Action::Publish { artifact, .. } = operation.action else {
        tally.broken(format!("{name} publishes nothing, and was told: unchanged"), [at, operation.at]);
        return;
    };
    let Some((theirs, record)) = index.in_force(operation.model, generation) else {
        tally
            .broken(format!("{name} was told: unchanged at {generation}, which the log does not have"), [at]);
        return;
    };
    let champion = record.state.entry(record.state.champion);
    let same = champion.is_some_and(|entry| {
        entry.version == version && entry.manifest == manifest && entry.artifact == *artifact
    });
    if !same {
        let what = format!(
            "{name} was told that version {version} is its artifact and the champion of {generation}"
        );
        tally.broken(what, [at, theirs, operation.at]);
    }
}

fn refused(
    index: &Index<'_>,
    name: &str,
    operation: &Operation<'_>,
    at: At<'_>,
    rule: Refusal,
    tally: &mut Tally,
) {
    match rule {
        Refusal::Change => {
            let states = decidable(index, name, operation);
            if !states.into_iter().any(|state| is_refused(operation.action, state)) {
                let what = format!("{name} was refused, and was possible whenever it can have been decided");
                tally.broken(what, [at, operation.at]);
            }
        }
        Refusal::HistoryLost { reported } => {
            let what = |found| format!("{name} was refused for lack of generation {reported}, which {found}");
            match index.in_force(operation.model, reported) {
                Some((theirs, _)) => tally.broken(what("the log has"), [at, theirs]),
                None => tally.broken(what("nobody ever announced"), [at, operation.at]),
            }
        }
        Refusal::Other => {
            tally.broken(format!("{name} was refused, in a run in which nobody lies"), [at, operation.at]);
        }
    }
}
