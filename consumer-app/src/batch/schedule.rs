//! When runs begin: once, at the times of a schedule, or whenever another version goes live.
//!
//! # Invariants
//! * One run at a time: one that is due while another is under way is skipped, and that is said.
//! * A run that was under way when the process ended goes on at the start.
//! * A signal ends a run between two chunks; the next start goes on with it.

use std::{io, sync::atomic::Ordering::Relaxed, time::Duration};

use cronexpr::Crontab;
use modelcast::LiveModel;
use modelcast_protocol::Digest;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{
    Batch, BatchError,
    report::{Report, chain},
    settings::When,
};
use crate::server;

/// Before a run that failed, though not for its input, is tried again when a version went live.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest sleep: a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Makes runs when they are due, until there are no more or a signal ends it.
///
/// # Errors
/// [`BatchError`] of a single run.
pub(super) async fn follow(batch: &Batch, report: &impl Fn(&Report)) -> Result<(), BatchError> {
    let mut signal = Box::pin(server::signal().map_err(BatchError::Signal)?);
    match &batch.settings.run.when {
        When::Once => {
            let mut run = Box::pin(batch.one());
            let ended = tokio::select! {
                ended = &mut run => ended,
                () = &mut signal => {
                    batch.stop.store(true, Relaxed);
                    run.await
                }
            };
            report(&ended?);
            Ok(())
        }
        When::Schedule(crontab) => {
            let mut due = Due::Times { crontab, next: None };
            recurring(batch, &mut due, signal, report).await
        }
        When::Live => {
            let scored = batch.work.last().map(|last| last.scorer.digest);
            let live = batch.versions.handle().clone();
            let mut due = Due::Version { live, scored, not_before: Instant::now() };
            recurring(batch, &mut due, signal, report).await
        }
    }
}

/// When the next run is due.
enum Due<'a> {
    Times { crontab: &'a Crontab, next: Option<jiff::Timestamp> },
    Version { live: LiveModel, scored: Option<Digest>, not_before: Instant },
}

async fn recurring(
    batch: &Batch,
    due: &mut Due<'_>,
    mut signal: impl Future<Output = ()> + Unpin,
    report: &impl Fn(&Report),
) -> Result<(), BatchError> {
    let mut running = batch.work.journal().map(|_| Box::pin(batch.one()));
    loop {
        let is_running = running.is_some();
        let run_ended = async {
            match running.as_mut() {
                Some(run) => run.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut signal => {
                batch.stop.store(true, Relaxed);
                if let Some(run) = running {
                    ended(due, &run.await, report);
                }
                return Ok(());
            }
            run = run_ended => {
                running = None;
                ended(due, &run, report);
            }
            is_due = due.wait(is_running) => {
                is_due.map_err(BatchError::Schedule)?;
                if is_running {
                    warn!("a run is due while another is under way, and is skipped");
                } else {
                    running = Some(Box::pin(batch.one()));
                }
            }
        }
    }
}

fn ended(due: &mut Due<'_>, run: &Result<Report, BatchError>, report: &impl Fn(&Report)) {
    match run {
        Ok(run) => report(run),
        Err(error) if error.is_stopped() => info!("the run goes on at the next start"),
        Err(error) => error!(error = chain(error), "run failed"),
    }
    if let Due::Version { live, scored, not_before } = due {
        match run {
            Ok(run) => *scored = Some(run.scorer.digest),
            // The same version would be refused again.
            Err(error) if error.is_refusal() => *scored = live.load().map(|model| model.digest()),
            Err(_) => *not_before = Instant::now() + RETRY_AFTER,
        }
    }
}

impl Due<'_> {
    /// Until the next run is due; whatever is under way.
    async fn wait(&mut self, is_running: bool) -> io::Result<()> {
        match self {
            Self::Times { crontab, next } => loop {
                let now = jiff::Timestamp::now();
                let at = match *next {
                    Some(at) => at,
                    None => {
                        let at = next_time(crontab, now)?;
                        info!(%at, "next run");
                        *next = Some(at);
                        at
                    }
                };
                if at <= now {
                    *next = None;
                    return Ok(());
                }
                let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                tokio::time::sleep(left.min(SLEEP_MAX)).await;
            },
            // What goes live meanwhile is noticed afterwards: the version is looked at, not the change.
            Self::Version { .. } if is_running => std::future::pending().await,
            Self::Version { live, scored, not_before } => {
                tokio::time::sleep_until(*not_before).await;
                let mut states = live.watch();
                let is_other = |served: Option<Digest>| served.is_some() && served != *scored;
                let changed =
                    states.wait_for(|state| is_other(state.served.map(|served| served.manifest))).await;
                changed.map(drop).map_err(io::Error::other)
            }
        }
    }
}

fn next_time(crontab: &Crontab, after: jiff::Timestamp) -> io::Result<jiff::Timestamp> {
    let next = crontab.find_next(after.to_string().as_str());
    next.map(|at| at.timestamp()).map_err(|error| io::Error::other(error.to_string()))
}
