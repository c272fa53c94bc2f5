//! Reading: runs, what was decided about them, their failures, what moved between two, and predictions by key.

use modelcast_protocol::{Generation, ModelName, Version};

use super::{
    Store,
    database::{Misread, Purpose, Row, Value},
    error::StoreError,
};
use crate::predictions::run::{Decision, FailureRow, Input, Mover, Run, RunId, RunState, Verdict};

/// Keys in one statement: far below what either database takes.
pub(super) const KEYS_AT_ONCE: usize = 500;

/// A run with its last decision: what [`run`] reads.
const RUNS: &str = "SELECT r.run_number, r.run, r.model, r.version, r.digest, r.generation, r.input_name, \
    r.input_size_bytes, r.input_modified_at_unix_ms, r.input_digest, r.outputs, r.state, r.position, r.rows_stored, \
    r.rows_failed, r.started_at_unix_ms, r.finished_at_unix_ms, r.cause, r.summary, d.verdict, d.who, d.reason, \
    d.at_unix_ms FROM prediction_runs r LEFT JOIN prediction_decisions d ON d.run_number = r.run_number \
    AND d.decision = (SELECT max(l.decision) FROM prediction_decisions l WHERE l.run_number = r.run_number)";

/// Predictions of the approved run.
#[derive(Debug, Clone, PartialEq)]
pub struct Approved {
    /// The run that is served.
    pub run: Run,
    /// One for each key that has a prediction.
    pub found: Vec<Found>,
}

/// The prediction for one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The key.
    pub key: String,
    /// One value for each output, in their order.
    pub values: Vec<f64>,
}

/// What differs most between two runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Movers {
    /// The run that this one is compared against.
    pub against: RunId,
    /// The biggest differences of each output, largest first.
    pub movers: Vec<Mover>,
}

impl Store {
    /// The newest runs, of one model or of all.
    ///
    /// # Errors
    /// What the database says.
    pub fn runs(&mut self, model: Option<&ModelName>, limit: u64) -> Result<Vec<Run>, StoreError> {
        match model {
            Some(model) => self.some_runs(
                "WHERE r.model = ?1 ORDER BY r.run_number DESC LIMIT ?2",
                &[model.as_str().into(), limit.into()],
            ),
            None => self.some_runs("ORDER BY r.run_number DESC LIMIT ?1", &[limit.into()]),
        }
    }

    /// The run of that name.
    ///
    /// # Errors
    /// [`StoreError::NoRun`]; else what the database says.
    pub fn run(&mut self, run: &RunId) -> Result<Run, StoreError> {
        let found = self.some_runs("WHERE r.run = ?1", &[run.as_str().into()])?;
        found.into_iter().next().ok_or_else(|| StoreError::NoRun { run: run.clone() })
    }

    /// The run that is served for a model.
    ///
    /// # Errors
    /// What the database says.
    pub fn approved(&mut self, model: &ModelName) -> Result<Option<Run>, StoreError> {
        self.newest("r.model = ?1 AND r.state = 'approved'", &[model.as_str().into()])
    }

    /// The run that one is compared with: the approved one; for that one itself, the one served before it.
    ///
    /// # Errors
    /// What the database says.
    pub fn beside(&mut self, run: &Run) -> Result<Option<Run>, StoreError> {
        let approved = self.approved(&run.model)?;
        if let Some(approved) = approved.filter(|approved| approved.run != run.run) {
            return Ok(Some(approved));
        }
        let before = self.some_runs(
            "WHERE r.model = ?1 AND r.state = 'superseded' AND r.run_number <> ?2 \
             ORDER BY d.at_unix_ms DESC, r.run_number DESC LIMIT 1",
            &[run.model.as_str().into(), Value::Whole(run.number)],
        )?;
        Ok(before.into_iter().next())
    }

