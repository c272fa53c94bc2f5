//! One lie at a time: the guarantee that it breaks is found broken.

use modelcast::protocol::status::{Phase, Status};
use modelcast::protocol::{Digest, Generation};

use super::good::{LAST, PATIENCE_MS, good, table, version};
use crate::history::check::check;
use crate::history::event::{Action, Announced, Answer, Ended, Event, Outcome, Refusal, Seen, Settlement};
use crate::history::{History, Verdict};

/// Plants `lie` and expects the guarantee to be found broken, with evidence.
pub(super) fn finds(guarantee: u8, what: &str, lie: impl FnOnce(&mut History)) {
    let mut history = good();
    lie(&mut history);
    let report = check(&history);
    let finding = report.findings.iter().find(|finding| finding.guarantee == guarantee).unwrap();
    assert_eq!(finding.verdict, Verdict::Broken, "{what} was not found\n{report}");
    assert!(!report.held());
    let violation = &finding.violations[0];
    assert!(!violation.evidence.is_empty(), "{what}: {violation:?}");
}

/// What is found of a guarantee.
pub(super) fn verdict(history: &History, guarantee: u8) -> Verdict {
    check(history).findings.iter().find(|finding| finding.guarantee == guarantee).unwrap().verdict
}

/// Every event of a process; of all where there is none of that name.
fn events<'a>(history: &'a mut History, process: &'a str) -> impl DoubleEndedIterator<Item = &'a mut Event> {
    let of = history.processes.iter_mut().filter(move |of| of.name == process);
    of.flat_map(|of| of.lines.iter_mut().map(|line| &mut line.event))
}

fn drop_events(history: &mut History, which: impl Fn(&Event) -> bool) {
    history.processes.iter_mut().for_each(|process| process.lines.retain(|line| !which(&line.event)));
}

fn answers<'a>(
    history: &'a mut History,
    process: &'a str,
) -> impl DoubleEndedIterator<Item = &'a mut Answer> {
    events(history, process).filter_map(|event| match event {
        Event::Answer(answer) => Some(answer),
        _ => None,
    })
}

fn seen<'a>(history: &'a mut History, process: &'a str) -> impl DoubleEndedIterator<Item = &'a mut Seen> {
    events(history, process).filter_map(|event| match event {
        Event::Seen(seen) => Some(seen),
        _ => None,
    })
}

pub(super) fn record(history: &mut History, generation: u64) -> &mut Announced {
    let mut records = events(history, "reader").filter_map(|event| match event {
        Event::Announced(record) => Some(record),
        _ => None,
    });
    records.find(|record| record.generation.get() == generation).unwrap()
}

/// The first answer of a process at a generation.
fn answer_at<'a>(history: &'a mut History, process: &'a str, generation: u64) -> &'a mut Answer {
    answers(history, process).find(|answer| answer.generation.get() == generation).unwrap()
}

/// The status records of an instance.
fn statuses<'a>(
    history: &'a mut History,
    instance: &'a str,
) -> impl DoubleEndedIterator<Item = &'a mut Status> {
    events(history, "reader").filter_map(move |event| match event {
        Event::Reported(reported) if reported.status.instance.as_str() == instance => {
            Some(&mut *reported.status)
        }
        _ => None,
    })
}

pub(super) fn ended<'a>(history: &'a mut History, operation: &str) -> &'a mut Ended {
    let lines = history.processes.iter_mut().flat_map(|process| &mut process.lines);
    let mut ended = lines.filter_map(|line| match &mut line.event {
        Event::Ended(ended) => Some(ended),
        _ => None,
    });
    ended.find(|ended| ended.operation == operation).unwrap()
}

#[test]
fn an_answer_that_no_whole_version_gives_is_found() {
    finds(1, "a value of another version", |history| {
        answers(history, "app-2.1").next().unwrap().values[1] = table(2).value(99);
    });
    finds(1, "a zero where a part is missing", |history| {
        answers(history, "app-2.1").last().unwrap().values[0] = 0.0;
    });
    finds(1, "a last bit", |history| {
        answers(history, "app-1.1").next().unwrap().values[0] += 1.0;
    });
    finds(1, "an answer without values", |history| {
        answers(history, "app-1.1").next().unwrap().values.clear();
    });
    finds(1, "an artifact that nobody published", |history| {
        answers(history, "app-1.1").next().unwrap().artifact = Digest::of(b"other");
    });
    finds(1, "a manifest that nobody announced", |history| {
        answers(history, "app-1.1").next().unwrap().manifest = Digest::of(b"other");
    });
    finds(1, "a version by another number", |history| {
        answers(history, "app-1.1").next().unwrap().version = version(7);
    });
}

