//! What somebody looks at before deciding about a run: its summary beside that of the run it is compared with, its
//! failures, and what moved most.
//!
//! Gathers; does not show (see `verbs` and `pages`) and does not decide.

use serde::Serialize;

use super::{
    run::{Decision, FailureRow, Run, RunId, RunState},
    store::{Movers, Store, StoreError},
};
use crate::batch::summary::Summary;

/// A run with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The run, and its summary.
    #[serde(flatten)]
    pub inspected: Summarised,
    /// Everything that was decided about it, oldest first.
    pub decisions: Vec<Decision>,
    /// The run that it is compared with: the approved one; for that one itself, the one served before.
    pub beside: Option<Summarised>,
    /// Its first failures.
    pub first_failures: Vec<FailureRow>,
    /// What moved most against the run beside it.
    pub movers: Option<Movers>,
    /// Why it is not known what moved most.
    pub movers_cause: Option<String>,
}

/// A run with its summary, once it is finished.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summarised {
    /// The run.
    pub run: Run,
    /// Its summary; none for a run that is not finished.
    pub summary: Option<Summary>,
}

/// Gathers what is known of a run, but for the movers.
///
/// # Errors
/// [`StoreError::NoRun`]; else what the database says.
pub fn inspect(store: &mut Store, run: &RunId, failures: u64) -> Result<Inspection, StoreError> {
    let run = store.run(run)?;
    let decisions = store.decisions(&run)?;
    let beside = store.beside(&run)?;
    let first_failures = store.failures(&run, failures)?;
    let (inspected, beside) = (summarised(run), beside.map(summarised));
    Ok(Inspection { inspected, decisions, beside, first_failures, movers: None, movers_cause: None })
}

impl Inspection {
    /// The two runs whose movers can be looked for: both have all their rows.
    #[must_use]
    pub fn compared(&self) -> Option<(Run, Run)> {
        let has_rows =
            |run: &Run| !matches!(run.state, RunState::Running | RunState::Abandoned | RunState::Pruned);
        let (run, beside) = (&self.inspected.run, &self.beside.as_ref()?.run);
        (has_rows(run) && has_rows(beside)).then(|| (run.clone(), beside.clone()))
    }
}

fn summarised(run: Run) -> Summarised {
    // A summary of a later release that this one cannot read is as one that is not there.
    let summary = run.summary.as_deref().and_then(|summary| serde_json::from_str(summary).ok());
    Summarised { run, summary }
}
