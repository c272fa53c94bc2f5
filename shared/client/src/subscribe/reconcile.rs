//! The loop of one model: look at what is wanted, and make it so.
//!
//! Level-triggered: it looks at the state, not at the message that woke it, and a newer wanted state cancels the work
//! on an older one. Touches neither disk nor network itself: that is the installer's, on a thread that may block.
//!
//! # Invariants
//! * A generation is remembered on disk before anything is done because of it, and never falls.
//! * What is swapped in is wanted by the newest announcement that was told.
//! * A rejection holds for its manifest until somebody asks for a retry; what was serving goes on serving.
//! * An instance that does not run what it should says why.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use modelcast_protocol::{
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
use tracing::{debug, error, info, warn};

use super::{
    install::{InstallError, Installer, Order, Outcome},
    news::ModelNews,
    verdicts::{Retry, Verdicts},
};
use crate::{
    clock,
    fetch::FetchError,
    live::{LiveModel, Rejection},
    loaded::{LoadedModel, Origin},
};

/// How long an orderly end waits for the work that was begun.
const END_DEADLINE: Duration = Duration::from_secs(4);

/// One model's loop.
pub(crate) struct Reconciler {
    live: LiveModel,
    identity: Identity,
    news: watch::Receiver<ModelNews>,
    retries: watch::Receiver<u64>,
    /// At rest here, or on a blocking thread.
    installer: Option<Box<Installer>>,
    held: Option<Held>,
    verdicts: Verdicts,
    /// Whether the crashes on disk are still to be forgotten.
    forgive: bool,
    /// Said until the process ends: that the log went on without what was seen.
    forked: Option<String>,
    /// Why generations cannot be remembered.
    disk: Option<String>,
    /// Why the embedded version does not serve, if it was to and cannot.
    resort: Option<String>,
    /// Whether there was no news when the loop last looked.
    cut_off: bool,
}

/// An order that is being carried out.
struct Job {
    work: JoinHandle<(Box<Installer>, Order, Outcome)>,
    cancelled: Arc<AtomicBool>,
    entry: Option<VersionEntry>,
}

type Done = Result<(Box<Installer>, Order, Outcome), tokio::task::JoinError>;

impl Reconciler {
    pub(crate) fn new(installer: Installer, identity: Identity, news: watch::Receiver<ModelNews>) -> Self {
        let held = installer.show_held();
        let live = installer.live.clone();
        let verdicts = Verdicts::after(&installer.cache.crashes());
        let (retries, resort) = (live.retries(), installer.resort.clone());
        let installer = Some(Box::new(installer));
        Self {
            live,
            identity,
            news,
            retries,
            installer,
            held,
            verdicts,
            forgive: false,
            forked: None,
            disk: None,
            resort,
            cut_off: false,
        }
    }

