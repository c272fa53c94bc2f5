//! What the stories stand on: built programs, further processes of the test binary, a workplace for each test, HTTP
//! clients, a signer that lies.
//!
//! No test is in here.
//!
//! # Invariants
//! * Whatever is waited for has a deadline.
//! * Each test has a namespace, keys and folders of its own.
//! * A program that was started ends with its handle.

pub(crate) mod app;
pub(crate) mod bulk;
pub(crate) mod flow;
pub(crate) mod held;
pub(crate) mod linear;
pub(crate) mod part;
pub(crate) mod programs;
pub(crate) mod python;
pub(crate) mod records;
pub(crate) mod scene;
pub(crate) mod secured;
pub(crate) mod signer;
pub(crate) mod topics;
pub(crate) mod toy;
pub(crate) mod zones;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modelcast_testcontainers::wait_until_blocking;

pub(crate) use modelcast_testcontainers::DEADLINE;

/// Looks until there is something.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, look)
}

/// Looks until there is something, for so long at most.
pub(crate) fn wait_within<T>(within: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_within(within, look).unwrap_or_else(|| panic!("waited {within:?} for {what}"))
}

/// The same, for tests that have more to say when there is nothing.
pub(crate) fn look_within<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    wait_until_blocking("", within, || look().ok_or("nothing")).ok()
}

/// Runs what is async; the subscribers of a test need threads while the test itself waits.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// One at a time: what takes the whole machine, and what is bound to a time on a machine that is not taken.
pub(crate) fn whole_machine() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
