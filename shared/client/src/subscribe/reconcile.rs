//! The loop of one model: look at what is wanted, and make it so.
//!
//! Level-triggered: it looks at the state, not at the message that woke it, and a newer wanted state cancels the work
//! on an older one.
//!
//! # Invariants
//! * A generation is remembered on disk before anything is done because of it, and never falls.
//! * A rejection holds for its manifest until somebody asks for a retry; what was serving goes on serving.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use modelcast_protocol::{
    Digest,
    desired::VersionEntry,
    fold::{Continuity, Held, InForce, continuity},
    resolve::{Identity, Role, resolve},
    status::{Phase, Stage, StatusVersion},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    install::{Installer, Order},
    news::ModelNews,
};
use crate::{
    clock,
    fetch::FetchError,
    live::{LiveModel, REJECTIONS_KEPT, Rejection},
    loaded::LoadedModel,
};

/// How soon a fetch that failed is tried again.
const FETCH_RETRY: Duration = Duration::from_secs(2);
/// How soon a version whose records are missing is looked for again.
const MISSING_RETRY: Duration = Duration::from_secs(30);

/// One model's loop.
pub(crate) struct Reconciler {
    live: LiveModel,
    identity: Identity,
    news: watch::Receiver<ModelNews>,
    /// At rest here, or on a blocking thread.
    installer: Option<Box<Installer>>,
    held: Option<Held>,
    rejected: HashMap<Digest, Rejection>,
    /// When a version that could not be fetched is tried again, and which.
    retry: Option<(Instant, Digest)>,
}

type Job = JoinHandle<(Box<Installer>, Order, Result<LoadedModel, FetchError>)>;

