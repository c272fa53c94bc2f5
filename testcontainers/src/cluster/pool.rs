//! The clusters of a test binary, each for one test at a time.
//!
//! # Invariants
//! * A turn ends with its guard, also when its test panics.
//! * A second cluster is started only when two tests want one at once.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Cluster;
use crate::error::{Error, describe};

/// As many as two processors bear: their tests wait for brokers more than they compute.
const AT_ONCE: usize = 2;

static POOL: [Place; AT_ONCE] =
    [const { Place { taken: AtomicBool::new(false), cluster: OnceLock::new() } }; AT_ONCE];
/// Held while a place is looked for or given back.
static LOOK: Mutex<()> = Mutex::new(());
static FREED: Condvar = Condvar::new();

struct Place {
    taken: AtomicBool,
    cluster: OnceLock<Result<Cluster, Error>>,
}

/// A cluster of this test binary, for one test at a time.
pub struct ClusterGuard {
    cluster: &'static Cluster,
    _turn: Turn,
}

impl ClusterGuard {
    /// Waits for a cluster that nobody has, starts it if it is the first time, and mends what is broken.
    pub(crate) fn take() -> Self {
        let turn = Turn::take();
        let whole = turn.0.cluster.get_or_init(Cluster::start).as_ref();
        match whole.map(|cluster| (cluster, cluster.heal())) {
            Ok((cluster, Ok(()))) => Self { cluster, _turn: turn },
            Ok((_, Err(error))) => panic!("{}", describe(&error)),
            Err(error) => panic!("{}", describe(error)),
        }
    }
}

impl Deref for ClusterGuard {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

/// A place that nobody else has meanwhile.
struct Turn(&'static Place);

impl Turn {
    fn take() -> Self {
        let mut look = look();
        loop {
            if let Some(place) = POOL.iter().find(|place| !place.taken.swap(true, SeqCst)) {
                return Self(place);
            }
            look = FREED.wait(look).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _look = look();
        self.0.taken.store(false, SeqCst);
        FREED.notify_one();
    }
}

fn look() -> MutexGuard<'static, ()> {
    LOOK.lock().unwrap_or_else(PoisonError::into_inner)
}
