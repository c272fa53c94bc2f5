//! Where the serving model lives, and how it is replaced under traffic.
//!
//! Reads are wait-free and allocate nothing: one `ArcSwapOption`. What is replaced goes to a reaper thread, which
//! drops it once no reader holds it: no request ever frees a model.
//!
//! # Invariants
//! * The slot takes [`LoadedModel`]s only, so nothing gets in that did not pass admission.
//! * At most two models are resident: the serving one and the one just replaced. [`ModelSlot::make_room`] ends when
//!   the latter is really gone.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use arc_swap::ArcSwapOption;

use crate::loaded::LoadedModel;

/// How often the reaper looks whether the last reader is gone.
const REAP_EVERY: Duration = Duration::from_millis(2);

/// Holds the model that serves, and the one that served before.
pub struct ModelSlot {
    serving: ArcSwapOption<LoadedModel>,
    /// Kept so that a rollback is a pointer swap; nobody predicts with it.
    previous: Mutex<Option<Arc<LoadedModel>>>,
    reaper: mpsc::Sender<Arc<LoadedModel>>,
}

impl ModelSlot {
    /// An empty slot with a reaper thread of its own; the thread ends with the slot.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> std::io::Result<Self> {
        let (reaper, doomed) = mpsc::channel();
        thread::Builder::new().name("modelcast-reaper".into()).spawn(move || reap(&doomed))?;
        Ok(Self { serving: ArcSwapOption::empty(), previous: Mutex::new(None), reaper })
    }

    /// The snapshot that one request uses from start to end. Wait-free; do not keep it longer than the request.
    #[must_use]
    pub fn load(&self) -> Option<Arc<LoadedModel>> {
        self.serving.load_full()
    }

    /// Makes a model the serving one. The one before stays resident until [`make_room`](Self::make_room).
    pub(crate) fn swap(&self, next: Arc<LoadedModel>) {
        let digest = next.digest();
        let Some(old) = self.serving.swap(Some(next)) else { return };
        if old.digest() == digest {
            self.doom(old); // another generation of the same model: only the small wrapper goes
            return;
        }
        let mut previous = self.previous.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = previous.replace(old) {
            self.doom(older);
        }
    }

    /// The model that served before, if it is still resident and is the one asked for.
    #[cfg(feature = "kafka")]
    pub(crate) fn resident(&self, wanted: modelcast_protocol::Digest) -> Option<Arc<LoadedModel>> {
        let serving = self.serving.load_full();
        let previous = self.previous.lock().unwrap_or_else(PoisonError::into_inner).clone();
        [serving, previous].into_iter().flatten().find(|model| model.digest() == wanted)
    }

    /// Lets go of the model that served before and waits until its memory is free, before the next one is decoded.
    ///
    /// Gives `false` when a reader still holds it at the deadline. Blocks: not for the runtime's threads.
    #[cfg(feature = "kafka")]
    pub(crate) fn make_room(&self, deadline: Duration) -> bool {
        let previous = self.previous.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(previous) = previous else { return true };
        let until = std::time::Instant::now() + deadline;
        while previous.core_holders() > 1 || Arc::strong_count(&previous) > 1 {
            if std::time::Instant::now() >= until {
                self.doom(previous);
                return false;
            }
            pause();
        }
        drop(previous);
        true
    }

    fn doom(&self, model: Arc<LoadedModel>) {
        // The reaper lives as long as the sender; were it gone, dropping here would still be correct.
        drop(self.reaper.send(model));
    }
}

/// Drops each model once no reader holds it.
fn reap(doomed: &mpsc::Receiver<Arc<LoadedModel>>) {
    let mut waiting: Vec<Arc<LoadedModel>> = Vec::new();
    loop {
        let next = if waiting.is_empty() {
            doomed.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            doomed.recv_timeout(REAP_EVERY)
        };
        match next {
            Ok(model) => waiting.push(model),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        waiting.retain(|model| Arc::strong_count(model) > 1);
    }
}

/// Waits a moment on a thread that may block; not a wait for luck: the caller looks at a state and has a deadline.
#[cfg(feature = "kafka")]
fn pause() {
    thread::park_timeout(REAP_EVERY);
}
