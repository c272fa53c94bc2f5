//! Scoring files offline: CSV or Parquet in; out to a table, CSV or Parquet; by one version from start to end.
//!
//! The version comes from a subscriber, as it does for an application that serves: with Kafka gone, the last known good one
//! scores. A run that was killed goes on where it was, with the version that it began with.
//!
//! In reading order: [`args`] and [`settings`] say what is wanted; here is the story; [`schedule`] says when a run begins and
//! [`model`] by which version; [`mod@run`] takes rows from [`input`] through [`encode`] and [`score`], in [`chunk`]s, to a
//! [`sink`]; [`summary`] and [`duplicates`] watch them pass; [`work`] remembers how far it is; [`progress`] says it, and
//! [`report`] what came of it.
//!
//! # Invariants
//! * Memory does not grow with the input.
//! * Each key of the input is in the output once, whenever and however often the process was killed.

pub mod args;
pub mod chunk;
pub mod duplicates;
pub mod encode;
pub mod input;
pub mod model;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod score;
pub mod settings;
pub mod sink;
pub mod summary;
pub mod work;

use std::{
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use modelcast::{LoadedModel, clock, settings::SettingsError, with_causes};
use modelcast_protocol::Digest;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use self::{
    input::{Fingerprint, InputError},
    model::{ModelError, Versions},
    report::Report,
    run::{Job, RunError},
    settings::{Approve, Settings, To},
    sink::{Sink, SinkError, files::FileSink, table::TableSink},
    summary::Summary,
    work::{Journal, Last, Scorer, Work, WorkError},
};
use crate::{
    app::AppError,
    feed::Feed,
    predictions::{
        run::{RunId, RunState},
        store::{Store, StoreError},
    },
    server,
};

/// Why there are no predictions.
#[derive(Debug, Error)]
pub enum BatchError {
    /// A setting is wrong.
    #[error("the settings are wrong")]
    Settings(#[from] SettingsError),
    /// The subscriber does not start, or the embedded file cannot be used.
    #[error(transparent)]
    Feed(#[from] AppError),
    /// There is no version to score with.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The folder for what must outlive the process cannot be used.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// What a run is about cannot be written down.
    #[error("cannot write down how far the run is")]
    Journal(#[source] io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run ended before it was complete.
    #[error("run {run} is not complete")]
    Run {
        /// Its name.
        run: RunId,
        /// The version that it used.
        digest: Digest,
        /// Why.
        source: Box<RunError>,
    },
    /// Somebody asked for it before there was a version to score with.
    #[error("no run has begun when this program was told to end")]
    Stopped,
    /// The input is not there.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The system refuses a signal handler.
    #[error("the system takes no signal handler")]
    Signal(#[source] io::Error),
    /// The schedule has no next time, or the subscriber is gone.
    #[error("cannot say when the next run is due")]
    Schedule(#[source] io::Error),
    /// The thread of a run is gone.
    #[error("the run ended unexpectedly")]
    Lost,
}

/// All that a run needs; cheap to clone.
#[derive(Clone)]
pub struct Batch {
    settings: Arc<Settings>,
    versions: Arc<Versions>,
    work: Arc<Work>,
    /// Set when runs are to end before they are complete.
    stop: watch::Sender<bool>,
}

impl BatchError {
    /// Whether somebody has to change the settings.
    #[must_use]
    pub fn is_settings(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Store(StoreError::Address { .. }) => true,
            Self::Feed(error) => error.is_settings(),
            _ => false,
        }
    }

    /// Whether the input was refused and the run given up.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Run { source, .. } if source.is_refusal())
    }

    /// The version that would be refused again, and not only the input as it is right now.
    fn refused_version(&self) -> Option<Digest> {
        match self {
            Self::Run { digest, source, .. } if source.is_refusal() && !source.is_passing() => Some(*digest),
            _ => None,
        }
    }

    /// Whether a signal ended the run.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Run { source, .. } => matches!(**source, RunError::Stopped),
            Self::Stopped => true,
            _ => false,
        }
    }
}

/// Makes the runs that the settings ask for; `report` is told each complete one.
///
/// # Errors
/// [`BatchError`], for a single run. With a schedule, and whenever a version goes live, runs that fail are logged.
pub async fn run(settings: Settings, report: impl Fn(&Report)) -> Result<(), BatchError> {
    // Whoever ends it while it starts finds it ended in good order too.
    let signal = Box::pin(server::signal().map_err(BatchError::Signal)?);
    let keys = settings.process.keys.trusted()?;
    let work = Work::open(&settings.process.state.join("batch"))?;
    let feed = Feed::start(&settings.process, std::slice::from_ref(&settings.model), &keys).await?;
    let Some(live) = feed.models().first().cloned() else { return Err(BatchError::Lost) };
    let versions = Versions::new(&settings, keys, live);
    let batch = Batch {
        settings: Arc::new(settings),
        versions: Arc::new(versions),
        work: Arc::new(work),
        stop: watch::Sender::new(false),
    };
    let ended = schedule::follow(&batch, signal, &report).await;
    feed.shutdown().await;
    ended
}

impl Batch {
    /// Makes one run, or goes on with the one that is under way.
    ///
    /// # Errors
    /// [`BatchError`].
    pub async fn one(&self) -> Result<Report, BatchError> {
        let settings = &self.settings;
        let mut stopped = self.stop.subscribe();
        let live = tokio::select! {
            live = self.versions.live(settings.run.model_wait) => live?,
            _ = stopped.wait_for(|stop| *stop) => return Err(BatchError::Stopped),
        };
        // Only now: a file may be delivered while a version is waited for.
        let input = Fingerprint::of(&settings.input.path)?;
        let before = self.work.journal();
        if let Some(report) = self.blocking(Self::finished_before).await? {
            if before.is_some_and(|journal| self.differs(&journal, &input, &live).is_none()) {
                return Ok(report);
            }
            info!(run = %report.run, "an earlier run of something else was complete; a new one begins");
        }
        let under_way = self.goes_on(&input, &live).await?;
        let is_new = under_way.is_none();
        let (journal, model) = match under_way {
            Some(found) => found,
            None => (new_journal(settings, input, &live), live),
        };
        if is_new {
            self.work.write_journal(&journal).map_err(BatchError::Journal)?;
        }
        info!(run = %journal.run, model = %journal.scorer.model, version = %journal.scorer.version,
            input = %journal.input.path.display(), is_new, "run begins");
        self.blocking(move |batch| batch.complete(journal, &model)).await
    }

    /// Does what blocks on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, BatchError> + Send + 'static,
    ) -> Result<T, BatchError> {
        let batch = self.clone();
        tokio::task::spawn_blocking(move || work(&batch)).await.map_err(|_| BatchError::Lost)?
    }

    /// The run that is under way, if the store says that it is finished: the process died before it could forget it.
    fn finished_before(&self) -> Result<Option<Report>, BatchError> {
        let Some(journal) = self.work.journal().filter(|journal| journal.output.to == To::Table) else {
            return Ok(None);
        };
        let found = match Store::open(&self.settings.predictions)?.run(&journal.run) {
            Ok(found) => found,
            Err(StoreError::NoRun { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let summary = found.summary.and_then(|json| serde_json::from_str(&json).ok());
        match (found.state, summary) {
            (RunState::Running, _) => Ok(None),
            (RunState::Abandoned, _) | (_, None) => {
                self.work.end(None).map_err(BatchError::Journal)?;
                Ok(None)
            }
            (state, Some(summary)) => {
                self.report(journal, state, summary, found.position, Duration::ZERO).map(Some)
            }
        }
    }

    /// The run that is under way with its version, if it is about the same and can go on; else it is given up.
    async fn goes_on(
        &self,
        input: &Fingerprint,
        live: &Arc<LoadedModel>,
    ) -> Result<Option<(Journal, Arc<LoadedModel>)>, BatchError> {
        let Some(journal) = self.work.journal() else { return Ok(None) };
        let cause = match self.differs(&journal, input, live) {
            Some(cause) => cause.to_owned(),
            None => match self.versions.begun_with(&journal.scorer, live).await? {
                Some(model) => return Ok(Some((journal, model))),
                None => {
                    format!("version {} is no longer announced, or not to be used", journal.scorer.version)
                }
            },
        };
        warn!(run = %journal.run, cause, "the run that was under way is given up");
        self.blocking(move |batch| batch.give_up(&journal, &cause)).await?;
        Ok(None)
    }

    /// Why what is to be done now is not what that run is about.
    fn differs(&self, journal: &Journal, input: &Fingerprint, live: &LoadedModel) -> Option<&'static str> {
        if journal.scorer.model != *live.name() {
            Some("another model is to score")
        } else if journal.input != *input {
            Some("the input is another")
        } else if journal.reading != self.settings.input.reading() {
            Some("the input is to be read otherwise")
        } else if journal.output != self.settings.output {
            Some("the output is another")
        } else {
            None
        }
    }

    /// Gives up a run that no sink is open for.
    fn give_up(&self, journal: &Journal, cause: &str) -> Result<(), BatchError> {
        if journal.output.to == To::Table {
            let mut store = Store::open(&self.settings.predictions)?;
            match store.abandon(&journal.run, cause, clock::unix_ms()) {
                // It was never begun there, or somebody was faster.
                Ok(()) | Err(StoreError::NoRun { .. } | StoreError::State { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.work.end(None).map_err(BatchError::Journal)
    }

    /// Takes a run to its end. Blocks.
    fn complete(&self, journal: Journal, model: &LoadedModel) -> Result<Report, BatchError> {
        let digest = journal.scorer.digest;
        let failed =
            |source: RunError| BatchError::Run { run: journal.run.clone(), digest, source: Box::new(source) };
        let started = Instant::now();
        let last = self.work.last().filter(|last| last.scorer.model == journal.scorer.model);
        let job = Job {
            model,
            input: &self.settings.input,
            failures_max: self.settings.run.failures_max,
            commit_rows: self.settings.run.commit_rows,
            folder: self.work.folder(),
            last: last.as_ref().map(|last| &last.summary),
            stop: self.stop.subscribe(),
        };
        let opened = run::open(model, &self.settings.input).map_err(&failed);
        let opened = opened.inspect_err(|error| self.refused(&journal, error))?;
        let sink = self.sink(&journal, model).map_err(|error| failed(error.into()));
        let mut sink = sink.inspect_err(|error| self.refused(&journal, error))?;
        let resumed_at = sink.position();
        let ran = run::run(&job, opened, &mut sink);
        let summary = match ran.and_then(|summary| Ok(journal.input.must_hold().map(|()| summary)?)) {
            Ok(summary) => summary,
            Err(error) => {
                drop(sink);
                let error = failed(error);
                self.refused(&journal, &error);
                return Err(error);
            }
        };
        sink.finish(&summary).map_err(|error| failed(error.into()))?;
        self.report(journal, RunState::Waiting, summary, resumed_at, started.elapsed())
    }

    /// Gives up a run that would fail again.
    fn refused(&self, journal: &Journal, error: &BatchError) {
        if !error.is_refusal() {
            return;
        }
        let cause = with_causes(error);
        if let Err(error) = self.give_up(journal, &cause) {
            warn!(run = %journal.run, error = with_causes(&error), "the run cannot be given up");
        }
    }

    fn sink(&self, journal: &Journal, model: &LoadedModel) -> Result<Sink, SinkError> {
        match journal.output.to.format() {
            Some(format) => {
                let to = (format, journal.output.path.as_path());
                let file = FileSink::open(Arc::clone(&self.work), journal.clone(), to, model.schema())?;
                Ok(Sink::File(Box::new(file)))
            }
            None => {
                let store = Store::open(&self.settings.predictions)?;
                Ok(Sink::Table(Box::new(TableSink::open(store, journal, model.schema())?)))
            }
        }
    }

    /// Remembers a complete run as the last one, approves it where that is so set, and says what it was.
    fn report(
        &self,
        journal: Journal,
        stored: RunState,
        mut summary: Summary,
        resumed_at: u64,
        elapsed: Duration,
    ) -> Result<Report, BatchError> {
        let settings = &self.settings;
        let (state, output) = match journal.output.to {
            To::Csv | To::Parquet => ("complete", journal.output.path.display().to_string()),
            To::Table => {
                let mut store = Store::open(&settings.predictions)?;
                let place = store.place().to_owned();
                let state = match (stored, settings.run.approve) {
                    (RunState::Waiting, Approve::Automatic) => self.approve(&mut store, &journal)?,
                    (state, _) => state,
                };
                self.prune(&mut store);
                (state.name(), place)
            }
        };
        let Journal { run, scorer, input, .. } = journal;
        let last = Last { run, scorer, input, summary: mem::take(&mut summary) };
        self.work.end(Some(&last)).map_err(BatchError::Journal)?;
        let Last { run, scorer, summary, .. } = last;
        Ok(Report { run, scorer, output, state, resumed_at, seconds: elapsed.as_secs_f64(), summary })
    }

    /// Has old runs lose their rows; what is left over is for the next time.
    fn prune(&self, store: &mut Store) {
        let Settings { model, predictions, .. } = self.settings.as_ref();
        match store.prune(&model.name, predictions.keep_runs, |_| {}) {
            Ok(pruned) if pruned.runs.is_empty() => {}
            Ok(pruned) => info!(runs = pruned.runs.len(), rows = pruned.rows, "old runs lost their rows"),
            Err(error) => warn!(error = with_causes(&error), "old runs keep their rows for now"),
        }
    }

    fn approve(&self, store: &mut Store, journal: &Journal) -> Result<RunState, BatchError> {
        let (who, reason) = (self.settings.process.instance.as_str(), "run.approve is automatic");
        Ok(store.approve(&journal.run, who, reason, clock::unix_ms())?.state)
    }
}

fn new_journal(settings: &Settings, input: Fingerprint, model: &LoadedModel) -> Journal {
    let began_at_unix_ms = clock::unix_ms();
    let scorer = Scorer {
        model: model.name().clone(),
        version: model.version(),
        digest: model.digest(),
        generation: model.generation(),
    };
    let (output, reading) = (settings.output.clone(), settings.input.reading());
    Journal {
        run: run_id(settings, began_at_unix_ms),
        scorer,
        input,
        reading,
        output,
        began_at_unix_ms,
        position: 0,
        parts: 0,
    }
}

/// The time, for people, and some digits that two instances do not share.
fn run_id(settings: &Settings, at_unix_ms: u64) -> RunId {
    let at = i64::try_from(at_unix_ms).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    let time = at.unwrap_or_default().strftime("%Y%m%dt%H%M%S");
    let own = format!("{}/{at_unix_ms}/{}", settings.process.instance, std::process::id());
    let own = Digest::of(own.as_bytes()).to_hex();
    let name = format!("{time}-{}", own.get(..8).unwrap_or_default());
    RunId::parse(&name).expect("digits and a few of the letters that a name may have")
}