    /// Runs until `stop`, or until nobody tells news any more.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mark = self.installer.as_ref().map(|installer| installer.cache.mark());
        let mut job: Option<Job> = None;
        loop {
            job = self.look(job);
            tokio::select! {
                changed = self.news.changed() => if changed.is_err() { break },
                asked = self.retries.changed() => if asked.is_ok() { self.retry() },
                () = until(self.verdicts.next_retry()) => self.verdicts.end_wait(),
                done = finished(job.as_mut()) => {
                    job = None;
                    if !self.finish(done) { return }
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let Some(mut job) = job else { return };
        job.cancelled.store(true, Relaxed);
        if tokio::time::timeout(END_DEADLINE, &mut job.work).await.is_err() {
            // A decoder is at work and cannot be interrupted. That the process ends meanwhile is not its fault.
            if let Some(Err(error)) = async { Some(tokio::fs::remove_file(mark?).await) }.await {
                debug!(model = %self.live.name(), %error, "the mark of a decoder is not removed");
            }
        }
    }

    /// Looks at what is wanted: begins the work when nobody is at it, cancels work that is not wanted any more.
    fn look(&mut self, job: Option<Job>) -> Option<Job> {
        let news = self.news.borrow_and_update().clone();
        if std::mem::replace(&mut self.cut_off, news.trouble.is_some()) && !self.cut_off {
            self.verdicts.try_now(); // Kafka is back
        }
        let followed = self.followed(&news);
        let wanted = followed.as_deref().and_then(|in_force| self.wanted(in_force));
        self.show_wanted(followed.as_deref(), wanted.as_ref());
        let entry = wanted.map(|(entry, _)| entry);
        let job = match (job, followed) {
            (Some(job), followed) => {
                let is_wanted = |own: &VersionEntry| {
                    followed.is_none() || entry.as_ref().is_some_and(|entry| entry.manifest == own.manifest)
                };
                job.cancelled.store(!job.entry.as_ref().is_none_or(is_wanted), Relaxed);
                Some(job)
            }
            (None, Some(in_force)) => self.decide(in_force, entry),
            (None, None) => None,
        };
        self.show_warnings(&news);
        job
    }

    /// Begins what there is to do.
    fn decide(&mut self, in_force: Arc<InForce>, entry: Option<VersionEntry>) -> Option<Job> {
        let install = match entry {
            Some(entry) => (!self.serves(&entry, &in_force) && !self.holds_up(&entry)).then_some(entry),
            None => {
                self.rest();
                None
            }
        };
        let nothing = install.is_none() && self.held == Some(in_force.held()) && !self.forgive;
        if nothing || self.verdicts.all_wait() {
            return None;
        }
        self.begin(in_force, install)
    }

    /// What this instance should run, if this program understands the announcement.
    fn wanted(&self, in_force: &InForce) -> Option<(VersionEntry, Role)> {
        let state = in_force.announcement.body.as_ref().ok()?;
        let wanted = resolve(self.live.name(), state, &self.identity)?;
        Some((wanted.entry.clone(), wanted.role))
    }

    /// The announcement to follow, when the end of the log was reached and no history was lost.
    fn followed(&self, news: &ModelNews) -> Option<Arc<InForce>> {
        let in_force = news.in_force.clone().filter(|_| news.complete)?;
        (continuity(self.held, Some(&in_force)) != Continuity::Lost).then_some(in_force)
    }

    fn begin(&mut self, in_force: Arc<InForce>, entry: Option<VersionEntry>) -> Option<Job> {
        let mut installer = self.installer.take()?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let forgive = std::mem::take(&mut self.forgive);
        if entry.as_ref().is_some_and(|entry| self.live.slot().resident(entry.manifest).is_none()) {
            self.live.update(|state| state.phase = Phase::Seen);
        }
        let order = Order { in_force, entry: entry.clone(), forgive, cancelled: Arc::clone(&cancelled) };
        let work = tokio::task::spawn_blocking(move || {
            let outcome = installer.carry_out(&order);
            (installer, order, outcome)
        });
        Some(Job { work, cancelled, entry })
    }

    /// Whether the wanted version serves, at the generation that wants it.
    fn serves(&self, entry: &VersionEntry, in_force: &InForce) -> bool {
        let serves = self.live.load().is_some_and(|serving| {
            // An embedded version is not on disk: a restart could not go back to it as one that was live.
            let installed = serving.origin() != Origin::Embedded;
            installed && serving.digest() == entry.manifest && serving.generation() == in_force.generation()
        });
        if serves {
            self.live.update(|state| state.phase = Phase::Live);
        }
        serves
    }

    /// Whether the wanted version was rejected, or could not be had just now.
    fn holds_up(&mut self, entry: &VersionEntry) -> bool {
        // What is in memory was admitted: another generation of it needs no new verdict.
        if self.live.slot().resident(entry.manifest).is_none()
            && let Some(rejection) = self.verdicts.rejection(entry.manifest)
        {
            self.verdicts.end_trouble();
            self.reject(rejection);
            return true;
        }
        self.verdicts.waits(entry.manifest)
    }

    /// Nothing is wanted that this program understands: it is not on its way anywhere.
    fn rest(&self) {
        self.live.update(|state| {
            state.phase = if state.served.is_some() { Phase::Live } else { Phase::Waiting };
        });
    }

    /// Takes in what became of a job. Gives `false` when the installer is lost: then this loop must be built anew.
    fn finish(&mut self, done: Done) -> bool {
        let (installer, order, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                error!(model = %self.live.name(), %error, "installing a version ended unexpectedly");
                return false;
            }
        };
        self.installer = Some(installer);
        let held = order.in_force.held();
        if let Outcome::NotRemembered(error) = &outcome {
            error!(model = %self.live.name(), %error, "cannot remember the generation, so it is not followed");
            self.disk =
                Some(format!("the state folder cannot be written, so nothing new is followed: {error}"));
            self.verdicts.wait_with_all();
            return true;
        }
        self.disk = None;
        if self.held != Some(held) {
            if continuity(self.held, Some(&order.in_force)) == Continuity::Forked {
                let generation = held.generation;
                self.forked = Some(format!(
                    "history forked at generation {generation}: the log went on without what was seen"
                ));
            }
            self.held = Some(held);
        }
        match (order.entry, outcome) {
            (Some(_), Outcome::Loaded(loaded)) => self.swap(*loaded),
            (Some(entry), Outcome::Failed(error)) => self.fail(&entry, error),
            _ => {}
        }
        true
    }

    fn fail(&mut self, entry: &VersionEntry, error: InstallError) {
        let (model, version, manifest) = (self.live.name(), entry.version, entry.manifest);
        match error {
            InstallError::Fetch(FetchError::Cancelled) => {}
            InstallError::Fetch(FetchError::Refused(refused)) if refused.stage == Stage::Fetch => {
                warn!(%model, %version, cause = refused.cause, "version not to be had, looking again later");
                let text = format!("version {version} is not to be had: {}", refused.cause);
                let new = self.verdicts.trouble() != Some(&text);
                self.verdicts.wait(Retry::Late, manifest, text);
                let (stage, cause, at_unix_ms) = (refused.stage, refused.cause, clock::unix_ms());
                self.reject((Rejection { version, manifest, stage, cause, at_unix_ms }, new));
            }
            InstallError::Fetch(FetchError::Refused(refused)) => {
                warn!(%model, %version, stage = %refused.stage, cause = refused.cause, "version rejected");
                let at_unix_ms = clock::unix_ms();
                let (stage, cause) = (refused.stage, refused.cause);
                self.verdicts.reject(Rejection { version, manifest, stage, cause, at_unix_ms });
            }
            error @ (InstallError::Fetch(FetchError::Kafka(_) | FetchError::Store(_))
            | InstallError::NoRoom) => {
                warn!(%model, %version, %error, "version not installed, trying again");
                let text = format!("version {version} is not installed yet: {error}");
                self.verdicts.wait(Retry::Soon, manifest, text);
            }
        }
    }

    /// Makes a version the serving one, unless something else came to be wanted while it was loaded.
    fn swap(&mut self, loaded: LoadedModel) {
        let news = self.news.borrow().clone();
        let newest = self.followed(&news);
        let wanted = newest.as_deref().and_then(|newest| self.wanted(newest));
        if newest.is_some() && wanted.as_ref().is_none_or(|(entry, _)| entry.manifest != loaded.digest()) {
            info!(model = %self.live.name(), version = %loaded.version(), "version not wanted any more");
            self.live.slot().discard(loaded);
            return;
        }
        let (version, generation, digest) = (loaded.version(), loaded.generation(), loaded.digest().short());
        self.verdicts.end_trouble();
        // It may be wanted by news that came while it was loaded for older ones.
        self.show_wanted(newest.as_deref(), wanted.as_ref());
        self.live.serve(Arc::new(loaded));
        info!(model = %self.live.name(), %version, %generation, digest, "model live");
    }

    /// Somebody asked for another try.
    fn retry(&mut self) {
        self.verdicts.forgive();
        self.forgive = true;
    }

    /// Shows a rejection as long as it keeps the wanted version from being served; counts it once.
    fn reject(&self, (rejection, new): (Rejection, bool)) {
        let (stage, cause) = (rejection.stage, rejection.cause.clone());
        self.live.update(|state| {
            if new {
                state.remember(rejection);
            }
            state.phase = Phase::Refused { stage, cause };
        });
    }

    /// What serves is live only of a version that is wanted: any other is on its way from the moment it is wanted.
    fn show_wanted(&self, followed: Option<&InForce>, wanted: Option<&(VersionEntry, Role)>) {
        let before = self.live.state();
        let state = followed.and_then(|in_force| in_force.announcement.body.as_ref().ok());
        let resolved = state.and_then(|state| resolve(self.live.name(), state, &self.identity));
        self.live.update(|state| {
            if let Some((entry, role)) = wanted {
                let version = StatusVersion { version: entry.version, manifest: entry.manifest };
                state.wanted = Some((version, *role));
                state.pin = resolved.and_then(|resolved| resolved.pin).cloned();
                state.cohort = resolved.and_then(|resolved| resolved.cohort).cloned();
                let serves = state.served.is_some_and(|served| served.manifest == entry.manifest);
                if state.phase == Phase::Live && !serves {
                    state.phase = Phase::Seen;
                }
            }
            // What is said to be seen must still be known after a restart: it is said once it is remembered.
            if let Some(held) = followed.map(InForce::held).filter(|held| self.held == Some(*held)) {
                (state.generation_seen, state.announcement_seen) = (held.generation, Some(held.digest));
            }
        });
        let now = self.live.state();
        if let (Some((entry, _)), Some(in_force)) = (wanted, followed)
            && (now.wanted, now.why()) != (before.wanted, before.why())
        {
            let (version, generation, why) = (entry.version, in_force.generation(), now.why());
            info!(model = %self.live.name(), %version, %generation, why, "version wanted");
        }
    }

    /// Shows what a person should know; says once what nobody said before.
    fn show_warnings(&self, news: &ModelNews) {
        let mut warnings = self.doubts(news);
        let before = self.live.state().warnings;
        for warning in warnings.iter().filter(|warning| !before.contains(warning)) {
            warn!(model = %self.live.name(), warning, "the history is in doubt; what serves goes on serving");
        }
        warnings.extend(news.trouble.as_ref().map(|trouble| format!("no news: {trouble}")));
        warnings.extend(news.unverified.as_ref().map(|unverified| {
            let (generation, offset) = (unverified.generation, unverified.offset);
            format!("generation {generation} at offset {offset} is not verified: {}", unverified.cause)
        }));
        warnings.extend(self.disk.clone());
        warnings.extend(self.resort());
        warnings.extend(self.verdicts.trouble().map(str::to_owned));
        self.live.update(|state| state.warnings = warnings);
    }

    /// That what serves is what the application carries with it, or why that does not.
    fn resort(&self) -> Option<String> {
        let Some(serving) = self.live.load() else { return self.resort.clone() };
        (serving.origin() == Origin::Embedded).then(|| {
            let (version, generation) = (serving.version(), serving.generation());
            let until = match self.live.news_age() {
                None => "Kafka was never reached",
                Some(_) => "what Kafka wants is not installed yet",
            };
            format!(
                "embedded: version {version} of generation {generation} serves as the last resort; {until}"
            )
        })
    }

    /// Why the announcement at the end of the log is not simply followed.
    fn doubts(&self, news: &ModelNews) -> Vec<String> {
        let in_force = news.in_force.as_deref();
        let mut doubts: Vec<String> = self.forked.iter().cloned().collect();
        if news.complete && continuity(self.held, in_force) == Continuity::Lost {
            doubts.push(format!(
                "history lost: generation {} was seen, the log has {}",
                self.held.map_or(0, |held| held.generation.get()),
                in_force.map_or(0, |in_force| in_force.generation().get()),
            ));
        }
        if let Some(Err(error)) = in_force.map(|in_force| &in_force.announcement.body) {
            doubts.push(format!("announcement not understood: {error}"));
        }
        doubts
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Nobody waits for it: it should not go on fetching.
        self.cancelled.store(true, Relaxed);
    }
}

async fn finished(job: Option<&mut Job>) -> Done {
    match job {
        Some(job) => (&mut job.work).await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
