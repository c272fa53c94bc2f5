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

/// How much of what can be long is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures.
    pub failures: u64,
    /// Movers of each output; with 0 none are looked for, which saves a pass over both runs.
    pub movers: u64,
}

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

/// Gathers what is known of a run.
///
/// # Errors
/// [`StoreError::NoRun`]; else what the database says. Movers that take too long are no error: the rest is there.
pub fn inspect(store: &mut Store, run: &RunId, limits: Limits) -> Result<Inspection, StoreError> {
    let run = store.run(run)?;
    let decisions = store.decisions(&run)?;
    let beside = store.beside(&run)?;
    let first_failures = store.failures(&run, limits.failures)?;
    let has_rows = !matches!(run.state, RunState::Running | RunState::Abandoned | RunState::Pruned);
    let compared = beside.as_ref().filter(|_| has_rows && limits.movers > 0);
    let (movers, movers_cause) = match compared.map(|beside| store.movers(&run, beside, limits.movers)) {
        None => (None, None),
        Some(Ok(movers)) => (Some(movers), None),
        Some(Err(slow @ StoreError::Slow { .. })) => (None, Some(slow.to_string())),
        Some(Err(other)) => return Err(other),
    };
    let (inspected, beside) = (summarised(run), beside.map(summarised));
    Ok(Inspection { inspected, decisions, beside, first_failures, movers, movers_cause })
}

fn summarised(run: Run) -> Summarised {
    // A summary of a later release that this one cannot read is as one that is not there.
    let summary = run.summary.as_deref().and_then(|summary| serde_json::from_str(summary).ok());
    Summarised { run, summary }
}
