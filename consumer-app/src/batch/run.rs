//! One run: every row of an input through one version into one output.
//!
//! A thread reads, one encodes and scores, and the caller's writes, with a few chunks on their way between them. A run
//! that goes on after a kill reads and scores from the start, so that its summary is of all rows, and writes from the
//! position on.
//!
//! # Invariants
//! * Everything in a run comes from one snapshot.
//! * Memory is bounded by the chunks on their way, whatever the size of the input.

use std::{
    io, panic,
    path::Path,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
};

use modelcast::LoadedModel;
use modelcast_models::PredictError;
use thiserror::Error;
use tokio::sync::watch;

use super::{
    chunk::Chunk,
    duplicates::Duplicates,
    encode::ChunkEncoder,
    input::{Input, InputError, RawChunk, columns::Columns},
    progress::Progress,
    score::score,
    settings::{FailuresMax, InputSettings},
    sink::{Sink, SinkError},
    summary::{Failure, Summary, counting::Counting},
};

/// Chunks between two threads.
const CHUNKS_BETWEEN: usize = 4;

/// What a run does.
pub struct Job<'a> {
    /// The version that scores.
    pub model: &'a LoadedModel,
    /// What is read.
    pub input: &'a InputSettings,
    /// Failed rows that are put up with.
    pub failures_max: FailuresMax,
    /// Rows between two commits.
    pub commit_rows: u64,
    /// A folder for what does not fit in memory.
    pub folder: &'a Path,
    /// What the last run had to say of itself.
    pub last: Option<&'a Summary>,
    /// Set when the run is to end before it is complete.
    pub stop: watch::Receiver<bool>,
}

/// Why a run ended before it was complete.
#[derive(Debug, Error)]
pub enum RunError {
    /// The input cannot be read, or does not fit the model.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The output cannot be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The model takes no such rows.
    #[error("the model does not predict rows of its own schema")]
    Predict(#[from] PredictError),
    /// Too many rows failed.
    #[error("{failures} of {rows} rows failed, which is more than run.failures_max allows; the first is row {}: {}", first.row, first.cause)]
    TooManyFailures {
        /// How many.
        failures: u64,
        /// Of how many that were read.
        rows: u64,
        /// The first one.
        first: Failure,
    },
    /// There is nothing to score.
    #[error("the input has no row: a file that was not written to its end, or the wrong one")]
    Empty,
    /// A key stands in two rows.
    #[error("rows {first} and {again} have the same key, and nobody can say which of them is meant")]
    DuplicateKey {
        /// The earlier row.
        first: u64,
        /// The later row.
        again: u64,
    },
    /// What does not fit in memory cannot be kept.
    #[error("cannot keep the keys on disk")]
    Keys(#[source] io::Error),
    /// Somebody asked for it.
    #[error("the run was told to end before it was complete")]
    Stopped,
    /// A thread of the run panicked, or the system gave none.
    #[error("a thread of the run ended unexpectedly")]
    Lost,
}

impl RunError {
    /// Whether it is the file as it was just then: another one may be on its way.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Input(InputError::Changed { .. }) | Self::Empty)
    }

    /// Whether the same run would fail again: it is given up then.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Input(InputError::Unreadable { .. }) => false,
            Self::Input(_)
            | Self::Predict(_)
            | Self::TooManyFailures { .. }
            | Self::Empty
            | Self::DuplicateKey { .. } => true,
            Self::Sink(error) => error.is_refusal(),
            Self::Keys(_) | Self::Stopped | Self::Lost => false,
        }
    }
}

/// Opens the input and finds its columns.
///
/// # Errors
/// [`RunError::Input`], before any row is read.
pub fn open(model: &LoadedModel, settings: &InputSettings) -> Result<(Input, Columns), RunError> {
    let mut input = Input::open(&settings.path, settings.format, settings.delimiter)?;
    let columns = Columns::find(input.header(), model.encoder(), &settings.columns);
    let columns = columns
        .map_err(|source| InputError::Columns { path: settings.path.clone(), source: Box::new(source) })?;
    input.want(&columns.wanted())?;
    Ok((input, columns))
}