#[test]
fn a_commit_that_did_not_survive_is_found() {
    finds(4, "a log that lost its end", |history| {
        drop_events(history, |event| matches!(event, Event::Announced(of) if of.generation.get() >= 5));
    });
    finds(4, "another in the place of a commit", |history| record(history, 3).digest = Digest::of(b"other"));
    finds(4, "an announcement that does not verify", |history| {
        let torn = Event::NotVerified { offset: 3, cause: "its signature does not verify".into() };
        *events(history, "reader").find(|event| matches!(event, Event::Expected { .. })).unwrap() = torn;
        assert_eq!(check(history).counts.unverified, 1);
    });
    finds(4, "a version that does not read back", |history| {
        for event in events(history, "reader") {
            if let Event::ReadBack { error, .. } = event {
                *error = Some("a chunk is missing".into());
            }
        }
    });
}

#[test]
fn an_outcome_that_is_not_so_is_found() {
    finds(5, "committed on the word of an acknowledgement", |history| {
        let (generation, announcement) = (Generation::new(2), Digest::of(b"pub-1.1/2"));
        let outcome = Outcome::Committed { version: Some(version(2)), generation, announcement };
        ended(history, "pub-1.1/2").outcome = outcome;
    });
    finds(5, "committed with another's version", |history| {
        if let Outcome::Committed { version: told, .. } = &mut ended(history, "pub-1.1/1").outcome {
            *told = Some(version(4));
        }
    });
    finds(5, "a conflict with itself", |history| {
        let lost = &mut ended(history, "pub-1.1/2").lost[0];
        (lost.generation, lost.announcement) = (Generation::new(3), Digest::of(b"pub-1.1/2"));
    });
    finds(5, "a conflict with the wrong winner", |history| {
        ended(history, "pub-1.1/2").lost[0].by = "pub-3".into();
    });
    finds(5, "a conflict with nobody", |history| ended(history, "pub-1.1/14").outcome = Outcome::Conflict);
    finds(5, "a conflict about a generation that never was", |history| {
        ended(history, "pub-1.1/2").lost[0].generation = Generation::new(70);
    });
    let took_force =
        |outcome: Outcome| move |history: &mut History| ended(history, "pub-1.1/3").outcome = outcome;
    let refused = |rule| Outcome::Refused { rule, cause: String::new() };
    finds(5, "refused, and in force", took_force(refused(Refusal::Change)));
    finds(5, "without Kafka, and in force", took_force(Outcome::Unavailable { cause: String::new() }));
    finds(5, "refused for no reason", |history| {
        ended(history, "pub-2.1/4").outcome = refused(Refusal::Change)
    });
    finds(5, "refused by another rule", |history| {
        ended(history, "pub-2.1/4").outcome = refused(Refusal::Other)
    });
    finds(5, "a history called lost", |history| {
        let rule = Refusal::HistoryLost { reported: Generation::new(4) };
        ended(history, "pub-2.1/4").outcome = refused(rule);
    });
    finds(5, "a history called lost for what never was", |history| {
        let rule = Refusal::HistoryLost { reported: Generation::new(LAST + 5) };
        ended(history, "pub-2.1/4").outcome = refused(rule);
    });
    finds(5, "unchanged, though another is champion", |history| {
        if let Outcome::Unchanged { generation, .. } = &mut ended(history, "pub-1.1/4").outcome {
            *generation = Generation::new(3);
        }
    });
    finds(5, "unknown of one, with another in force", |history| {
        let (generation, announcement) = (Generation::new(LAST + 1), Digest::of(b"other"));
        let unknown = Outcome::Unknown { generation, announcement, cause: String::new() };
        ended(history, "pub-1.1/3").outcome = unknown;
    });
    let settled = |wrong: Settlement| {
        move |history: &mut History| {
            for event in events(history, "pub-1.1") {
                if let Event::Settled { settlement, .. } = event {
                    *settlement = wrong;
                }
            }
        }
    };
    finds(5, "settled as committed", settled(Settlement::Committed));
    finds(5, "settled as a conflict", settled(Settlement::Conflict { by: Digest::of(b"other") }));
    finds(5, "two announcements of one operation", |history| {
        record(history, LAST).state.stamp.reason = "pub-1.1/1".into();
    });
}

