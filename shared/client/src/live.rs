//! The handle of one live model: what an application holds on to.
//!
//! Gives the snapshot to predict with, the state to watch, and the counters to report. Fetching and admitting is
//! the subscriber's; a handle made by [`LiveModel::fixed`] has none, so that an application's own tests need no Kafka.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use modelcast_protocol::{
    Digest, Generation, ModelName, Version,
    desired::{Cohort, Pin},
    resolve::Role,
    status::{Phase, Served, Stage, StatusVersion},
};
use tokio::sync::watch;

use crate::{clock, loaded::LoadedModel, slot::ModelSlot, traffic::Traffic};

/// Most rejections that a state remembers, newest last.
#[cfg(feature = "kafka")]
const REJECTIONS_KEPT: usize = 16;

/// A model that is swapped while it serves; cheap to clone.
#[derive(Clone)]
pub struct LiveModel {
    inner: Arc<Inner>,
}

struct Inner {
    name: ModelName,
    kind: Kind,
    slot: ModelSlot,
    traffic: Traffic,
    state: watch::Sender<ModelState>,
    started: Instant,
    /// Milliseconds since `started` at which the log was last heard of, plus one; 0 is never.
    news: AtomicU64,
    retries: watch::Sender<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fixed,
    Subscribed,
}

/// What a subscriber does with a model right now.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelState {
    /// Where it stands with the wanted version.
    pub phase: Phase,
    /// What this instance should run, and why.
    pub wanted: Option<(StatusVersion, Role)>,
    /// The pin that holds this instance on it, where that is why: whom, who, why, when.
    pub pin: Option<Pin>,
    /// The challenger's cohort that picks this instance, where that is why.
    pub cohort: Option<Cohort>,
    /// What it serves.
    pub served: Option<Served>,
    /// Generation of the announcement in force that was seen last.
    pub generation_seen: Generation,
    /// Digest of that announcement.
    pub announcement_seen: Option<Digest>,
    /// Versions swapped in since the start of the process.
    pub swaps: u64,
    /// Versions rejected since the start of the process, by stage.
    pub rejections_total: BTreeMap<Stage, u64>,
    /// The last 16 different ones, newest last.
    pub rejections: Vec<Rejection>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A version that was not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its number.
    pub version: Version,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// The check that refused it.
    pub stage: Stage,
    /// The cause.
    pub cause: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
}

impl LiveModel {
    /// A model that never changes by itself: for unit tests of an application, without Kafka.
    ///
    /// # Errors
    /// When the system gives no thread for the slot's reaper.
    pub fn fixed(model: LoadedModel) -> std::io::Result<Self> {
        let live = Self::new(model.name().clone(), Kind::Fixed)?;
        live.serve(Arc::new(model));
        Ok(live)
    }

    /// A handle that [`fixed`](Self::fixed) would give, before its first model: nothing is live yet.
    ///
    /// # Errors
    /// When the system gives no thread for the slot's reaper.
    pub fn waiting(name: ModelName) -> std::io::Result<Self> {
        Self::new(name, Kind::Fixed)
    }

    /// Swaps another model into a handle that [`fixed`](Self::fixed) made: for tests of what a swap does to an
    /// application. Gives the model back where a subscriber owns the slot.
    ///
    /// # Errors
    /// The model, unchanged, when this handle belongs to a subscriber.
    pub fn replace_fixed(&self, model: LoadedModel) -> Result<(), LoadedModel> {
        if self.inner.kind == Kind::Subscribed {
            return Err(model);
        }
        self.serve(Arc::new(model));
        Ok(())
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn subscribed(name: ModelName) -> std::io::Result<Self> {
        Self::new(name, Kind::Subscribed)
    }

    fn new(name: ModelName, kind: Kind) -> std::io::Result<Self> {
        let inner = Inner {
            name,
            kind,
            slot: ModelSlot::new()?,
            traffic: Traffic::default(),
            state: watch::Sender::new(ModelState::default()),
            started: Instant::now(),
            news: AtomicU64::new(0),
            retries: watch::Sender::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &ModelName {
        &self.inner.name
    }

    /// The snapshot that one request uses from start to end; `None` until a model was admitted. Wait-free.
    #[must_use]
    pub fn load(&self) -> Option<Arc<LoadedModel>> {
        self.inner.slot.load()
    }

    /// The state as it is now.
    #[must_use]
    pub fn state(&self) -> ModelState {
        self.inner.state.borrow().clone()
    }

    /// A watch of the state: swaps, rejections, phases. A slow watcher sees the latest state, not each one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ModelState> {
        self.inner.state.subscribe()
    }

    /// The counters; the application counts what it answers.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.inner.traffic
    }

    /// How long ago the log was last heard of; `None` when never, and for a fixed model.
    #[must_use]
    pub fn news_age(&self) -> Option<Duration> {
        let millis = self.inner.news.load(Relaxed).checked_sub(1)?;
        Some(self.inner.started.elapsed().saturating_sub(Duration::from_millis(millis)))
    }

    /// Tries the wanted version again although it was rejected.
    pub fn retry(&self) {
        self.inner.retries.send_modify(|count| *count += 1);
    }

    pub(crate) fn serve(&self, model: Arc<LoadedModel>) {
        let served = Served {
            version: model.version(),
            manifest: model.digest(),
            generation: model.generation(),
            since_unix_ms: clock::unix_ms(),
        };
        self.inner.slot.swap(model);
        // The slot first: "live" is said only after the swap.
        self.inner.state.send_modify(|state| {
            let new = state.served.is_none_or(|before| before.manifest != served.manifest);
            let since_unix_ms =
                state.served.filter(|_| !new).map_or(served.since_unix_ms, |before| before.since_unix_ms);
            state.swaps += u64::from(new);
            state.served = Some(Served { since_unix_ms, ..served });
            state.phase = Phase::Live;
        });
    }
}

#[cfg(feature = "kafka")]
impl LiveModel {
    pub(crate) fn slot(&self) -> &ModelSlot {
        &self.inner.slot
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut ModelState)) {
        self.inner.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }

