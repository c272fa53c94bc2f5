//! Writing a run: begin, append, finish; or give it up.
//!
//! # Invariants
//! * A batch of rows is stored only from the position that this connection knows: of two processes that write one run
//!   one is told that it was overtaken.
//! * A row whose key is unusable or was there before becomes a failure: one bad row stops no run.

use std::collections::HashSet;

use modelcast_protocol::ModelName;

use super::{
    Store,
    database::{Inserted, Purpose, Value},
    error::StoreError,
    read::KEYS_AT_ONCE,
};
use crate::predictions::run::{
    FailureRow, Input, KEY_MAX_BYTES, NewRun, PredictionRow, Run, RunId, RunState,
};

/// Longest cause that is kept, in bytes.
const CAUSE_MAX_BYTES: usize = 2_048;
const FAILURES_AT_ONCE: usize = 200;

/// Where a run stands that begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Rows of the input that are done; 0 for a new run.
    pub position: u64,
    /// Predictions stored.
    pub rows: u64,
    /// Rows that have none.
    pub failures: u64,
}

/// What became of a batch of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Predictions stored.
    pub rows: u64,
    /// Failures stored, those of the next field included.
    pub failures: u64,
    /// Rows whose key is unusable, or stands in an earlier row of the run: failures too.
    pub refused: Vec<FailureRow>,
}

/// What a connection knows of a run that it writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    number: i64,
    position: u64,
    outputs: usize,
}

impl Store {
    /// Creates a run, or says where the unfinished run of that name stands.
    ///
    /// # Errors
    /// [`StoreError::State`] for a run that is finished or given up, [`StoreError::Differs`] for one that was begun
    /// for another model, version, input or outputs; else what the database says.
    pub fn begin(&mut self, new: &NewRun) -> Result<Begun, StoreError> {
        let run = self.transaction(Purpose::Write, |store| {
            store.insert_run(new)?;
            store.run(&new.run)
        })?;
        if run.state != RunState::Running {
            return Err(self.state_error(&run, RunState::Running));
        }
        let same = [
            ("model", run.model == new.model),
            ("version", run.version == new.version && run.digest == new.digest),
            ("input", run.input == Input { name: cleaned(&new.input.name).to_owned(), ..new.input.clone() }),
            ("list of outputs", run.outputs == new.outputs),
        ];
        if let Some((what, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(StoreError::Differs { run: run.run, what });
        }
        let writing = Writing { number: run.number, position: run.position, outputs: run.outputs.len() };
        self.writing.insert(run.run, writing);
        Ok(Begun { position: run.position, rows: run.rows, failures: run.failures })
    }

    /// Stores rows, failures and the new position, or nothing of them. Needs [`begin`](Self::begin) before.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`] when the run is not where this connection left it, [`StoreError::Values`] for a row
    /// that does not fit the outputs; else what the database says. Where a connection is lost within the last step it
    /// is not known whether the rows are stored: `begin` on a new one says it.
    pub fn append(
        &mut self,
        run: &RunId,
        rows: &[PredictionRow],
        failures: &[FailureRow],
        position: u64,
    ) -> Result<Appended, StoreError> {
        let writing = self.writing(run)?;
        let fits = |row: &PredictionRow| {
            row.values.len() == writing.outputs && row.values.iter().all(|value| value.is_finite())
        };
        if let Some(row) = rows.iter().find(|row| !fits(row)) {
            let (run, row) = (run.clone(), row.row);
            return Err(StoreError::Values { run, row, outputs: writing.outputs });
        }
        let appended = self.transaction(Purpose::Write, |store| {
            store.advance(run, writing, position)?;
            let refused = store.insert_predictions(writing.number, rows)?;
            store.insert_failures(writing.number, failures.iter().chain(&refused))?;
            let stored = count(rows.len()).saturating_sub(count(refused.len()));
            let failed = count(failures.len()).saturating_add(count(refused.len()));
            store.database.execute(
                "UPDATE prediction_runs SET rows_stored = rows_stored + ?1, rows_failed = rows_failed + ?2 \
                 WHERE run_number = ?3",
                &[stored.into(), failed.into(), Value::Whole(writing.number)],
            )?;
            Ok(Appended { rows: stored, failures: failed, refused })
        })?;
        self.writing.insert(run.clone(), Writing { position, ..writing });
        Ok(appended)
    }

    /// Finishes a run: it waits for inspection from now on.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn finish(&mut self, run: &RunId, summary_json: &str, at_unix_ms: u64) -> Result<(), StoreError> {
        let writing = self.writing(run)?;
        let changed = self.database.execute(
            "UPDATE prediction_runs SET state = 'waiting', summary = ?1, finished_at_unix_ms = ?2 \
             WHERE run_number = ?3 AND state = 'running' AND position = ?4",
            &[summary_json.into(), at_unix_ms.into(), Value::Whole(writing.number), writing.position.into()],
        )?;
        if changed == 0 {
            return Err(StoreError::Overtaken { run: run.clone() });
        }
        self.writing.remove(run);
        Ok(())
    }