/// Takes all rows to the sink; gives the summary, with which the sink is to be finished.
///
/// # Errors
/// [`RunError`]; what was committed to the sink stays.
pub fn run(job: &Job<'_>, (input, columns): (Input, Columns), sink: &mut Sink) -> Result<Summary, RunError> {
    let mut progress = Progress::new(input.total());
    let (raw, raw_in) = sync_channel(CHUNKS_BETWEEN);
    let (raw_back, raw_free) = channel();
    let (scored, scored_in) = sync_channel(CHUNKS_BETWEEN);
    let (scored_back, scored_free) = channel();
    let done = thread::scope(|scope| {
        let reading = thread::Builder::new().name("batch-read".into());
        let reading = reading.spawn_scoped(scope, move || read(job, input, &raw, &raw_free));
        let scoring = thread::Builder::new().name("batch-score".into());
        let mut scorer = Scoring::new(job, columns);
        let scoring = scoring.spawn_scoped(scope, move || {
            scorer.pass(&raw_in, &raw_back, &scored, &scored_free)?;
            scorer.finish()
        });
        let written = write(job, &scored_in, &scored_back, sink, &mut progress);
        // The threads end by themselves once nobody takes what they send.
        drop(scored_in);
        let scored =
            scoring.map_or(Err(RunError::Lost), |thread| thread.join().unwrap_or(Err(RunError::Lost)));
        let read = reading.map_or(Err(RunError::Lost), |thread| thread.join().unwrap_or(Err(RunError::Lost)));
        written.and(read).and(scored)
    });
    progress.finish();
    done
}

fn read(
    job: &Job<'_>,
    mut input: Input,
    to: &SyncSender<RawChunk>,
    free: &Receiver<RawChunk>,
) -> Result<(), RunError> {
    loop {
        if *job.stop.borrow() {
            return Err(RunError::Stopped);
        }
        let mut chunk = free.try_recv().unwrap_or_default();
        // Whoever does not take it any more says why.
        if !input.read(&mut chunk)? || to.send(chunk).is_err() {
            return Ok(());
        }
    }
}

/// What the scoring thread has.
struct Scoring<'a> {
    job: &'a Job<'a>,
    encoder: ChunkEncoder<'a>,
    counting: Counting,
    duplicates: Duplicates,
    rows: u64,
}

impl<'a> Scoring<'a> {
    fn new(job: &'a Job<'a>, columns: Columns) -> Self {
        Self {
            job,
            encoder: ChunkEncoder::new(columns, job.model.encoder()),
            counting: Counting::new(job.model.encoder(), job.last),
            duplicates: Duplicates::new(job.folder),
            rows: 0,
        }
    }

    fn pass(
        &mut self,
        from: &Receiver<RawChunk>,
        back: &Sender<RawChunk>,
        to: &SyncSender<Chunk>,
        free: &Receiver<Chunk>,
    ) -> Result<(), RunError> {
        for raw in from {
            let mut chunk = free.try_recv().unwrap_or_default();
            self.encoder.encode(&raw, &mut chunk);
            drop(back.send(raw)); // the reader may have ended
            // The code of a model may be an application's own.
            let scored = panic::catch_unwind(panic::AssertUnwindSafe(|| score(self.job.model, &mut chunk)));
            scored.map_err(|_| RunError::Lost)??;
            self.count(&chunk)?;
            if to.send(chunk).is_err() {
                return Ok(()); // the writer says why
            }
        }
        Ok(())
    }

    fn count(&mut self, chunk: &Chunk) -> Result<(), RunError> {
        let (width, outputs) = (self.job.model.encoder().width(), self.job.model.schema().outputs.len());
        let rows =
            chunk.values.chunks_exact(width.max(1)).zip(chunk.predictions.chunks_exact(outputs.max(1)));
        for (place, ((values, predictions), number)) in rows.zip(&chunk.numbers).enumerate() {
            self.counting.scored(values, predictions);
            self.duplicates.add(chunk.keys.get(place), *number).map_err(RunError::Keys)?;
        }
        chunk.failures.iter().for_each(|failure| self.counting.failed(failure));
        self.rows = chunk.end;
        match self.job.failures_max {
            FailuresMax::Rows(most) if self.counting.failures() > most => Err(self.too_many()),
            FailuresMax::Rows(_) | FailuresMax::Share(_) => Ok(()),
        }
    }

    fn finish(self) -> Result<Summary, RunError> {
        if self.rows == 0 {
            return Err(RunError::Empty);
        }
        if let FailuresMax::Share(most) = self.job.failures_max {
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let allowed = self.rows as f64 * most;
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            if self.counting.failures() as f64 > allowed {
                return Err(self.too_many());
            }
        }
        match self.duplicates.find().map_err(RunError::Keys)? {
            Some((first, again)) => Err(RunError::DuplicateKey { first, again }),
            None => Ok(self.counting.finish()),
        }
    }

    fn too_many(&self) -> RunError {
        let first = self.counting.first_failure().cloned().unwrap_or_default();
        RunError::TooManyFailures { failures: self.counting.failures(), rows: self.rows, first }
    }
}

fn write(
    job: &Job<'_>,
    from: &Receiver<Chunk>,
    back: &Sender<Chunk>,
    sink: &mut Sink,
    progress: &mut Progress,
) -> Result<(), RunError> {
    let mut committed = sink.position();
    for chunk in from {
        sink.write(&chunk)?;
        if chunk.end.saturating_sub(committed) >= job.commit_rows {
            sink.commit()?;
            committed = chunk.end;
        }
        progress.wrote(&chunk);
        drop(back.send(chunk)); // the scorer may have ended
    }
    Ok(())
}
