//! When faults may be, and which are there now: storms with quiet between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use modelcast_testcontainers::history::{Event, Recorder};

/// Faults for so long, then nothing for so long.
const STORM: Duration = Duration::from_secs(45);
const QUIET: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What everybody who makes faults shares.
pub(crate) struct Storm {
    began: Instant,
    over: AtomicBool,
    recorder: Recorder,
    now: Mutex<BTreeMap<String, String>>,
}

impl Storm {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { began: Instant::now(), over: AtomicBool::new(false), recorder, now: Mutex::default() }
    }

    /// Ends all storms.
    pub(crate) fn end(&self) {
        self.over.store(true, Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long the storm goes on; none while it is quiet.
    pub(crate) fn left(&self) -> Option<Duration> {
        let cycle = (STORM + QUIET).as_millis();
        let into =
            Duration::from_millis(u64::try_from(self.elapsed().as_millis() % cycle).unwrap_or_default());
        STORM.checked_sub(into).filter(|left| !self.is_over() && !left.is_zero())
    }

    /// Waits, at most until the storm ends; says whether it goes on.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until && self.left().is_some() {
            std::thread::park_timeout(LOOK_EVERY);
        }
        self.left().is_some()
    }

    /// Waits for a storm; says whether there is one, and not the end.
    pub(crate) fn begins(&self) -> bool {
        while !self.is_over() && self.left().is_none() {
            std::thread::park_timeout(LOOK_EVERY);
        }
        !self.is_over()
    }

    /// Writes down a fault, and shows it until [`ended`](Self::ended).
    pub(crate) fn strikes(&self, kind: &str, target: &str, detail: &str) -> anyhow::Result<()> {
        let (kind_, target_, detail_) = (kind.to_owned(), target.to_owned(), detail.to_owned());
        self.recorder.record(Event::Fault { kind: kind_, target: target_, detail: detail_ })?;
        self.now().insert(target.to_owned(), kind.to_owned());
        Ok(())
    }

    pub(crate) fn ended(&self, target: &str) {
        self.now().remove(target);
    }

    /// What there is now, for people.
    pub(crate) fn shown(&self) -> String {
        let now = self.now();
        let faults: Vec<_> = now.iter().map(|(target, kind)| format!("{kind} {target}")).collect();
        if faults.is_empty() { "quiet".to_owned() } else { faults.join(", ") }
    }

    /// Writes down that nothing is done to anybody any more.
    pub(crate) fn healed(&self) -> anyhow::Result<()> {
        Ok(self.recorder.record(Event::Healed)?)
    }

    fn now(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