    pub(crate) fn heard(&self) {
        let millis = u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.inner.news.store(millis + 1, Relaxed);
    }

    pub(crate) fn retries(&self) -> watch::Receiver<u64> {
        self.inner.retries.subscribe()
    }
}

impl ModelState {
    /// Why this instance should run the version that is wanted, for people.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        let (_, role) = self.wanted?;
        Some(match (role, &self.pin, &self.cohort) {
            (Role::Pinned, Some(Pin { target, stamp, .. }), _) => {
                format!("pinned for {target} by {}: {}", stamp.author, stamp.reason)
            }
            (Role::Challenger, _, Some(cohort)) => format!("challenger for {cohort}"),
            (Role::Pinned, ..) => "pinned".to_owned(),
            (Role::Challenger, ..) => "challenger".to_owned(),
            (Role::Champion, ..) => "champion".to_owned(),
        })
    }
}

#[cfg(feature = "kafka")]
impl ModelState {
    /// Counts a rejection, and keeps it among the last; one that came again stands there once.
    pub(crate) fn remember(&mut self, rejection: Rejection) {
        *self.rejections_total.entry(rejection.stage).or_default() += 1;
        self.rejections.retain(|other| {
            (other.manifest, other.stage, &other.cause)
                != (rejection.manifest, rejection.stage, &rejection.cause)
        });
        self.rejections.push(rejection);
        let surplus = self.rejections.len().saturating_sub(REJECTIONS_KEPT);
        self.rejections.drain(..surplus);
    }
}

impl Default for ModelState {
    fn default() -> Self {
        Self {
            phase: Phase::Waiting,
            wanted: None,
            pin: None,
            cohort: None,
            served: None,
            generation_seen: Generation::ZERO,
            announcement_seen: None,
            swaps: 0,
            rejections_total: BTreeMap::new(),
            rejections: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use super::*;
    use crate::fixture::{Probe, model, version};

    fn loaded(weight: u64) -> LoadedModel {
        let policy = Arc::<Probe>::default().policy();
        let (manifest, artifact) = version("fine", weight);
        let verified = policy.accept(manifest).unwrap().with(artifact).verify().unwrap();
        let tested = verified.decode(&policy).unwrap().test().unwrap();
        tested.load(Version::new(weight).unwrap(), Generation::new(weight)).unwrap()
    }

    #[test]
    fn live_is_said_only_after_the_swap() {
        let live = LiveModel::fixed(loaded(1)).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let watcher = std::thread::spawn({
            let (live, ended) = (live.clone(), Arc::clone(&ended));
            move || {
                while !ended.load(SeqCst) {
                    // The state first: what it says serves must serve by then.
                    let said = live.state().served.unwrap().version;
                    let serves = live.load().unwrap().version();
                    assert!(serves >= said, "{said} was said, {serves} serves");
                }
            }
        });
        for weight in 2..200 {
            live.replace_fixed(loaded(weight)).unwrap();
        }
        ended.store(true, SeqCst);
        watcher.join().unwrap();
        assert_eq!((live.state().swaps, live.state().phase), (199, Phase::Live));
    }

    #[test]
    fn a_handle_that_waits_has_nothing_to_predict_with() {
        let live = LiveModel::waiting(model()).unwrap();
        assert!(live.load().is_none() && live.news_age().is_none());
        assert_eq!(live.state(), ModelState::default());
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn a_model_that_a_subscriber_owns_is_not_replaced_by_hand() {
        let live = LiveModel::subscribed(model()).unwrap();
        assert_eq!(live.replace_fixed(loaded(3)).unwrap_err().version().get(), 3);
        assert!(live.load().is_none());
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn rejections_are_counted_each_and_kept_once_each() {
        let rejection = |number: u64| Rejection {
            version: Version::new(number).unwrap(),
            manifest: Digest::of(&number.to_be_bytes()),
            stage: Stage::Golden,
            cause: "off".into(),
            at_unix_ms: number,
        };
        let mut state = ModelState::default();
        for number in [1, 2, 1] {
            state.remember(rejection(number));
        }
        let kept = |state: &ModelState| -> Vec<_> {
            state.rejections.iter().map(|rejection| rejection.version.get()).collect()
        };
        assert_eq!((kept(&state), state.rejections_total[&Stage::Golden]), (vec![2, 1], 3));
        (10..40).for_each(|number| state.remember(rejection(number)));
        assert_eq!(kept(&state), (24..40).collect::<Vec<_>>());
    }
}
