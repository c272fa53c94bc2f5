//! Guarantee 8: after the faults end, every instance is where it should be, or says why not.

use modelcast::protocol::status::Phase;

use super::index::Index;
use super::wanted::wanted;
use crate::history::event::Event;
use crate::history::report::{Finding, Tally};

/// The last status of every instance that runs at the end.
pub(super) fn all_converge(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(8, "after the faults every instance is where it should be, or says why not");
    for (at, line) in index.history.events() {
        let Event::Expected { instance, model } = &line.event else { continue };
        tally.checked();
        let last = index.logs.get(model).and_then(|log| log.entries.last());
        let Some((decided, record)) = last else {
            tally.broken(format!("nothing is announced for {model}"), [at]);
            continue;
        };
        let statuses = index.statuses.get(&(model, instance));
        let Some((said, status)) = statuses.and_then(|statuses| statuses.last()) else {
            tally.broken(format!("{instance} reports nothing of {model}"), [at]);
            continue;
        };
        let Some((entry, _)) = wanted(model, &record.state, instance, &status.labels) else { continue };
        let there = status.served.is_some_and(|served| served.manifest == entry.manifest);
        let says_why = matches!(status.phase, Phase::Refused { .. }) || !status.warnings.is_empty();
        if !there && !says_why {
            let serves =
                status.served.map_or("nothing".to_owned(), |served| format!("version {}", served.version));
            let what = format!(
                "{instance} serves {serves} at the end, should serve {} by generation {}, and does not say why",
                entry.version, record.generation
            );
            tally.broken(what, [*said, *decided]);
        } else if status.generation_seen != record.generation && !says_why {
            let seen = status.generation_seen;
            let what = format!("{instance} has seen {seen} at the end, the log has {}", record.generation);
            tally.broken(what, [*said, *decided]);
        }
    }
    tally.finding()
}
