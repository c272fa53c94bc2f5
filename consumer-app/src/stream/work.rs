//! The stream's own thread: gather, score, deliver, until told to stop.
//!
//! # Invariants
//! * One snapshot of the model scores a batch that goes by what is live: a swap shows between two batches.
//! * A batch is delivered whole or gathered again; the end comes between two.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use modelcast::{
    LiveModel, LoadedModel,
    pipe::{Delivered, Incoming, Outgoing, Pipe, PipeError},
};
use tracing::{info, warn};

use super::{
    metrics::Counts,
    score::{Scored, Scorer},
    settings::StreamSettings,
    versions::{Found, Versions},
};
use crate::served::ServedModel;

/// How soon a model that was admitted, and a stop, are noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Pause before Kafka is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the thread needs.
pub(super) struct Work {
    pub(super) settings: StreamSettings,
    pub(super) served: Arc<ServedModel>,
    /// Where records are scored by their own time.
    pub(super) versions: Option<Versions>,
    pub(super) counts: Arc<Counts>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Work {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self) -> Result<(), PipeError> {
        // Not before: a member without a model would hold partitions that it does not read.
        if self.snapshot().is_none() {
            return Ok(());
        }
        let Some(mut pipe) = self.open()? else { return Ok(()) };
        self.counts.opened(pipe.guarantee());
        let scorer = Scorer::new(&self.settings.stream);
        while !self.stop.load(Relaxed) {
            let batch = pipe.gather()?;
            self.counts.lags(pipe.lags());
            if batch.is_empty() {
                continue;
            }
            let started = Instant::now();
            let Some(scored) = self.score(&scorer, &batch)? else { break };
            let (predicted, tombstones, dead) = (scored.predicted, scored.tombstones, scored.dead);
            let records: Vec<Outgoing<'_>> = scored.into_records();
            match pipe.deliver(&batch, records)? {
                Delivered::Committed => {
                    self.counts.committed(batch.len(), predicted, tombstones, dead, started.elapsed());
                }
                Delivered::Rewound => self.counts.aborted(),
            }
        }
        info!("leaving the group");
        self.counts.closed();
        Ok(())
    }

    fn open(&self) -> Result<Option<Pipe>, PipeError> {
        while !self.stop.load(Relaxed) {
            match Pipe::open(&self.settings.kafka, self.settings.pipe.clone()) {
                Ok(pipe) => return Ok(Some(pipe)),
                Err(error) if error.is_transient() => {
                    warn!(%error, "the stream waits for Kafka");
                    self.pause(TRY_AGAIN_AFTER);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The snapshot for one batch; waits for the first one, and gives none at a stop.
    fn snapshot(&self) -> Option<Arc<LoadedModel>> {
        let live: &LiveModel = self.served.live();
        let mut waited = false;
        while !self.stop.load(Relaxed) {
            if let Some(model) = live.load() {
                return Some(model);
            }
            if !waited {
                info!(model = %live.name(), "waiting for a model");
                waited = true;
            }
            self.pause(LOOK_EVERY);
        }
        None
    }

    /// What becomes of a batch; nothing at a stop.
    fn score<'a>(&mut self, scorer: &Scorer, batch: &'a [Incoming]) -> Result<Option<Scored<'a>>, PipeError> {
        if self.versions.is_some() {
            return self.score_by_time(scorer, batch);
        }
        let Some(model) = self.snapshot() else { return Ok(None) };
        let mut scored = Scored::of(batch.len());
        scorer.score(batch, 0..batch.len(), &model, &self.served, &mut scored);
        Ok(Some(scored))
    }

    fn score_by_time<'a>(
        &mut self,
        scorer: &Scorer,
        batch: &'a [Incoming],
    ) -> Result<Option<Scored<'a>>, PipeError> {
        while !self.stop.load(Relaxed) {
            match self.try_by_time(scorer, batch) {
                Ok(scored) => return Ok(Some(scored)),
                Err(error) if error.is_transient() => {
                    warn!(%error, "the stream waits for the history of the model");
                    self.pause(TRY_AGAIN_AFTER);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn try_by_time<'a>(&mut self, scorer: &Scorer, batch: &'a [Incoming]) -> Result<Scored<'a>, PipeError> {
        let mut scored = Scored::of(batch.len());
        let Some(versions) = &mut self.versions else { return Ok(scored) };
        versions.refresh()?;
        // By generation, so that a replay goes forward through the versions.
        let mut of_version: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (place, record) in batch.iter().enumerate() {
            match versions.champion(record.at_unix_ms) {
                Ok(generation) => of_version.entry(generation).or_default().push(place),
                Err(cause) => scorer.bury(place, record, None, &cause, &mut scored),
            }
        }
        for (generation, places) in of_version {
            match versions.load(generation)? {
                Found::Version(model) => scorer.score(batch, places, &model, &self.served, &mut scored),
                Found::None(cause) => {
                    for (place, record) in places.iter().filter_map(|&place| Some((place, batch.get(place)?)))
                    {
                        scorer.bury(place, record, None, &cause, &mut scored);
                    }
                }
            }
        }
        Ok(scored)
    }

    /// Ends early at a stop, which unparks this thread.
    fn pause(&self, pause: Duration) {
        if !self.stop.load(Relaxed) {
            thread::park_timeout(pause);
        }
    }
}
