//! The checker is tried on a good history, and on that history with one lie in it.

mod changed;
mod good;
mod planted;
mod refused;

use self::good::{LAST, good};
use super::check;
use crate::history::{Event, History, Recorder, Verdict};

#[test]
fn a_good_history_holds_every_guarantee() {
    let report = check(&good());
    for finding in &report.findings {
        assert_eq!(finding.verdict, Verdict::Held, "{report}");
    }
    assert!(report.held());
    let counts = &report.counts;
    assert_eq!((counts.publishes, counts.changes, counts.committed), (8, 12, 14), "{counts}");
    assert_eq!((counts.unchanged, counts.unknown, counts.refused, counts.unavailable), (1, 1, 1, 1));
    assert_eq!((counts.conflicts, counts.unfinished, counts.generations), (1, 2, LAST));
    assert_eq!(counts.unverified, 0);
    assert_eq!((counts.swaps, counts.faults["kill-broker"]), (21, 1));
}

#[test]
fn a_history_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let good = good();
    for process in &good.processes {
        let recorder = Recorder::create(folder.path(), &process.name).unwrap();
        process.lines.iter().for_each(|line| recorder.record(line.event.clone()).unwrap());
    }
    let events = |history: &History| -> Vec<(String, Vec<Event>)> {
        let processes = history.processes.iter();
        let mut events: Vec<_> = processes
            .map(|of| (of.name.clone(), of.lines.iter().map(|line| line.event.clone()).collect()))
            .collect();
        events.sort_by(|(a, _): &(String, _), (b, _)| a.cmp(b));
        events
    };
    assert_eq!(events(&History::load(folder.path()).unwrap()), events(&good));
}

#[test]
fn a_guarantee_that_nothing_was_said_of_is_not_called_held() {
    let report = check(&History::default());
    assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::NothingToCheck), "{report}");
    assert!(!report.held());
    let mut nobody_decides = good();
    for process in &mut nobody_decides.processes {
        process.lines.iter_mut().for_each(|line| {
            if let Event::Announced(record) = &mut line.event {
                record.state.pins.clear();
                record.state.challenger = None;
            }
        });
    }
    let operators =
        check(&nobody_decides).findings.into_iter().find(|finding| finding.guarantee == 14).unwrap();
    assert_eq!(operators.checked, 0, "{operators:?}");
}