#[test]
fn an_outcome_called_unknown_too_early_is_found() {
    finds(5, "unknown before the deadline", |history| {
        for line in history.processes.iter_mut().flat_map(|process| &mut process.lines) {
            if let Event::Ended(Ended { outcome: Outcome::Unknown { .. }, .. }) = line.event {
                line.mono_us -= PATIENCE_MS * 1_000;
            }
        }
    });
    finds(5, "unknown soon after a slow upload", |history| {
        let mut ended_us = 0;
        // From the last line on: an operation ends after its upload.
        for line in history.processes.iter_mut().flat_map(|process| process.lines.iter_mut().rev()) {
            match &line.event {
                Event::Ended(Ended { outcome: Outcome::Unknown { .. }, .. }) => ended_us = line.mono_us,
                Event::Uploaded { operation, .. } if operation == "pub-1.1/14" => {
                    line.mono_us = ended_us - 1_000;
                }
                _ => {}
            }
        }
    });
}

#[test]
fn a_history_that_is_not_one_is_found() {
    finds(6, "a reader that saw another", |history| {
        seen(history, "app-2.1").nth(2).unwrap().announcement_seen = Some(Digest::of(b"other"));
    });
    finds(6, "a status that saw another", |history| {
        statuses(history, "app-2").last().unwrap().announcement_seen = Some(Digest::of(b"other"));
    });
    finds(6, "a reader that saw what the log does not have", |history| {
        seen(history, "app-2.1").last().unwrap().generation_seen = Generation::new(LAST + 3);
    });
    finds(6, "a gap", |history| {
        drop_events(history, |event| matches!(event, Event::Announced(of) if of.generation.get() == 4));
    });
    finds(6, "a log without its start", |history| {
        drop_events(history, |event| matches!(event, Event::Announced(of) if of.generation.get() == 1));
    });
    finds(6, "a chain that leads elsewhere", |history| record(history, 4).recent[1] = Digest::of(b"other"));
    finds(6, "a chain that forgets", |history| {
        record(history, LAST).recent.pop();
    });
    finds(6, "a manifest that was not read back", |history| {
        drop_events(
            history,
            |event| matches!(event, Event::Uploaded { operation, .. } if operation == "pub-1.1/2"),
        );
    });
    finds(6, "an announcement of nobody's", |history| {
        drop_events(
            history,
            |event| matches!(event, Event::Attempt { operation, .. } if operation == "pub-2.1/2"),
        );
    });
}

#[test]
fn a_generation_that_falls_is_found() {
    finds(7, "seen, within a process", |history| {
        seen(history, "app-2.1").last().unwrap().generation_seen = Generation::new(4);
    });
    finds(7, "served, within a process", |history| {
        seen(history, "app-2.1").last().unwrap().served.as_mut().unwrap().generation = Generation::new(4);
    });
    finds(7, "answered, within a thread", |history| {
        answers(history, "app-2.1").last().unwrap().generation = Generation::new(4);
    });
    finds(7, "seen, across a restart", |history| {
        seen(history, "app-1.2").next().unwrap().generation_seen = Generation::new(3);
    });
    finds(7, "nothing seen, across a restart", |history| {
        seen(history, "app-1.2").next().unwrap().generation_seen = Generation::ZERO;
    });
    finds(7, "answered, across a restart", |history| {
        answers(history, "app-1.2").next().unwrap().generation = Generation::new(3);
    });
    finds(7, "reported, across a restart", |history| {
        statuses(history, "app-1").nth(4).unwrap().generation_seen = Generation::new(3);
    });
}

#[test]
fn an_instance_that_stays_behind_without_a_word_is_found() {
    let last = |change: fn(&mut Status)| {
        move |history: &mut History| change(statuses(history, "app-2").last().unwrap())
    };
    finds(8, "serves an older version", |history| {
        let older = statuses(history, "app-2").nth(3).unwrap().served;
        statuses(history, "app-2").last().unwrap().served = older;
    });
    finds(8, "serves nothing", last(|status| status.served = None));
    finds(8, "has not seen the end", last(|status| status.generation_seen = Generation::new(5)));
    finds(8, "reports nothing", |history| {
        let of =
            |event: &Event| matches!(event, Event::Reported(of) if of.status.instance.as_str() == "app-1");
        drop_events(history, of);
    });
    let mut says_why = good();
    let status = statuses(&mut says_why, "app-2").last().unwrap();
    (status.served, status.phase) = (None, Phase::Waiting);
    status.warnings.push("the state folder cannot be written".into());
    let finding = check(&says_why).findings.into_iter().find(|finding| finding.guarantee == 8).unwrap();
    assert_eq!(finding.verdict, Verdict::Held, "{finding:?}");
}

