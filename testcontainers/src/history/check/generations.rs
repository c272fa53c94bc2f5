//! Guarantee 7: no instance ever goes back, also across its restarts.

use std::collections::BTreeMap;

use modelcast::protocol::{Generation, InstanceName, ModelName};

use super::index::{Boot, Index};
use crate::history::event::Event;
use crate::history::read::At;
use crate::history::report::{Finding, Tally};

/// Of one source: what one thread was answered, what a subscriber said, what its status records say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Thread(u32),
    SeenServed,
    SeenGeneration,
    ReportedServed,
    ReportedGeneration,
}

impl Source {
    /// Whether it tells what is served; otherwise it tells what was seen.
    fn is_served(self) -> bool {
        !matches!(self, Self::SeenGeneration | Self::ReportedGeneration)
    }
}

/// The highest so far, and who said so.
type Highest<'a> = Option<(Generation, At<'a>)>;

/// What the processes of an instance before said of a model.
#[derive(Default, Clone, Copy)]
struct Before<'a> {
    served: Highest<'a>,
    seen: Highest<'a>,
}

/// Neither the generation seen nor the one served ever falls.
pub(super) fn never_fall(index: &Index<'_>) -> Finding {
    let mut tally = Tally::new(7, "no instance ever goes back to a lower generation");
    for (instance, boots) in &index.instances {
        let mut before: BTreeMap<&ModelName, Before<'_>> = BTreeMap::new();
        for boot in boots {
            let said = said(index, instance, boot);
            let mut within: BTreeMap<(&ModelName, Source), Highest<'_>> = BTreeMap::new();
            for &(at, model, source, generation) in &said {
                tally.checked();
                let own = within.entry((model, source)).or_default();
                let earlier = before.get(model).copied().unwrap_or_default();
                let earlier = if source.is_served() { earlier.served } else { earlier.seen };
                let verb = if source.is_served() { "serves" } else { "has seen" };
                for (higher, theirs) in [*own, earlier].into_iter().flatten() {
                    if generation < higher {
                        let what =
                            format!("{instance} {verb} generation {generation} of {model} after {higher}");
                        tally.broken(what, [theirs, at]);
                    }
                }
                raise(own, generation, at);
            }
            for (at, model, source, generation) in said {
                let earlier = before.entry(model).or_default();
                raise(
                    if source.is_served() { &mut earlier.served } else { &mut earlier.seen },
                    generation,
                    at,
                );
            }
        }
    }
    tally.finding()
}

fn raise<'a>(highest: &mut Highest<'a>, generation: Generation, at: At<'a>) {
    if highest.is_none_or(|(before, _)| before < generation) {
        *highest = Some((generation, at));
    }
}

/// What one process said of generations, each source in its order.
fn said<'a>(
    index: &Index<'a>,
    instance: &'a InstanceName,
    boot: &Boot<'a>,
) -> Vec<(At<'a>, &'a ModelName, Source, Generation)> {
    let mut said = Vec::new();
    for (at, line) in boot.process.events() {
        match &line.event {
            Event::Answer(answer) => {
                said.push((at, &answer.model, Source::Thread(answer.thread), answer.generation));
            }
            Event::Seen(seen) => {
                said.push((at, &seen.model, Source::SeenGeneration, seen.generation_seen));
                let served =
                    seen.served.map(|served| (at, &seen.model, Source::SeenServed, served.generation));
                said.extend(served);
            }
            _ => {}
        }
    }
    let of_instance = index.statuses.iter().filter(|((_, of), _)| *of == instance);
    for (at, status) in of_instance.flat_map(|(_, statuses)| statuses) {
        if index.boot_of(status).is_some_and(|of| of.boot == boot.boot) {
            said.push((*at, &status.model, Source::ReportedGeneration, status.generation_seen));
            let served =
                status.served.map(|served| (*at, &status.model, Source::ReportedServed, served.generation));
            said.extend(served);
        }
    }
    said
}
