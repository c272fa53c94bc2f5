//! Guarantees 1 and 14: an answer is all of one version, and of the version that the instance should run.

use modelcast::protocol::resolve::Role;

use super::index::Index;
use super::wanted::wanted;
use crate::history::event::{Answer, Event};
use crate::history::read::At;
use crate::history::report::{Finding, Tally};

/// Every answer is what one whole version computes, which somebody announced.
pub(super) fn whole(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(1, "every answer is all of one announced version");
    for (at, line) in index.history.events() {
        let Event::Answer(answer) = &line.event else { continue };
        tally.checked();
        computed(index, at, answer, &mut tally);
        announced(index, at, answer, &mut tally);
    }
    tally.finding()
}

fn computed(index: &Index<'_>, at: At<'_>, answer: &Answer, tally: &mut Tally) {
    let Some((sent, table)) = index.artifacts.get(&answer.artifact) else {
        tally.broken(format!("nobody published artifact {}", answer.artifact), [at]);
        return;
    };
    if answer.places.len() != answer.values.len() || answer.places.is_empty() {
        let what = format!("{} values for {} places", answer.values.len(), answer.places.len());
        tally.broken(what, [at]);
    }
    for (&place, value) in answer.places.iter().zip(&answer.values) {
        // To the last bit: the numbers are read, not computed.
        if value.to_bits() != table.value(place).to_bits() {
            let what = format!("{value} at place {place}, where the artifact has {}", table.value(place));
            tally.broken(what, [at, *sent]);
            return;
        }
    }
}

fn announced(index: &Index<'_>, at: At<'_>, answer: &Answer, tally: &mut Tally) {
    let Answer { version, manifest, artifact, model, .. } = answer;
    match index.logs.get(model).and_then(|log| log.versions.get(manifest)) {
        Some((number, of, _)) if number == version && of == artifact => {}
        Some((number, _, named)) => {
            let what = format!("version {version} answered, the log calls its manifest version {number}");
            tally.broken(what, [at, *named]);
        }
        None => tally.broken(format!("nobody announced manifest {manifest} (version {version})"), [at]),
    }
}

/// Whatever an instance serves at a generation is what that generation wants of it. Only what a pin or a cohort decides
/// counts as checked: where everybody runs the champion, nobody won over it.
pub(super) fn operators_win(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(14, "pin over challenger over champion, on every instance");
    for (instance, boots) in &index.instances {
        for boot in boots {
            for (at, line) in boot.process.events() {
                let (model, version, generation) = match &line.event {
                    Event::Answer(answer) => (&answer.model, answer.version, answer.generation),
                    Event::Seen(seen) => {
                        let Some(served) = seen.served else { continue };
                        (&seen.model, served.version, served.generation)
                    }
                    _ => continue,
                };
                let Some((decided, record)) = index.in_force(model, generation) else {
                    tally.broken(
                        format!("{instance} serves at generation {generation}, which never was"),
                        [at],
                    );
                    continue;
                };
                let wanted = wanted(model, &record.state, instance, boot.labels);
                let Some((entry, role)) = wanted else { continue };
                if role != Role::Champion {
                    tally.checked();
                }
                if entry.version != version {
                    let what = format!(
                        "{instance} serves version {version} at generation {generation}, which wants {} of it",
                        entry.version
                    );
                    tally.broken(what, [at, decided]);
                }
            }
        }
    }
    tally.finding()
}
