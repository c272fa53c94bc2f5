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
    score::{By, Scored, Scorer},
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
        info!(delivery = pipe.guarantee().name(), "the stream runs");
        let scorer = Scorer::new(&self.settings.stream);
        while !self.stop.load(Relaxed) {
            let batch = pipe.gather()?;
            self.counts.watch(&pipe);
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
            match Pipe::open(&self.settings.process.kafka, self.settings.pipe.clone()) {
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
        let by = By { model: &model, generation: model.generation(), served: Some(&self.served) };
        scorer.score(batch, 0..batch.len(), by, &mut scored);
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
                Found::Version(model) => {
                    let by = By { model: &model, generation, served: None };
                    scorer.score(batch, places, by, &mut scored);
                }
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

#[cfg(test)]
mod tests {
    use modelcast::pipe::Headers;
    use modelcast_models::{Model, PredictError};
    use modelcast_protocol::{
        ModelName, Version,
        schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
    };

    use super::{super::settings::Overrides, *};
    use crate::{served::ServedModels, settings::Source};

    /// Gives its version times the value.
    struct Times(f64);

    impl Model for Times {
        fn width(&self) -> usize {
            1
        }
        fn outputs(&self) -> usize {
            1
        }
        fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
            outputs.iter_mut().zip(row).for_each(|(to, from)| *to = self.0 * from);
            Ok(())
        }
    }

    fn version(number: u32) -> LoadedModel {
        let kind = FeatureKind::Numeric(Numeric::default());
        let schema = FeatureSchema {
            features: vec![Feature { name: "area".into(), title: None, kind }],
            outputs: vec![Output {
                name: "price".into(),
                title: None,
                kind: OutputKind::Numeric { unit: None },
            }],
        };
        let name = ModelName::parse("price").unwrap();
        let model = Box::new(Times(f64::from(number)));
        LoadedModel::fixed(name, Version::new(number.into()).unwrap(), schema, model).unwrap()
    }

    fn work(live: LiveModel) -> Work {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/stream.toml");
        let model = Some((live.name().clone(), Source::Flag));
        let settings =
            StreamSettings::read(Some(&path), Overrides { model, ..Overrides::default() }).unwrap();
        let models = ServedModels::new(settings.process.instance.clone(), [live]);
        let served = Arc::clone(models.models().next().unwrap());
        Work { settings, served, versions: None, counts: Arc::new(Counts::new()), stop: Arc::default() }
    }

    #[test]
    fn one_version_scores_a_batch_while_versions_are_swapped() {
        let live = LiveModel::fixed(version(1)).unwrap();
        let mut work = work(live.clone());
        let scorer = Scorer::new(&work.settings.stream);
        let batch: Vec<_> = (0..500)
            .map(|offset| Incoming {
                partition: 0,
                offset,
                at_unix_ms: None,
                key: None,
                value: Some(b"{\"area\": 1}".to_vec()),
                headers: Headers::new(),
            })
            .collect();
        let stop = Arc::clone(&work.stop);
        let swapping = thread::spawn(move || {
            let mut swaps = 0_u32;
            while !stop.load(Relaxed) {
                live.replace_fixed(version(swaps % 1_000 + 1)).unwrap();
                swaps += 1;
            }
            swaps
        });
        let mut seen = std::collections::BTreeSet::new();
        let began = Instant::now();
        while seen.len() < 20 && began.elapsed() < Duration::from_secs(60) {
            let records = work.score(&scorer, &batch).unwrap().unwrap().into_records();
            assert_eq!(records.len(), batch.len());
            let names: std::collections::BTreeSet<_> = records
                .iter()
                .map(|one| {
                    let version = one.headers.text("modelcast-version").unwrap();
                    let value = String::from_utf8(one.value.as_deref().unwrap().to_vec()).unwrap();
                    assert_eq!(value, format!("{{\"outputs\":{{\"price\":{version}.0}}}}"));
                    version
                })
                .collect();
            assert_eq!(names.len(), 1, "one batch of {names:?}");
            seen.extend(names);
        }
        work.stop.store(true, Relaxed);
        assert!(seen.len() >= 20, "{} versions, {} swaps", seen.len(), swapping.join().unwrap());
    }
}