    /// Gives up a run that is not finished. Its rows are deleted when runs are pruned.
    ///
    /// # Errors
    /// [`StoreError::State`] for a run that is not running; else what the database says.
    pub fn abandon(&mut self, run: &RunId, cause: &str, at_unix_ms: u64) -> Result<(), StoreError> {
        let changed = self.database.execute(
            "UPDATE prediction_runs SET state = 'abandoned', cause = ?1, finished_at_unix_ms = ?2 \
             WHERE run = ?3 AND state = 'running'",
            &[cleaned(cause).into(), at_unix_ms.into(), run.as_str().into()],
        )?;
        self.writing.remove(run);
        if changed == 0 {
            let run = self.run(run)?;
            return Err(self.state_error(&run, RunState::Abandoned));
        }
        Ok(())
    }

    /// The newest run of a model over an input that is not finished.
    ///
    /// # Errors
    /// What the database says.
    pub fn unfinished(&mut self, model: &ModelName, input_name: &str) -> Result<Option<Run>, StoreError> {
        self.newest(
            "r.model = ?1 AND r.input_name = ?2 AND r.state = 'running'",
            &[model.as_str().into(), input_name.into()],
        )
    }

    fn writing(&self, run: &RunId) -> Result<Writing, StoreError> {
        // Who has not begun it does not know where it stands.
        self.writing.get(run).copied().ok_or_else(|| StoreError::Overtaken { run: run.clone() })
    }

    fn insert_run(&mut self, new: &NewRun) -> Result<(), StoreError> {
        let outputs = serde_json::to_string(&new.outputs).unwrap_or_default();
        self.database.execute(
            "INSERT INTO prediction_runs (run, model, version, digest, generation, input_name, input_size_bytes, \
             input_modified_at_unix_ms, input_digest, outputs, state, position, rows_stored, rows_failed, \
             started_at_unix_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'running', 0, 0, 0, ?11) \
             ON CONFLICT (run) DO NOTHING",
            &[
                new.run.as_str().into(),
                new.model.as_str().into(),
                new.version.get().into(),
                Value::Text(new.digest.to_string()),
                new.generation.get().into(),
                cleaned(&new.input.name).into(),
                new.input.size_bytes.into(),
                new.input.modified_at_unix_ms.into(),
                Value::Text(new.input.digest.to_string()),
                Value::Text(outputs),
                new.started_at_unix_ms.into(),
            ],
        )?;
        Ok(())
    }

    /// The compare-and-set of a run's position.
    fn advance(&mut self, run: &RunId, writing: Writing, position: u64) -> Result<(), StoreError> {
        let changed = self.database.execute(
            "UPDATE prediction_runs SET position = ?1 WHERE run_number = ?2 AND state = 'running' \
             AND position = ?3",
            &[position.into(), Value::Whole(writing.number), writing.position.into()],
        )?;
        if changed == 0 { Err(StoreError::Overtaken { run: run.clone() }) } else { Ok(()) }
    }

