//! Whether a request is short enough to be answered on the runtime's own threads.
//!
//! Learns from each answer how long a byte of a request takes, parsing and predicting together, so that neither a
//! slow model nor a large body holds up other connections.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Work that takes longer leaves the runtime.
const SHORT_NANOS: u64 = 500_000;
/// Assumed until measured: what an unoptimised build takes for the JSON alone.
const FIRST_NANOS_PER_BYTE: u64 = 100;
/// Share of a new measurement in the estimate, as a power of two: an eighth.
const SHARE_SHIFT: u32 = 3;

/// An estimate of nanoseconds per byte of a request, shared between threads.
#[derive(Debug)]
pub struct Pace(AtomicU64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU64::new(FIRST_NANOS_PER_BYTE))
    }
}

impl Pace {
    /// Whether a request of that size is expected to be short.
    #[must_use]
    pub fn is_short(&self, body_bytes: usize) -> bool {
        let bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        bytes.saturating_mul(self.0.load(Relaxed)) <= SHORT_NANOS
    }

    /// Takes in how long a request took. Two at once may lose one measurement: it is an estimate.
    pub fn measured(&self, body_bytes: usize, took: Duration) {
        let bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX).max(1);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / bytes;
        let before = self.0.load(Relaxed);
        let after = before - (before >> SHARE_SHIFT) + (nanos >> SHARE_SHIFT);
        self.0.store(after.max(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_model_leaves_the_runtime_and_a_fast_one_comes_back() {
        let pace = Pace::default();
        assert!(pace.is_short(1_000) && !pace.is_short(100_000));
        for _ in 0..8 {
            pace.measured(1_000, Duration::from_millis(4));
        }
        assert!(!pace.is_short(1_000));
        for _ in 0..64 {
            pace.measured(1_000, Duration::from_micros(10));
        }
        assert!(pace.is_short(1_000));
        pace.measured(0, Duration::MAX);
        assert!(!pace.is_short(usize::MAX));
    }
}