#[test]
fn an_instance_that_does_not_serve_what_is_decided_of_it_is_found() {
    for (what, process, generation, number) in [
        ("the champion over a pin", "app-1.1", 4, 3),
        ("the challenger over a pin", "app-1.2", 7, 4),
        ("the champion over the challenger", "app-2.1", 7, 2),
        ("a label's pin over its own", "app-1.2", 8, 3),
        ("everybody's pin over its own", "app-1.2", 9, 1),
        ("everybody's pin over a label's", "app-1.2", 10, 1),
        ("the challenger over a label's pin", "app-1.2", 10, 4),
        ("the challenger over everybody's pin", "app-2.1", 11, 4),
        ("another instance's pin", "app-2.1", 4, 2),
        ("another label's pin", "app-2.1", 8, 3),
        ("a pin that was taken back", "app-1.2", 10, 2),
        ("a challenger that is forbidden", "app-1.2", 13, 4),
    ] {
        finds(14, what, |history| answer_at(history, process, generation).version = version(number));
    }
    finds(14, "the champion before, in its state", |history| {
        seen(history, "app-1.2").last().unwrap().served.as_mut().unwrap().version = version(3);
    });
    finds(14, "a generation that never was", |history| {
        answers(history, "app-2.1").last().unwrap().generation = Generation::new(LAST + 2);
    });
}

#[test]
fn what_is_checked_of_operators_is_what_a_pin_or_a_cohort_decides() {
    let finding = check(&good()).findings.into_iter().find(|finding| finding.guarantee == 14).unwrap();
    // A state and two answers each: the first instance at 4, at 4 to 12 after its restart; the second at 7 to 12.
    assert_eq!(finding.checked, 3 * (1 + 9 + 6), "{finding:?}");
}

#[test]
fn a_status_that_is_not_so_is_found() {
    let last = |change: fn(&mut Status)| {
        move |history: &mut History| change(statuses(history, "app-2").last().unwrap())
    };
    finds(16, "live before the swap", |history| {
        // The record of generation 3 is written before the answers of generation 2.
        let early = statuses(history, "app-2").nth(1).unwrap().at_unix_ms - 50;
        statuses(history, "app-2").nth(2).unwrap().at_unix_ms = early;
    });
    finds(16, "an old generation, long after the swap", |history| {
        let late = statuses(history, "app-2").nth_back(2).unwrap().at_unix_ms + 10_000;
        statuses(history, "app-2").nth_back(1).unwrap().at_unix_ms = late;
        let older = statuses(history, "app-2").nth(1).unwrap().served;
        statuses(history, "app-2").last().unwrap().served = older;
    });
    finds(16, "live and without a model", last(|status| status.served = None));
    finds(
        16,
        "live of what it does not serve",
        last(|status| {
            status.wanted.as_mut().unwrap().manifest = Digest::of(b"other");
        }),
    );
    finds(16, "serves what it has not seen", last(|status| status.generation_seen = Generation::new(5)));
    finds(
        16,
        "serves what nobody wants of it",
        last(|status| {
            status.served.as_mut().unwrap().version = version(2);
        }),
    );
    finds(16, "a record of nobody's", last(|status| drop(status.labels.remove("boot"))));
}

#[test]
fn a_publish_that_nobody_finished_may_have_happened_or_not() {
    let mut history = good();
    drop_events(&mut history, |event| {
        matches!(event, Event::Announced(record) if record.generation.get() == LAST)
            || matches!(event, Event::Attempt { action: Action::Rollback, operation, .. } if operation == "pub-2.1/6")
    });
    let report = check(&history);
    let held = |guarantee| report.findings.iter().find(|of| of.guarantee == guarantee).unwrap().verdict;
    assert_eq!((held(4), held(5)), (Verdict::Held, Verdict::Held), "{report}");
}