    /// Everything that was decided about a run, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn decisions(&mut self, run: &Run) -> Result<Vec<Decision>, StoreError> {
        self.read(
            "SELECT verdict, who, reason, at_unix_ms FROM prediction_decisions WHERE run_number = ?1 \
             ORDER BY decision",
            &[Value::Whole(run.number)],
            |mut row| decision(&mut row)?.ok_or(Misread("verdict")),
        )
    }

    /// Rows without a prediction, the first ones of the input first.
    ///
    /// # Errors
    /// What the database says.
    pub fn failures(&mut self, run: &Run, limit: u64) -> Result<Vec<FailureRow>, StoreError> {
        self.read(
            "SELECT input_row, key, cause FROM prediction_failures WHERE run_number = ?1 \
             ORDER BY input_row LIMIT ?2",
            &[Value::Whole(run.number), limit.into()],
            |mut row| {
                Ok(FailureRow {
                    row: row.count("input_row")?,
                    key: row.maybe_text("key")?,
                    cause: row.text("cause")?,
                })
            },
        )
    }

    /// The biggest differences between two runs, by key, up to `limit` for each output that both have.
    ///
    /// Costs one pass over both.
    ///
    /// # Errors
    /// What the database says.
    pub fn movers(&mut self, run: &Run, against: &Run, limit: u64) -> Result<Movers, StoreError> {
        let mut movers = Vec::new();
        for (output, now) in run.outputs.iter().zip(0_i64..).map(|(output, place)| (&output.name, place)) {
            let before = against.outputs.iter().zip(0_i64..).find(|(other, _)| other.name == *output);
            let Some((_, before)) = before else { continue };
            let found = self.read(
                "SELECT n.key, b.value, n.value FROM predictions n JOIN predictions b \
                 ON b.run_number = ?2 AND b.key = n.key AND b.output = ?4 \
                 WHERE n.run_number = ?1 AND n.output = ?3 AND n.value <> b.value \
                 ORDER BY abs(n.value - b.value) DESC, n.key LIMIT ?5",
                &[
                    Value::Whole(run.number),
                    Value::Whole(against.number),
                    Value::Whole(now),
                    Value::Whole(before),
                    limit.into(),
                ],
                |mut row| {
                    let (key, before, now) = (row.text("key")?, row.number("value")?, row.number("value")?);
                    Ok(Mover { key, output: output.clone(), before, now })
                },
            )?;
            movers.extend(found);
        }
        Ok(Movers { against: against.run.clone(), movers })
    }

    /// What the approved run of a model says for some keys. Keys that it does not have are left out.
    ///
    /// # Errors
    /// [`StoreError::NoneApproved`]; else what the database says.
    pub fn predictions(&mut self, model: &ModelName, keys: &[String]) -> Result<Approved, StoreError> {
        // One state: what is approved or pruned meanwhile does not mix in.
        self.transaction(Purpose::Snapshot, |store| {
            let approved = store.approved(model)?;
            let run = approved.ok_or_else(|| StoreError::NoneApproved { model: model.clone() })?;
            let mut found = Vec::new();
            for keys in keys.chunks(KEYS_AT_ONCE) {
                store.find(&run, keys, &mut found)?;
            }
            Ok(Approved { run, found })
        })
    }

    fn find(&mut self, run: &Run, keys: &[String], found: &mut Vec<Found>) -> Result<(), StoreError> {
        let places: Vec<_> = (2..keys.len().saturating_add(2)).map(|place| format!("?{place}")).collect();
        let sql = format!(
            "SELECT key, value FROM predictions WHERE run_number = ?1 AND key IN ({}) ORDER BY key, output",
            places.join(", ")
        );
        // PostgreSQL takes no zero byte in a text; no key has one, so nothing is found for it.
        let keys = keys.iter().map(|key| if key.contains('\0') { "" } else { key.as_str() });
        let values: Vec<_> = std::iter::once(Value::Whole(run.number)).chain(keys.map(Value::from)).collect();
        let rows = self.read(&sql, &values, |mut row| Ok((row.text("key")?, row.number("value")?)))?;
        for (key, value) in rows {
            match found.last_mut().filter(|last| last.key == key) {
                Some(last) => last.values.push(value),
                None => found.push(Found { key, values: vec![value] }),
            }
        }
        Ok(())
    }

    pub(super) fn newest(&mut self, which: &str, values: &[Value]) -> Result<Option<Run>, StoreError> {
        let runs = self.some_runs(&format!("WHERE {which} ORDER BY r.run_number DESC LIMIT 1"), values)?;
        Ok(runs.into_iter().next())
    }

    pub(super) fn some_runs(&mut self, which: &str, values: &[Value]) -> Result<Vec<Run>, StoreError> {
        self.read(&format!("{RUNS} {which}"), values, |mut row| run(&mut row))
    }

    pub(super) fn read<T>(
        &mut self,
        sql: &str,
        values: &[Value],
        read: impl Fn(Row) -> Result<T, Misread>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.database.query(sql, values)?;
        let read: Result<Vec<_>, _> = rows.into_iter().map(read).collect();
        read.map_err(|misread| misread.at(self.database.place()))
    }

    /// That a run is not where it should be.
    pub(super) fn state_error(&self, run: &Run, wanted: RunState) -> StoreError {
        let is_decided = matches!(run.state, RunState::Approved | RunState::Rejected);
        let decided = run.decision.as_ref().filter(|_| is_decided).map(|decision| decision.who.clone());
        StoreError::State { run: run.run.clone(), state: run.state, decided, wanted }
    }
}

fn run(row: &mut Row) -> Result<Run, Misread> {
    Ok(Run {
        number: row.whole("run_number")?,
        run: row.parsed("run", |text| RunId::parse(text).ok())?,
        model: row.parsed("model", |text| ModelName::parse(text).ok())?,
        version: Version::new(row.count("version")?).ok_or(Misread("version"))?,
        digest: row.parsed("digest", |text| text.parse().ok())?,
        generation: Generation::new(row.count("generation")?),
        input: Input {
            name: row.text("input_name")?,
            size_bytes: row.count("input_size_bytes")?,
            modified_at_unix_ms: row.count("input_modified_at_unix_ms")?,
            digest: row.parsed("input_digest", |text| text.parse().ok())?,
        },
        outputs: row.parsed("outputs", |text| serde_json::from_str(text).ok())?,
        state: row.parsed("state", RunState::from_name)?,
        position: row.count("position")?,
        rows: row.count("rows_stored")?,
        failures: row.count("rows_failed")?,
        started_at_unix_ms: row.count("started_at_unix_ms")?,
        finished_at_unix_ms: row.maybe_count("finished_at_unix_ms")?,
        cause: row.maybe_text("cause")?,
        summary: row.maybe_text("summary")?,
        decision: decision(row)?,
    })
}

/// The four columns of a decision; all null where there is none.
fn decision(row: &mut Row) -> Result<Option<Decision>, Misread> {
    let verdict = row.maybe_text("verdict")?;
    let (who, reason) = (row.maybe_text("who")?, row.maybe_text("reason")?);
    let at_unix_ms = row.maybe_count("at_unix_ms")?;
    let Some(verdict) = verdict else { return Ok(None) };
    Ok(Some(Decision {
        verdict: Verdict::from_name(&verdict).ok_or(Misread("verdict"))?,
        who: who.ok_or(Misread("who"))?,
        reason: reason.ok_or(Misread("reason"))?,
        at_unix_ms: at_unix_ms.ok_or(Misread("at_unix_ms"))?,
    }))
}
