//! Predictions into the store: rows, failures and position in one transaction.
//!
//! # Invariants
//! * Where the run stands is what the store says, and nothing else.

use modelcast_protocol::{Digest, schema::FeatureSchema};

use super::SinkError;
use crate::{
    batch::{chunk::Chunk, summary::Summary, work::Journal},
    predictions::{
        run::{FailureRow, Input, NewRun, PredictionRow, RunId},
        store::{Store, StoreError},
    },
};

/// The table of one run.
pub struct TableSink {
    store: Store,
    run: RunId,
    position: u64,
    end: u64,
    rows: Vec<PredictionRow>,
    failures: Vec<FailureRow>,
}

impl TableSink {
    /// Begins the run, or goes on with it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(mut store: Store, journal: &Journal, schema: &FeatureSchema) -> Result<Self, StoreError> {
        let name = journal.input.path.display().to_string();
        let tells = format!("{name}\n{}\n{}", journal.input.size_bytes, journal.input.modified_unix_ns);
        let begun = store.begin(&NewRun {
            run: journal.run.clone(),
            model: journal.scorer.model.clone(),
            version: journal.scorer.version,
            digest: journal.scorer.digest,
            generation: journal.scorer.generation,
            input: Input {
                name,
                size_bytes: journal.input.size_bytes,
                modified_at_unix_ms: journal.input.modified_unix_ns / 1_000_000,
                digest: Digest::of(tells.as_bytes()),
            },
            outputs: schema.outputs.clone(),
            started_at_unix_ms: journal.began_at_unix_ms,
        })?;
        let (run, position) = (journal.run.clone(), begun.position);
        Ok(Self { store, run, position, end: position, rows: Vec::new(), failures: Vec::new() })
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn write(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        self.end = self.end.max(chunk.end);
        let width = chunk.predictions.len() / chunk.len().max(1);
        let rows = chunk.numbers.iter().zip(chunk.predictions.chunks_exact(width.max(1))).enumerate();
        let new = rows.filter(|(_, (row, _))| **row >= self.position);
        self.rows.extend(new.map(|(place, (row, values))| PredictionRow {
            row: *row,
            key: chunk.keys.get(place).to_owned(),
            values: values.to_vec(),
        }));
        let new = chunk.failures.iter().filter(|failure| failure.row >= self.position);
        self.failures.extend(new.map(|failure| FailureRow {
            row: failure.row,
            key: Some(failure.key.clone()).filter(|key| !key.is_empty()),
            cause: failure.cause.clone(),
        }));
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), SinkError> {
        if self.end == self.position {
            return Ok(());
        }
        let appended = self.store.append(&self.run, &self.rows, &self.failures, self.end)?;
        self.position = self.end;
        self.rows.clear();
        self.failures.clear();
        match appended.refused.into_iter().next() {
            None => Ok(()),
            Some(refused) => Err(SinkError::Duplicate { row: refused.row, cause: refused.cause }),
        }
    }

    pub(super) fn finish(mut self, summary: &Summary) -> Result<(), SinkError> {
        self.commit()?;
        // A summary's types hold nothing that JSON cannot say.
        let json = serde_json::to_string(summary).unwrap_or_default();
        self.store.finish(&self.run, &json, modelcast::clock::unix_ms())?;
        Ok(())
    }
}
