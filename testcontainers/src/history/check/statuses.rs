//! Guarantee 16: status records say what is so.
//!
//! A record and the answers of its process are compared by the one clock of that process: what a record says serves must
//! serve whoever asks after it was written.

use std::collections::BTreeMap;

use modelcast::protocol::status::{Phase, Status};
use modelcast::protocol::{Generation, ModelName};

use super::index::{Boot, Index};
use super::wanted::wanted;
use crate::history::event::Event;
use crate::history::read::At;
use crate::history::report::{Finding, Tally};

/// An answer this much older than a record must be known to the next one: a thread may be kept waiting between the
/// swap and its note of it.
const NOTED_AFTER_MS: u64 = 2_000;

/// What one process answered of one model, by time.
#[derive(Default)]
struct Answers<'a> {
    /// When asked, at which generation it was answered; then the lowest of it and all later ones.
    asked: Vec<(u64, Generation, At<'a>)>,
    /// When answered, at which generation; then the highest of it and all earlier ones.
    answered: Vec<(u64, Generation, At<'a>)>,
}

/// Live means swapped in; what a record says serves, serves.
pub(super) fn true_reports(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(16, "status records say what is so; live only after the swap");
    for ((model, _), statuses) in &index.statuses {
        let mut answers: BTreeMap<u64, Answers<'_>> = BTreeMap::new();
        let mut before: Option<(&Status, At<'_>)> = None;
        for (at, status) in statuses {
            tally.checked();
            consistent(index, status, *at, &mut tally);
            let Some(boot) = index.boot_of(status) else {
                tally.broken(format!("{} wrote a status, and no history", status.instance), [*at]);
                continue;
            };
            let answers = answers.entry(boot.boot).or_insert_with(|| Answers::of(boot, model));
            let previous = before.filter(|(previous, _)| previous.boot_id == status.boot_id);
            answers.compare(status, *at, previous, &mut tally);
            before = Some((status, *at));
        }
    }
    tally.finding()
}

/// What a record says of itself and of the log.
fn consistent(index: &Index<'_>, status: &Status, at: At<'_>, tally: &mut Tally) {
    let instance = &status.instance;
    let Some(served) = status.served else {
        if status.phase == Phase::Live {
            tally.broken(format!("{instance} says live and serves nothing"), [at]);
        }
        return;
    };
    if let (Phase::Live, Some(wanted)) = (&status.phase, status.wanted)
        && wanted.manifest != served.manifest
    {
        let what =
            format!("{instance} says live of version {}, and serves {}", wanted.version, served.version);
        tally.broken(what, [at]);
    }
    if served.generation > status.generation_seen {
        let seen = status.generation_seen;
        tally
            .broken(format!("{instance} serves generation {}, and has seen {seen}", served.generation), [at]);
    }
    let Some((decided, record)) = index.in_force(&status.model, served.generation) else {
        tally.broken(format!("{instance} serves at generation {}, which never was", served.generation), [at]);
        return;
    };
    let wanted = wanted(&status.model, &record.state, instance, &status.labels);
    let right =
        wanted.is_some_and(|(entry, _)| (entry.version, entry.manifest) == (served.version, served.manifest));
    if !right {
        let what = format!(
            "{instance} says that it serves version {} at generation {}, which wants another of it",
            served.version, served.generation
        );
        tally.broken(what, [at, decided]);
    }
}

impl<'a> Answers<'a> {
    fn of(boot: &Boot<'a>, model: &ModelName) -> Self {
        let mut answers = Self::default();
        for (at, line) in boot.process.events() {
            if let Event::Answer(answer) = &line.event
                && answer.model == *model
            {
                answers.asked.push((answer.asked_ms, answer.generation, at));
                answers.answered.push((line.wall_ms, answer.generation, at));
            }
        }
        answers.asked.sort_by_key(|(time, ..)| *time);
        answers.answered.sort_by_key(|(time, ..)| *time);
        let mut lowest: Option<(Generation, At<'_>)> = None;
        for (_, generation, at) in answers.asked.iter_mut().rev() {
            let (low, low_at) = lowest.filter(|(low, _)| low < generation).unwrap_or((*generation, *at));
            (lowest, *generation, *at) = (Some((low, low_at)), low, low_at);
        }
        let mut highest: Option<(Generation, At<'_>)> = None;
        for (_, generation, at) in &mut answers.answered {
            let (high, high_at) = highest.filter(|(high, _)| high > generation).unwrap_or((*generation, *at));
            (highest, *generation, *at) = (Some((high, high_at)), high, high_at);
        }
        answers
    }

    /// Holds a record against what the process answered after and before it.
    fn compare(&self, status: &Status, at: At<'_>, previous: Option<(&Status, At<'_>)>, tally: &mut Tally) {
        let said = status.served.map_or(Generation::ZERO, |served| served.generation);
        let instance = &status.instance;
        let later = self.asked.partition_point(|(asked, ..)| *asked <= status.at_unix_ms);
        if let Some((_, lowest, answer)) = self.asked.get(later)
            && *lowest < said
        {
            let what =
                format!("{instance} said that generation {said} serves, and answered by {lowest} after that");
            tally.broken(what, [at, *answer]);
        }
        // What this record tells was looked up after the one before was written.
        let Some((previous, _)) = previous else { return };
        let looked_ms = previous.at_unix_ms.saturating_sub(NOTED_AFTER_MS);
        let earlier = self.answered.partition_point(|(answered, ..)| *answered < looked_ms);
        let known = earlier.checked_sub(1).and_then(|last| self.answered.get(last));
        if let Some((_, highest, answer)) = known
            && *highest > said
        {
            let what =
                format!("{instance} answered by generation {highest}, and said later that {said} serves");
            tally.broken(what, [*answer, at]);
        }
    }
}
