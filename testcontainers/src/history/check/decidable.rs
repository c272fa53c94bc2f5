//! What an operation can have been decided on: the states from the last that its publisher had been told of to the last
//! that was in force when it ended.
//!
//! # Invariants
//! * Only the order within a publisher counts, that of its processes one after the other: nobody's clock does.
//! * What cannot be excluded can have been so: others may have announced much that a publisher was not told of.

use std::collections::BTreeSet;

use modelcast::protocol::desired::DesiredState;
use modelcast::protocol::{Generation, ModelName};

use super::index::{Index, Operation};
use crate::history::event::{Ended, Event, Outcome, Settlement};

/// What a publisher did and was told, around one operation.
#[derive(Default)]
struct Around<'a> {
    /// The highest generation that it had been told of.
    told: Option<Generation>,
    /// What it began when the operation had ended.
    later: BTreeSet<&'a str>,
}

/// The states that the operation `name` can have been decided on; `None` for that nothing was announced.
pub(super) fn decidable<'a>(
    index: &Index<'a>,
    name: &str,
    operation: &Operation<'a>,
) -> Vec<Option<&'a DesiredState>> {
    let Around { told, later } = around(index, name, operation);
    let nothing = told.is_none().then_some(None);
    let entries = index.logs.get(operation.model).map(|log| log.entries.as_slice()).unwrap_or_default();
    let before_later = entries.iter().take_while(|(_, record)| !later.contains(&*record.state.stamp.reason));
    let since_told = before_later.filter(|(_, record)| told.is_none_or(|told| told <= record.generation));
    nothing.into_iter().chain(since_told.map(|(_, record)| Some(&record.state))).collect()
}

fn around<'a>(index: &Index<'a>, name: &str, operation: &Operation<'a>) -> Around<'a> {
    let mut around = Around::default();
    let (mut begun, mut ended) = (false, false);
    let processes = index.processes_of(operation.process);
    for line in processes.iter().flat_map(|process| &process.lines) {
        match &line.event {
            Event::Attempt { operation: of, .. } if of == name => begun = true,
            Event::Attempt { operation: of, .. } if ended => drop(around.later.insert(of)),
            // What it lost itself, it was told before it was decided at last.
            Event::Ended(of) if of.operation == name => {
                ended = true;
                around.told = around.told.max(told(index, operation.model, of));
            }
            Event::Ended(of) if !begun => around.told = around.told.max(told(index, operation.model, of)),
            Event::Settled { model, generation, settlement, .. } if !begun && model == operation.model => {
                let settled = (*settlement != Settlement::Undecided).then_some(*generation);
                around.told = around.told.max(settled);
            }
            _ => {}
        }
    }
    around
}

/// The highest generation of a model that the end of an operation tells of.
fn told(index: &Index<'_>, model: &ModelName, ended: &Ended) -> Option<Generation> {
    index.operations.get(ended.operation.as_str()).filter(|operation| operation.model == model)?;
    let own = match ended.outcome {
        Outcome::Committed { generation, .. } | Outcome::Unchanged { generation, .. } => Some(generation),
        _ => None,
    };
    ended.lost.iter().map(|lost| lost.generation).chain(own).max()
}
