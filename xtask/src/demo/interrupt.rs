//! Ctrl-C, SIGTERM and SIGHUP as something that every wait of the demo looks at.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Whether the demo was asked to end. Copies see the same.
#[derive(Clone, Default)]
pub(super) struct Interrupt {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Interrupt {
    /// Takes over the process's signals.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || handler.set()).context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// Asks whoever waits to end.
    pub(super) fn set(&self) {
        *self.lock() = true;
        self.shared.1.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Waits, and says whether the demo is to end: earlier than `time` if that comes up.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut is_set = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if *is_set || left.is_zero() {
                return *is_set;
            }
            let (guard, _) = self.shared.1.wait_timeout(is_set, left).unwrap_or_else(PoisonError::into_inner);
            is_set = guard;
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_time_or_when_interrupted() {
        let interrupt = Interrupt::default();
        assert!(!interrupt.wait(Duration::from_millis(1)));
        let other = interrupt.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(600)));
        interrupt.set();
        assert!(waiter.join().unwrap());
        assert!(interrupt.wait(Duration::from_secs(600)));
    }
}
