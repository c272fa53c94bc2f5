//! Refusals for no reason: each is held against what its publisher can have known, and nothing else.

use modelcast::protocol::{Digest, Generation};

use super::good::{good, only, pin, publish, quarantine, unpin, version};
use super::planted::{ended, finds, verdict};
use crate::history::event::{Action, Ended, Event, Lost, Outcome, Refusal};
use crate::history::{History, Verdict};

/// Makes another action of an operation, and a refusal of its end.
fn refuse(of: &'static str, instead: Action) -> impl FnOnce(&mut History) {
    move |history| {
        for line in history.processes.iter_mut().flat_map(|process| &mut process.lines) {
            if let Event::Attempt { operation, action, .. } = &mut line.event
                && operation == of
            {
                *action = instead.clone();
            }
        }
        ended(history, of).outcome = Outcome::Refused { rule: Refusal::Change, cause: String::new() };
    }
}

/// Adds a process of a publisher that does one thing, which is refused.
fn refuse_first(process: &'static str, boot: u64, action: Action) -> impl FnOnce(&mut History) {
    move |history| {
        let mut added = history.processes.iter().find(|process| process.name == "pub-2.1").unwrap().clone();
        added.name = process.into();
        added.lines.retain(|line| match &line.event {
            Event::Started(_) => true,
            Event::Attempt { operation, .. } | Event::Ended(Ended { operation, .. }) => {
                operation == "pub-2.1/3"
            }
            _ => false,
        });
        for (line, sequence) in added.lines.iter_mut().zip(1..) {
            (line.process, line.sequence) = (process.into(), sequence);
            match &mut line.event {
                Event::Started(started) => started.boot = boot,
                Event::Attempt { operation, .. } | Event::Ended(Ended { operation, .. }) => {
                    *operation = "the first".into();
                }
                _ => {}
            }
        }
        // Where a file stands among others says nothing.
        history.processes.insert(0, added);
        refuse("the first", action)(history);
    }
}

fn held(what: &str, refusal: impl FnOnce(&mut History)) {
    let mut history = good();
    refusal(&mut history);
    assert_eq!(verdict(&history, 5), Verdict::Held, "{what}");
}

#[test]
fn a_change_that_was_refused_for_no_reason_is_found() {
    // It comes after generation 5, which pub-1 announced, and before 6, which it did too.
    let refuse_at_5 = |action| refuse("pub-1.1/4", action);
    finds(5, "a pin that was possible at all times", refuse_at_5(pin(only(2), 1)));
    finds(5, "a pin that was impossible before and after", refuse_at_5(pin(only(2), 2)));
    finds(5, "an unpin that was impossible before and after", refuse_at_5(unpin(only(1))));
    finds(5, "a quarantine", refuse_at_5(quarantine(1, None)));
    finds(5, "a release", refuse_at_5(Action::Release { version: version(3) }));
    finds(5, "a publish", refuse_at_5(publish(8)));
    finds(5, "a rollback, after generation 14", refuse("pub-1.1/14", Action::Rollback));
    finds(5, "a quarantine, after generation 14", refuse("pub-1.1/14", quarantine(3, Some(1))));
    // It comes after generation 4 and before 15.
    finds(5, "a pin, while others announced", refuse("pub-2.1/3", pin(only(2), 1)));
}

#[test]
fn a_publisher_is_held_to_all_that_it_was_told() {
    finds(5, "a pin, by a second process", refuse_first("pub-2.2", 2, pin(only(2), 1)));
    finds(5, "a pin, after a generation that was lost", |history| {
        refuse("pub-2.1/3", pin(only(2), 3))(history);
        let (generation, announcement) = (Generation::new(14), Digest::of(b"pub-1.1/13"));
        ended(history, "pub-2.1/3").lost = vec![Lost { generation, announcement, by: "pub-1".into() }];
    });
}

#[test]
fn a_refusal_that_something_in_force_explains_is_no_lie() {
    held("forbidden as version 3", refuse("pub-1.1/4", publish(3)));
    held("from a champion that is pinned", refuse("pub-1.1/4", Action::Rollback));
    held("of the champion, for nothing else", refuse("pub-1.1/14", quarantine(3, None)));
    held("of a version that is pinned", refuse("pub-1.1/4", quarantine(2, Some(1))));
    held("not forbidden", refuse("pub-1.1/4", Action::Release { version: version(1) }));
    held("forbidden at generation 5", refuse("pub-2.1/3", pin(only(2), 3)));
    held("forbidden from generation 14 on", refuse("pub-1.1/14", pin(only(2), 2)));
    held("unpinned by somebody at generation 10", refuse("pub-2.1/3", unpin(only(1))));
    held("forbidden later", refuse_first("pub-2.2", 2, pin(only(2), 2)));
    held("not known of anything", refuse_first("pub-3.1", 1, pin(only(2), 1)));
}
