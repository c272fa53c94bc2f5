//! Retention: the newest runs of a model keep their rows, older ones lose them, a bounded step at a time.
//!
//! # Invariants
//! * The approved run and one that is running keep theirs, however old they are.
//! * A run is marked before its first row goes, so that nobody approves what is being deleted; a prune that was cut
//!   off is finished by the next one.

use modelcast_protocol::ModelName;

use super::{
    Store,
    database::{Purpose, Value},
    error::StoreError,
};
use crate::predictions::run::{RunId, RunState};

/// Rows of one step: a transaction of a fraction of a second, after which others get their turn.
const STEP_ROWS: u64 = 10_000;

/// What pruning did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Runs that lost their rows, oldest first.
    pub runs: Vec<RunId>,
    /// Predictions and failures deleted, those left over from an earlier prune included.
    pub rows: u64,
}

impl Store {
    /// Deletes the rows of a model's runs, except of the newest `keep` ones, of the approved one, and of those that
    /// are running. `step` is told after each step how many rows are gone.
    ///
    /// # Errors
    /// What the database says; what was deleted until then stays deleted.
    pub fn prune(
        &mut self,
        model: &ModelName,
        keep: u64,
        mut step: impl FnMut(u64),
    ) -> Result<Pruned, StoreError> {
        let runs = self.transaction(Purpose::Write, |store| store.mark_old(model, keep))?;
        let pruned = self.read(
            "SELECT run_number FROM prediction_runs WHERE model = ?1 AND state = 'pruned' ORDER BY run_number",
            &[model.as_str().into()],
            |mut row| row.whole("run_number"),
        )?;
        let mut rows = 0_u64;
        let tables = [("predictions", "key, output"), ("prediction_failures", "input_row")];
        for number in pruned {
            for (table, columns) in tables {
                loop {
                    let deleted = self.delete_step(table, columns, number)?;
                    rows = rows.saturating_add(deleted);
                    step(rows);
                    if deleted < STEP_ROWS {
                        break;
                    }
                }
            }
        }
        Ok(Pruned { runs, rows })
    }

    fn mark_old(&mut self, model: &ModelName, keep: u64) -> Result<Vec<RunId>, StoreError> {
        self.lock_runs(model.as_str())?;
        let with_rows = |state: RunState| !matches!(state, RunState::Pruned);
        let runs = self.runs(Some(model), u64::MAX)?;
        let kept = usize::try_from(keep).unwrap_or(usize::MAX);
        let mut marked = Vec::new();
        for run in runs.into_iter().filter(|run| with_rows(run.state)).skip(kept) {
            if !matches!(run.state, RunState::Approved | RunState::Running) {
                self.set_state(&run, RunState::Pruned)?;
                marked.push(run.run);
            }
        }
        marked.reverse();
        Ok(marked)
    }

    fn delete_step(&mut self, table: &str, columns: &str, number: i64) -> Result<u64, StoreError> {
        let sql = format!(
            "DELETE FROM {table} WHERE run_number = ?1 AND ({columns}) IN \
             (SELECT {columns} FROM {table} WHERE run_number = ?1 LIMIT ?2)"
        );
        self.database.execute(&sql, &[Value::Whole(number), STEP_ROWS.into()])
    }
}