impl Reconciler {
    pub(crate) fn new(installer: Installer, identity: Identity, news: watch::Receiver<ModelNews>) -> Self {
        let held = installer.cache.seen();
        let live = installer.live.clone();
        let mut reconciler =
            Self { live, identity, news, held, rejected: HashMap::new(), retry: None, installer: None };
        for mark in installer.cache.crashes() {
            let cause = "the process died while decoding it".to_owned();
            let (version, manifest) = (mark.version, mark.manifest);
            let rejection =
                Rejection { version, manifest, stage: Stage::Crash, cause, at_unix_ms: clock::unix_ms() };
            reconciler.rejected.insert(manifest, rejection);
        }
        reconciler.installer = Some(Box::new(installer));
        reconciler
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut retries = self.live.retries();
        let mut job: Option<(Job, Arc<AtomicBool>)> = None;
        loop {
            if let Some(order) = self.look(job.is_some()) {
                let cancelled = Arc::clone(&order.cancelled);
                if let Some(installer) = self.installer.take() {
                    job = Some((start(installer, order), cancelled));
                }
            } else if let Some((_, cancelled)) = &job {
                cancelled.store(self.is_overtaken(), Relaxed);
            }
            tokio::select! {
                changed = self.news.changed() => if changed.is_err() { break },
                asked = retries.changed() => if asked.is_ok() { self.forgive() },
                () = until(self.retry.map(|(at, _)| at)) => self.retry = None,
                done = finished(job.as_mut()) => {
                    job = None;
                    self.finish(done);
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if let Some((job, cancelled)) = job {
            cancelled.store(true, Relaxed);
            drop(job.await);
        }
    }

    /// Looks at what is wanted; gives an order when there is something to install and nobody is at it.
    fn look(&mut self, busy: bool) -> Option<Order> {
        let news = self.news.borrow_and_update().clone();
        self.warn(&news);
        if !news.complete {
            return None;
        }
        let in_force = self.follow(&news)?;
        let state = in_force.announcement.body.as_ref().ok()?;
        let wanted = resolve(self.live.name(), state, &self.identity)?;
        let (entry, role) = (wanted.entry.clone(), wanted.role);
        self.want(&entry, role, &in_force);
        if self.serves(&entry, &in_force) || self.refuses(&entry) || busy || self.waits(&entry) {
            return None;
        }
        self.live.update(|state| state.phase = Phase::Seen);
        Some(Order { entry, in_force, cancelled: Arc::new(AtomicBool::new(false)) })
    }

    /// The announcement to follow, remembered; `None` when there is none, or history was lost.
    fn follow(&mut self, news: &ModelNews) -> Option<Arc<InForce>> {
        let in_force = news.in_force.clone();
        match continuity(self.held, in_force.as_deref()) {
            Continuity::Lost => return None,
            Continuity::Same => {}
            Continuity::Forked | Continuity::Advanced => {
                let held = in_force.as_deref().map(InForce::held)?;
                // While a job has the installer, the generation is remembered when it comes back.
                let installer = self.installer.as_ref()?;
                if let Err(error) = installer.cache.remember(held) {
                    error!(model = %self.live.name(), %error, "cannot remember the generation, so it is not followed");
                    return None;
                }
                self.held = Some(held);
            }
        }
        in_force
    }

    /// Shows what is wanted.
    fn want(&self, entry: &VersionEntry, role: Role, in_force: &InForce) {
        let wanted = StatusVersion { version: entry.version, manifest: entry.manifest };
        self.live.update(|state| {
            state.wanted = Some((wanted, role));
            state.generation_seen = in_force.generation();
            state.announcement_seen = Some(in_force.announcement.digest);
        });
    }

    /// Whether the wanted version serves, swapping in one that is still in memory.
    fn serves(&mut self, entry: &VersionEntry, in_force: &Arc<InForce>) -> bool {
        let Some(resident) = self.live.slot().resident(entry.manifest) else { return false };
        let generation = in_force.generation();
        if resident.generation() == generation
            && self.live.load().is_some_and(|serving| Arc::ptr_eq(&serving, &resident))
        {
            self.live.update(|state| state.phase = Phase::Live);
            return true;
        }
        let Some(installer) = self.installer.as_ref() else { return false };
        let artifact = crate::Artifact::Memory(Vec::new()); // it is on disk already; only its announcement is new
        if installer.cache.find(entry.manifest).is_none() {
            return false;
        }
        if let Err(error) = installer.cache.keep(resident.signed_manifest(), &artifact, &in_force.bytes) {
            warn!(model = %self.live.name(), %error, "cannot keep the announcement beside its version");
        }
        self.swap(resident.at(entry.version, generation));
        true
    }

    /// Whether the wanted version was rejected.
    fn refuses(&self, entry: &VersionEntry) -> bool {
        let Some(rejection) = self.rejected.get(&entry.manifest) else { return false };
        let (stage, cause) = (rejection.stage, rejection.cause.clone());
        self.live.update(|state| {
            if !state.rejections.contains(rejection) {
                state.rejections.push(rejection.clone());
                *state.rejections_total.entry(stage).or_default() += 1;
                let surplus = state.rejections.len().saturating_sub(REJECTIONS_KEPT);
                state.rejections.drain(..surplus);
            }
            state.phase = Phase::Refused { stage, cause };
        });
        true
    }

    /// Whether the wanted version could not be fetched just now.
    fn waits(&self, entry: &VersionEntry) -> bool {
        self.retry.is_some_and(|(_, manifest)| manifest == entry.manifest)
    }

    /// Whether a running job is for something that is not wanted any more.
    fn is_overtaken(&self) -> bool {
        let news = self.news.borrow();
        let newest = news.in_force.as_deref().map(InForce::held);
        news.complete && newest != self.held
    }

    fn finish(&mut self, done: Done) {
        let (installer, order, result) = match done {
            Ok(done) => done,
            Err(error) => {
                // Only a panic outside of what admission contains; the installer with its lock is gone.
                error!(model = %self.live.name(), %error, "installing a version ended unexpectedly");
                return;
            }
        };
        self.installer = Some(installer);
        match result {
            Ok(loaded) => self.swap(loaded),
            Err(FetchError::Cancelled) => {}
            Err(FetchError::Refused(refused)) => {
                let model = self.live.name();
                warn!(%model, version = %order.entry.version, stage = %refused.stage, cause = refused.cause, "version rejected");
                let rejection = Rejection {
                    version: order.entry.version,
                    manifest: order.entry.manifest,
                    stage: refused.stage,
                    cause: refused.cause,
                    at_unix_ms: clock::unix_ms(),
                };
                let missing = rejection.stage == Stage::Fetch;
                self.rejected.insert(order.entry.manifest, rejection);
                self.refuses(&order.entry);
                if missing {
                    self.rejected.remove(&order.entry.manifest);
                    self.retry = Some((Instant::now() + MISSING_RETRY, order.entry.manifest));
                }
            }
            Err(error @ (FetchError::Kafka(_) | FetchError::Store(_))) => {
                warn!(model = %self.live.name(), version = %order.entry.version, %error, "version not fetched, trying again");
                self.retry = Some((Instant::now() + FETCH_RETRY, order.entry.manifest));
            }
        }
    }

    fn swap(&self, loaded: LoadedModel) {
        let (version, generation, digest) = (loaded.version(), loaded.generation(), loaded.digest().short());
        self.live.serve(Arc::new(loaded));
        info!(model = %self.live.name(), %version, %generation, digest, "model live");
    }

    /// Takes rejected versions into consideration again.
    fn forgive(&mut self) {
        self.rejected.clear();
        self.retry = None;
        if let Some(Err(error)) = self.installer.as_ref().map(|installer| installer.cache.forgive()) {
            warn!(model = %self.live.name(), %error, "cannot forget the crashes on disk");
        }
    }

    /// Shows what a person should know.
    fn warn(&self, news: &ModelNews) {
        let mut warnings = Vec::new();
        if let Some(trouble) = &news.trouble {
            warnings.push(format!("no news: {trouble}"));
        }
        let in_force = news.in_force.as_deref();
        if news.complete {
            match continuity(self.held, in_force) {
                Continuity::Lost => warnings.push(format!(
                    "history lost: generation {} was seen, the log has {}",
                    self.held.map_or(0, |held| held.generation.get()),
                    in_force.map_or(0, |in_force| in_force.generation().get()),
                )),
                Continuity::Forked => {
                    warnings.push("history forked: the log went on without what was seen".into())
                }
                Continuity::Same | Continuity::Advanced => {}
            }
        }
        if let Some(Err(error)) = in_force.map(|in_force| &in_force.announcement.body) {
            warnings.push(format!("announcement not understood: {error}"));
        }
        if let Some(unverified) = &news.unverified {
            let (generation, offset) = (unverified.generation, unverified.offset);
            warnings.push(format!(
                "generation {generation} at offset {offset} is not verified: {}",
                unverified.cause
            ));
        }
        let generation = in_force.map(InForce::generation);
        self.live.update(|state| {
            state.warnings = warnings;
            if let Some(generation) = generation {
                state.generation_seen = state.generation_seen.max(generation);
            }
        });
    }
}

type Done = Result<(Box<Installer>, Order, Result<LoadedModel, FetchError>), tokio::task::JoinError>;

fn start(mut installer: Box<Installer>, order: Order) -> Job {
    tokio::task::spawn_blocking(move || {
        let result = installer.install(&order);
        (installer, order, result)
    })
}

async fn finished(job: Option<&mut (Job, Arc<AtomicBool>)>) -> Done {
    match job {
        Some((job, _)) => job.await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
