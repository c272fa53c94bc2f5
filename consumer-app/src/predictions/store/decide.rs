//! Approving and rejecting: who, why, and only from the state that was looked at.
//!
//! # Invariants
//! * Two people who decide about one run at once: one does, and the other is told who was first.
//! * Approving is one step: readers see the run served before, or this one, never none and never both.

use modelcast_protocol::limits::REASON_MAX_BYTES;

use super::{
    Store,
    database::{Purpose, Value},
    error::StoreError,
};
use crate::predictions::run::{Run, RunId, RunState, Verdict, WHO_MAX_BYTES};

impl Store {
    /// Makes a run the one that is served for its model. The one before can be approved again.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], [`StoreError::State`] for a run that neither waits nor was superseded; else what the
    /// database says.
    pub fn approve(
        &mut self,
        run: &RunId,
        who: &str,
        reason: &str,
        at_unix_ms: u64,
    ) -> Result<Run, StoreError> {
        self.decide(run, Verdict::Approved, who, reason, at_unix_ms)
    }

    /// Forbids that a waiting run is ever served.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], [`StoreError::State`] for a run that does not wait; else what the database says.
    pub fn reject(
        &mut self,
        run: &RunId,
        who: &str,
        reason: &str,
        at_unix_ms: u64,
    ) -> Result<Run, StoreError> {
        self.decide(run, Verdict::Rejected, who, reason, at_unix_ms)
    }

    /// Approves or rejects.
    ///
    /// # Errors
    /// As [`approve`](Self::approve) and [`reject`](Self::reject).
    pub fn decide(
        &mut self,
        run: &RunId,
        verdict: Verdict,
        who: &str,
        reason: &str,
        at_unix_ms: u64,
    ) -> Result<Run, StoreError> {
        self.transaction(Purpose::Write, |store| {
            let model = store.run(run)?.model;
            store.lock_runs(model.as_str())?;
            let found = store.run(run)?;
            if !found.can_become(verdict) {
                return Err(store.state_error(&found, verdict.state()));
            }
            if verdict == Verdict::Approved {
                store.database.execute(
                    "UPDATE prediction_runs SET state = 'superseded' WHERE model = ?1 AND state = 'approved'",
                    &[model.as_str().into()],
                )?;
            }
            store.set_state(&found, verdict.state())?;
            let number = Value::Whole(found.number);
            store.database.execute(
                "INSERT INTO prediction_decisions (run_number, decision, verdict, who, reason, at_unix_ms) \
                 SELECT ?1, coalesce(max(decision), 0) + 1, ?2, ?3, ?4, ?5 FROM prediction_decisions \
                 WHERE run_number = ?1",
                &[
                    number,
                    verdict.name().into(),
                    start(who, WHO_MAX_BYTES).into(),
                    start(reason, REASON_MAX_BYTES).into(),
                    at_unix_ms.into(),
                ],
            )?;
            store.run(run)
        })
    }

    /// Lets nobody else change a run of the model until the transaction ends. One that is pruned changes no more.
    pub(super) fn lock_runs(&mut self, model: &str) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT run FROM prediction_runs WHERE model = ?1 AND state <> 'pruned' ORDER BY run_number{}",
            self.database.lock()
        );
        self.database.query(&sql, &[model.into()]).map(drop)
    }

    /// The compare-and-set of a run's state.
    pub(super) fn set_state(&mut self, run: &Run, state: RunState) -> Result<(), StoreError> {
        let changed = self.database.execute(
            "UPDATE prediction_runs SET state = ?1 WHERE run_number = ?2 AND state = ?3",
            &[state.name().into(), Value::Whole(run.number), run.state.name().into()],
        )?;
        if changed == 0 { Err(self.state_error(run, state)) } else { Ok(()) }
    }
}

/// A text for people as both databases take it.
fn start(text: &str, max_bytes: usize) -> &str {
    let text = text.split('\0').next().unwrap_or_default().trim();
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or(text)
}