    /// Stores predictions; gives back those that cannot be, with the reason.
    fn insert_predictions(
        &mut self,
        number: i64,
        rows: &[PredictionRow],
    ) -> Result<Vec<FailureRow>, StoreError> {
        let mut refused = Vec::new();
        let mut usable: Vec<&PredictionRow> = Vec::with_capacity(rows.len());
        for row in rows {
            match unusable(&row.key) {
                None => usable.push(row),
                Some(cause) => refused.push(FailureRow { row: row.row, key: None, cause }),
            }
        }
        if self.database.insert(number, &usable)? == Inserted::All {
            return Ok(refused);
        }
        let mut known = self.known_keys(number, &usable)?;
        usable.retain(|row| {
            let first = known.insert(row.key.clone());
            if !first {
                let cause = format!("key {:?} stands in an earlier row of the input", row.key);
                refused.push(FailureRow { row: row.row, key: Some(row.key.clone()), cause });
            }
            first
        });
        match self.database.insert(number, &usable)? {
            Inserted::All => Ok(refused),
            Inserted::None => Err(StoreError::Database {
                place: self.place().to_owned(),
                cause: "keys were stored by somebody else at the same time".to_owned(),
            }),
        }
    }

    fn insert_failures<'f>(
        &mut self,
        number: i64,
        failures: impl Iterator<Item = &'f FailureRow>,
    ) -> Result<(), StoreError> {
        let mut values = Vec::new();
        for failure in failures {
            let key = failure.key.as_deref().filter(|key| unusable(key).is_none());
            values.extend([
                Value::Whole(number),
                failure.row.into(),
                key.map_or(Value::Null, Value::from),
                cleaned(&failure.cause).into(),
            ]);
        }
        let sql = "INSERT INTO prediction_failures (run_number, input_row, key, cause) VALUES";
        for values in values.chunks(4 * FAILURES_AT_ONCE) {
            let row = |row: usize| {
                let [a, b, c, d] = [1, 2, 3, 4].map(|column| row * 4 + column);
                format!("(?{a}, ?{b}, ?{c}, ?{d})")
            };
            let rows: Vec<_> = (0..values.len() / 4).map(row).collect();
            self.database.execute(&format!("{sql} {}", rows.join(", ")), values)?;
        }
        Ok(())
    }

    /// Which of these rows' keys the run has already.
    fn known_keys(&mut self, number: i64, rows: &[&PredictionRow]) -> Result<HashSet<String>, StoreError> {
        let mut known = HashSet::new();
        for rows in rows.chunks(KEYS_AT_ONCE) {
            let places: Vec<_> = (2..rows.len().saturating_add(2)).map(|place| format!("?{place}")).collect();
            let sql = format!(
                "SELECT key FROM predictions WHERE run_number = ?1 AND output = 0 AND key IN ({})",
                places.join(", ")
            );
            let values: Vec<_> = std::iter::once(Value::Whole(number))
                .chain(rows.iter().map(|row| Value::from(row.key.as_str())))
                .collect();
            for mut row in self.database.query(&sql, &values)? {
                known.insert(row.text("key").map_err(|misread| misread.at(self.database.place()))?);
            }
        }
        Ok(known)
    }
}

/// Why a text cannot be a key.
fn unusable(key: &str) -> Option<String> {
    match key {
        "" => Some("the key is empty".to_owned()),
        long if long.len() > KEY_MAX_BYTES => {
            Some(format!("the key has {} bytes, and {KEY_MAX_BYTES} are possible", long.len()))
        }
        zero if zero.contains('\0') => Some("the key has a zero byte in it".to_owned()),
        _ => None,
    }
}

/// A text as PostgreSQL takes it, cut to a length for people.
fn cleaned(text: &str) -> &str {
    let text = text.split('\0').next().unwrap_or_default();
    text.get(..text.floor_char_boundary(CAUSE_MAX_BYTES)).unwrap_or(text)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
