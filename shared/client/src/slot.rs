//! Where the serving model lives, and how it is replaced under traffic.
//!
//! Reads are wait-free and allocate nothing: one `ArcSwapOption`. What is replaced goes to a reaper thread, which
//! drops it once no reader holds it: no request ever frees a model.
//!
//! # Invariants
//! * The slot takes [`LoadedModel`]s only, so nothing gets into a subscriber's slot that did not pass admission.
//! * At most two models are resident under a subscriber: the serving one, and either the one just replaced or the
//!   next. `make_room` says yes only when every model but the serving one has left memory.

#[cfg(feature = "kafka")]
use std::sync::Weak;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tracing::error;

use crate::loaded::LoadedModel;
#[cfg(feature = "kafka")]
use crate::loaded::Origin;

/// How often the reaper looks whether the last reader is gone; seldom when readers take their time.
const REAP_EVERY: Duration = Duration::from_millis(2);
const REAP_AT_LEAST_EVERY: Duration = Duration::from_millis(64);

/// Holds the model that serves, and the one that served before.
pub struct ModelSlot {
    serving: ArcSwapOption<LoadedModel>,
    /// Kept so that a rollback is a pointer swap; nobody predicts with it.
    previous: Mutex<Option<Arc<LoadedModel>>>,
    /// Of the models that went through this slot, those that may still be in memory.
    #[cfg(feature = "kafka")]
    residences: Mutex<Vec<Weak<()>>>,
    reaper: mpsc::Sender<Arc<LoadedModel>>,
}

impl ModelSlot {
    /// An empty slot with a reaper thread of its own; the thread ends after the slot, with the last reader.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> std::io::Result<Self> {
        let (reaper, doomed) = mpsc::channel();
        thread::Builder::new().name("modelcast-reaper".into()).spawn(move || reap(&doomed))?;
        Ok(Self {
            serving: ArcSwapOption::empty(),
            previous: Mutex::new(None),
            #[cfg(feature = "kafka")]
            residences: Mutex::default(),
            reaper,
        })
    }

    /// The snapshot that one request uses from start to end. Wait-free; do not keep it longer than the request: the
    /// next version is not decoded while a model that was replaced is still held.
    #[must_use]
    pub fn load(&self) -> Option<Arc<LoadedModel>> {
        self.serving.load_full()
    }

    /// Makes a model the serving one. The one before stays resident until there must be room for the next.
    pub(crate) fn swap(&self, next: Arc<LoadedModel>) {
        #[cfg(feature = "kafka")]
        self.register(&next);
        let digest = next.digest();
        let Some(old) = self.serving.swap(Some(next)) else { return };
        if old.digest() == digest {
            self.doom(old); // another generation of the same model: only the small wrapper goes
            return;
        }
        let older = self.previous().replace(old);
        older.into_iter().for_each(|older| self.doom(older));
    }

    fn previous(&self) -> std::sync::MutexGuard<'_, Option<Arc<LoadedModel>>> {
        self.previous.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doom(&self, model: Arc<LoadedModel>) {
        // The reaper lives as long as the sender; were it gone, dropping here would still be correct.
        drop(self.reaper.send(model));
    }
}

#[cfg(feature = "kafka")]
impl ModelSlot {
    /// The serving model or the one that served before, if it is the one asked for. An embedded one is not on disk:
    /// it is installed as if it were not here.
    pub(crate) fn resident(&self, wanted: modelcast_protocol::Digest) -> Option<Arc<LoadedModel>> {
        let serving = self.serving.load_full();
        let previous = self.previous().clone();
        [serving, previous]
            .into_iter()
            .flatten()
            .find(|model| model.digest() == wanted && model.origin() != Origin::Embedded)
    }

    /// Lets go of the model that served before and waits until all memory but the serving model's is free: before
    /// the next one is decoded.
    ///
    /// Gives `false` when a reader holds on to a model for longer than `patient` says. Blocks: not for the runtime's
    /// threads.
    pub(crate) fn make_room(&self, mut patient: impl FnMut() -> bool) -> bool {
        let previous = self.previous().take();
        previous.into_iter().for_each(|previous| self.doom(previous));
        while self.surplus() > 0 {
            if !patient() {
                return false;
            }
            // Not a wait for luck: the loop looks at a state, and the caller has a deadline.
            thread::park_timeout(REAP_EVERY);
        }
        true
    }

    /// Lets go of a model that will not serve after all.
    pub(crate) fn discard(&self, model: LoadedModel) {
        self.register(&model);
        self.doom(Arc::new(model));
    }

    /// Models in memory besides the serving one.
    fn surplus(&self) -> usize {
        let serving = self.serving.load_full().map(|serving| serving.residence());
        let mut residences = self.residences.lock().unwrap_or_else(PoisonError::into_inner);
        residences.retain(|residence| residence.strong_count() > 0);
        let is_serving = |residence: &&Weak<()>| serving.as_ref().is_some_and(|own| own.ptr_eq(residence));
        residences.len() - residences.iter().filter(is_serving).count()
    }

    fn register(&self, model: &LoadedModel) {
        let residence = model.residence();
        let mut residences = self.residences.lock().unwrap_or_else(PoisonError::into_inner);
        residences.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&residence));
        residences.push(residence);
    }
}

impl Drop for ModelSlot {
    fn drop(&mut self) {
        let models = [self.serving.swap(None), self.previous().take()];
        models.into_iter().flatten().for_each(|model| self.doom(model));
    }
}

/// Drops each model once no reader holds it; ends when there can be no more.
fn reap(doomed: &mpsc::Receiver<Arc<LoadedModel>>) {
    let mut waiting: Vec<Arc<LoadedModel>> = Vec::new();
    let (mut open, mut pause) = (true, REAP_EVERY);
    while open || !waiting.is_empty() {
        let next = match (open, waiting.is_empty()) {
            (true, true) => doomed.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            (true, false) => doomed.recv_timeout(pause),
            (false, _) => {
                thread::park_timeout(pause);
                Err(mpsc::RecvTimeoutError::Timeout)
            }
        };
        match next {
            Ok(model) => {
                waiting.push(model);
                pause = REAP_EVERY;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => pause = (pause * 2).min(REAP_AT_LEAST_EVERY),
            Err(mpsc::RecvTimeoutError::Disconnected) => open = false,
        }
        // Nobody can take a model up again whose last holder is this thread.
        for model in waiting.extract_if(.., |model| Arc::strong_count(model) == 1) {
            // The drop is the decoder's code: its panic must not end the reaper, or requests would free models.
            if catch_unwind(AssertUnwindSafe(|| drop(model))).is_err() {
                error!("a model panicked while it was dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests;
