//! Memory for all bodies together, taken step by step as their bytes arrive.
//!
//! A length that a peer claims takes nothing: who claims much and sends little holds little.
//!
//! # Invariants
//! * What is held is at most one step more than what arrived.
//! * Bodies that hold memory and wait for more never wait for each other alone: the one that would be the last of them
//!   gives way at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::refusal::Refusal;

/// One permit of the budget.
const PERMIT_BYTES: usize = 1024;
/// Taken at once: few steps for a large body, and little for one that does not come.
const STEP_BYTES: usize = 64 * 1024;

/// Memory for all bodies that are being read or answered.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    room: Arc<Semaphore>,
    /// Bodies that hold memory and do not wait for more: they will give it back.
    moving: Arc<AtomicUsize>,
    max_bytes: usize,
    wait_max: Duration,
}

/// Memory that is accounted for, until this is dropped.
#[derive(Debug)]
pub struct BodyPermit {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    is_moving: bool,
}

impl Budget {
    /// A budget of so many bytes; who asks for more waits so long.
    pub(super) fn new(max_bytes: usize, wait_max: Duration) -> Self {
        let permits = (max_bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(permits)), moving: Arc::default(), max_bytes, wait_max }
    }

    /// Nothing yet.
    pub(super) fn permit(&self) -> BodyPermit {
        BodyPermit { budget: self.clone(), held: None, is_moving: false }
    }
}

impl BodyPermit {
    /// Accounts for that many bytes in all, step by step, as soon as there is room for them; for a body of at most
    /// `most` bytes.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when there is no room within the time that a body may take, or nobody else could make any.
    pub async fn cover(&mut self, bytes: usize, most: usize) -> Result<(), Refusal> {
        // More than there is at all would never come.
        let all = self.budget.max_bytes / PERMIT_BYTES;
        let [wanted, most] = [bytes, most.max(bytes)].map(|bytes| bytes.div_ceil(PERMIT_BYTES).min(all));
        loop {
            let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if held >= wanted {
                return Ok(());
            }
            self.take((STEP_BYTES / PERMIT_BYTES).min(most - held)).await?;
        }
    }

    async fn take(&mut self, permits: usize) -> Result<(), Refusal> {
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let taken = match Arc::clone(&self.budget.room).try_acquire_many_owned(permits) {
            Ok(taken) => taken,
            Err(_) => self.wait(permits).await?,
        };
        if !std::mem::replace(&mut self.is_moving, true) {
            self.budget.moving.fetch_add(1, Ordering::AcqRel);
        }
        match &mut self.held {
            Some(held) => held.merge(taken),
            none => *none = Some(taken),
        }
        Ok(())
    }

    async fn wait(&mut self, permits: u32) -> Result<OwnedSemaphorePermit, Refusal> {
        let busy = Refusal::Busy { max_bytes: self.budget.max_bytes };
        if self.stop() == Some(0) {
            return Err(busy);
        }
        let taken = Arc::clone(&self.budget.room).acquire_many_owned(permits);
        timeout(self.budget.wait_max, taken).await.ok().and_then(Result::ok).ok_or(busy)
    }

    /// Counts among the moving no more; gives how many still are, if this was one of them.
    fn stop(&mut self) -> Option<usize> {
        let was_moving = std::mem::take(&mut self.is_moving);
        was_moving.then(|| self.budget.moving.fetch_sub(1, Ordering::AcqRel) - 1)
    }
}

impl Drop for BodyPermit {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn budget(max_bytes: usize) -> Budget {
        Budget::new(max_bytes, Duration::from_secs(3_600))
    }

    #[tokio::test]
    async fn a_body_holds_one_step_more_than_arrived_and_never_more_than_it_may_have() {
        let budget = budget(1024 * KIB);
        let mut body = budget.permit();
        let rows = [(1, 64), (64 * KIB, 64), (64 * KIB + 1, 128), (130 * KIB, 140), (140 * KIB, 140)];
        for (bytes, held) in rows {
            body.cover(bytes, 140 * KIB).await.unwrap();
            assert_eq!(1024 - budget.room.available_permits(), held, "{bytes}");
        }
        // More than there is at all takes all there is.
        drop(body);
        budget.permit().cover(usize::MAX, usize::MAX).await.unwrap();
        assert_eq!(budget.room.available_permits(), 1024, "given back");
    }

    #[tokio::test]
    async fn of_bodies_that_wait_for_each_other_the_last_gives_way_and_the_first_goes_on() {
        let budget = budget(256 * KIB);
        let (mut first, mut last) = (budget.permit(), budget.permit());
        first.cover(128 * KIB, 256 * KIB).await.unwrap();
        last.cover(128 * KIB, 256 * KIB).await.unwrap();
        let goes_on = tokio::spawn(async move { first.cover(256 * KIB, 256 * KIB).await.is_ok() });
        tokio::task::yield_now().await;
        let since = tokio::time::Instant::now();
        let refused = last.cover(256 * KIB, 256 * KIB).await;
        assert!(matches!(refused, Err(Refusal::Busy { .. })), "{refused:?}");
        drop(last);
        assert!(goes_on.await.unwrap());
        assert!(since.elapsed() < Duration::from_secs(60), "nobody waited for a deadline");
        assert_eq!(budget.moving.load(Ordering::Acquire), 0);
    }
}
