//! Waiting for a state, with a deadline and with what was seen instead.
//!
//! A test that sleeps is too slow or too early; one that waits for an event misses it. These look at the state again
//! and again.
//!
//! # Invariants
//! * There is one look at least, and the error of a wait says what the last one saw.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Generous: many test binaries may be compiling beside the test.
pub const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The state did not come in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waited {within:?} for {what}; last seen: {last_seen}")]
pub struct NotYet {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub within: Duration,
    /// What was there instead at the last look that ended.
    pub last_seen: String,
}

/// When a time is over; one that no clock can tell, in a century.
pub(crate) fn after(now: tokio::time::Instant, time: Duration) -> tokio::time::Instant {
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 24 * 60 * 60))
}

/// Looks until `look` gives `Ok`. What it gives as `Err` is what it sees meanwhile, for the error of the wait.
///
/// Subscribers of the same runtime go on meanwhile; a look that hangs is given up at the deadline.
///
/// # Errors
/// [`NotYet`] when the deadline passed.
///
/// # Example
/// ```
/// # use modelcast_testcontainers::{DEADLINE, wait_until};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), modelcast_testcontainers::NotYet> {
/// let mut looks = 0;
/// let found = wait_until("the third look", DEADLINE, async || {
///     looks += 1;
///     if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
/// });
/// assert_eq!(found.await?, 3);
/// # Ok(()) }
/// ```
pub async fn wait_until<T, S: Display>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, S>,
) -> Result<T, NotYet> {
    let deadline = after(tokio::time::Instant::now(), within);
    let mut last_seen = "nothing, the first look did not end".to_owned();
    while let Ok(looked) = tokio::time::timeout_at(deadline, look()).await {
        match looked {
            Ok(found) => return Ok(found),
            Err(seen) => last_seen = seen.to_string(),
        }
        if tokio::time::Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(NotYet { what: what.to_owned(), within, last_seen })
}

/// The same for a test that is not async. On the only thread of a runtime it would keep the subscribers there from
/// the very thing that it waits for.
///
/// # Errors
/// [`NotYet`] when the deadline passed.
pub fn wait_until_blocking<T, S: Display>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, S>,
) -> Result<T, NotYet> {
    let started = Instant::now();
    loop {
        let seen = match look() {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if started.elapsed() >= within {
            return Err(NotYet { what: what.to_owned(), within, last_seen: seen.to_string() });
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(80);

    #[tokio::test]
    async fn a_wait_that_ends_in_vain_says_what_was_seen_last() {
        let mut looks = 0;
        let look = async || {
            looks += 1;
            Err::<(), _>(format!("look {looks}"))
        };
        let error = wait_until("rain", SHORT, look).await.unwrap_err();
        assert!(looks > 1);
        assert_eq!(error.to_string(), format!("waited 80ms for rain; last seen: look {looks}"));
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_given_up() {
        let hangs = async || std::future::pending::<Result<(), &str>>().await;
        let error = wait_until("rain", SHORT, hangs).await.unwrap_err();
        assert!(error.last_seen.contains("did not end"), "{error}");
    }

    #[tokio::test]
    async fn without_time_there_is_one_look_and_without_end_none_too_many() {
        assert_eq!(wait_until("rain", Duration::ZERO, async || Ok::<_, &str>(1)).await, Ok(1));
        assert_eq!(wait_until_blocking("rain", Duration::ZERO, || Ok::<_, &str>(1)), Ok(1));
        assert_eq!(wait_until("rain", Duration::MAX, async || Ok::<_, &str>(1)).await, Ok(1));
        assert_eq!(wait_until_blocking("rain", Duration::MAX, || Ok::<_, &str>(1)), Ok(1));
        let error = wait_until_blocking("rain", Duration::ZERO, || Err::<(), _>("sun")).unwrap_err();
        assert_eq!(error.last_seen, "sun");
    }
}
