//! A publish in this process that stops at a step, so that a fault strikes exactly there.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};

use modelcast::protocol::status::Phase;
use modelcast::publish::{PublishEvent, PublishedVersion};
use modelcast::{PublishError, PublishRequest, Published, Publisher};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::DEADLINE;

/// A publish that waits at a step until it is released.
pub(crate) struct Held {
    publish: JoinHandle<Result<Published, PublishError>>,
    go: mpsc::Sender<()>,
}

impl Held {
    /// Publishes up to the first event of this kind.
    pub(crate) fn at(
        runtime: &Runtime,
        publisher: &Publisher,
        request: PublishRequest,
        step: fn(&PublishEvent) -> bool,
    ) -> Self {
        let (reached, reaches) = mpsc::channel();
        let (go, goes) = mpsc::channel();
        let (first, goes) = (AtomicBool::new(true), Mutex::new(goes));
        let on_event = move |event: PublishEvent| {
            if step(&event) && first.swap(false, Relaxed) {
                reached.send(()).unwrap();
                _ = goes.lock().unwrap().recv();
            }
        };
        let publisher = publisher.clone();
        let publish = runtime.spawn(async move { publisher.publish(request, Arc::new(on_event)).await });
        if reaches.recv_timeout(DEADLINE).is_err() {
            panic!("the step was not reached: {:?}", runtime.block_on(publish));
        }
        Self { publish, go }
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        self.go.send(()).unwrap();
    }

    /// What becomes of it.
    pub(crate) fn outcome(self, runtime: &Runtime) -> Result<Published, PublishError> {
        drop(self.go);
        runtime.block_on(self.publish).unwrap()
    }
}

/// All is read back; the announcement is the next record to be sent.
pub(crate) fn before_announcing(event: &PublishEvent) -> bool {
    matches!(event, PublishEvent::ReadBack(Phase::Tested))
}

/// The version that was committed.
pub(crate) fn committed(outcome: Result<Published, PublishError>) -> PublishedVersion {
    match outcome {
        Ok(Published::Committed(published)) => *published,
        other => panic!("not committed: {other:?}"),
    }
}
