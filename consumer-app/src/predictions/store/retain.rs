//! Retention: the newest runs of a model keep their rows, older ones lose them, a bounded step at a time.
//!
//! # Invariants
//! * The approved run and one that is running keep theirs, however old they are.
//! * A run that was given up takes no place of those that keep theirs, and loses its own with those of its age.
//! * What was pruned once costs nothing more, however many runs there were.
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
            "SELECT run_number FROM prediction_runs r WHERE model = ?1 AND state = 'pruned' AND \
             (EXISTS (SELECT 1 FROM predictions p WHERE p.run_number = r.run_number) OR \
             EXISTS (SELECT 1 FROM prediction_failures f WHERE f.run_number = r.run_number)) ORDER BY run_number",
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
        let runs = self.some_runs(
            "WHERE r.model = ?1 AND r.state <> 'pruned' ORDER BY r.run_number DESC",
            &[model.as_str().into()],
        )?;
        let mut places = keep;
        let mut marked = Vec::new();
        for run in runs {
            match run.state {
                RunState::Abandoned if places > 0 => {}
                _ if places > 0 => places -= 1,
                RunState::Approved | RunState::Running => {}
                _ => {
                    self.set_state(&run, RunState::Pruned)?;
                    marked.push(run.run);
                }
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
