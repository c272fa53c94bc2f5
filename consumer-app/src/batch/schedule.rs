//! When runs begin: once, at the times of a schedule, or whenever another version goes live.
//!
//! # Invariants
//! * One run at a time: one that is due while another is under way is skipped, and that is said.
//! * A run that was under way when the process ended goes on at the start.
//! * A signal ends a run between two chunks; the next start goes on with it.

use std::{io, time::Duration};

use cronexpr::Crontab;
use modelcast::{LiveModel, with_causes};
use modelcast_protocol::Digest;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Batch, BatchError, report::Report, settings::When};

/// Before a run that failed, though not for its input, is tried again when a version went live.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest sleep: a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Makes runs when they are due, until there are no more or a signal ends it.
///
/// # Errors
/// [`BatchError`] of a single run.
pub(super) async fn follow(
    batch: &Batch,
    mut signal: impl Future<Output = ()> + Unpin,
    report: &impl Fn(&Report),
) -> Result<(), BatchError> {
    match &batch.settings.run.when {
        When::Once => {
            let mut run = Box::pin(batch.one());
            let ended = tokio::select! {
                ended = &mut run => ended,
                () = &mut signal => {
                    batch.stop.send_replace(true);
                    run.await
                }
            };
            report(&ended?);
            Ok(())
        }
        When::Schedule(crontab) => {
            let mut due = Due::Times { after: &|now| next_time(crontab, now), next: None };
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

/// The first time of a schedule after another time.
type NextTime<'a> = dyn Fn(jiff::Timestamp) -> io::Result<jiff::Timestamp> + 'a;

/// When the next run is due.
enum Due<'a> {
    Times { after: &'a NextTime<'a>, next: Option<jiff::Timestamp> },
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
                batch.stop.send_replace(true);
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
        Err(error) => error!(error = with_causes(error), "run failed"),
    }
    if let Due::Version { scored, not_before, .. } = due {
        match run {
            Ok(run) => *scored = Some(run.scorer.digest),
            Err(error) => match error.refused_version() {
                Some(digest) => *scored = Some(digest),
                None => *not_before = Instant::now() + RETRY_AFTER,
            },
        }
    }
}

impl Due<'_> {
    /// Until the next run is due; whatever is under way.
    async fn wait(&mut self, is_running: bool) -> io::Result<()> {
        match self {
            Self::Times { after, next } => loop {
                let now = jiff::Timestamp::now();
                let at = match *next {
                    Some(at) => at,
                    None => {
                        let at = after(now)?;
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

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        fs::{self, File},
        io::Write as _,
        path::Path,
        process::Command,
        sync::{Arc, Mutex},
    };

    use modelcast::{Embedded, LoadedModel, admission::Policy};
    use modelcast_protocol::schema::FeatureKind;
    use tokio::sync::oneshot;

    use super::*;
    use crate::batch::{
        model::Versions,
        settings::{Overrides, Settings},
        work::Work,
    };

    /// What is logged on this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn count(&self, words: &str) -> usize {
            String::from_utf8_lossy(&self.0.lock().unwrap()).matches(words).count()
        }
    }

    /// A batch over an embedded model whose input is a pipe: it is under way until somebody writes there.
    fn batch(folder: &Path) -> Batch {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/client/testdata");
        let (key, file) = (data.join("test-only.pub.pem"), data.join("property-value.modelcast"));
        let (input, output) = (folder.join("in.csv"), folder.join("out.csv"));
        assert!(Command::new("mkfifo").arg(&input).status().unwrap().success());
        let text = format!(
            "[kafka]\nbootstrap_servers = \"\"\n[keys]\ntrusted = [{key:?}]\n[instance]\nname = \"b\"\n[model]\n\
             name = \"property-value\"\nembedded = {file:?}\n[input]\npath = {input:?}\n[output]\nto = \"csv\"\n\
             path = {output:?}\n"
        );
        fs::write(folder.join("batch.toml"), text).unwrap();
        let settings = Settings::read(Some(&folder.join("batch.toml")), Overrides::default()).unwrap();
        let keys = settings.process.keys.trusted().unwrap();
        let model = LoadedModel::embedded(Embedded::File(file), &keys, &Policy::standard()).unwrap();
        let versions = Versions::new(&settings, keys, LiveModel::fixed(model).unwrap());
        Batch {
            settings: Arc::new(settings),
            versions: Arc::new(versions),
            work: Arc::new(Work::open(folder).unwrap()),
            stop: tokio::sync::watch::Sender::new(false),
        }
    }

    /// A header and one row of typical values.
    fn typical(model: &LoadedModel) -> String {
        let features = &model.schema().features;
        let names: Vec<&str> = features.iter().map(|feature| feature.name.as_str()).collect();
        let values = features.iter().map(|feature| match &feature.kind {
            FeatureKind::Numeric(numeric) => numeric.typical.unwrap_or_default().to_string(),
            FeatureKind::Categorical(categorical) => categorical.typical.clone().unwrap(),
        });
        format!("{}\n{}\n", names.join(","), values.collect::<Vec<_>>().join(","))
    }

    #[tokio::test]
    async fn a_run_that_is_due_while_another_is_under_way_is_skipped_and_that_is_said() {
        const SKIPPED: &str = "a run is due while another is under way, and is skipped";
        let (log, folder) = (Log::default(), tempfile::tempdir().unwrap());
        let writer = log.clone();
        let logged = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(logged);
        let batch = batch(folder.path());
        // Due five times in a row, and then no more.
        let times = Cell::new(0);
        let after = |now: jiff::Timestamp| {
            times.set(times.get() + 1);
            let wait = if times.get() <= 5 { Duration::from_millis(10) } else { Duration::from_secs(3_600) };
            Ok(now + wait)
        };
        let mut due = Due::Times { after: &after, next: None };
        let reports = RefCell::new(Vec::new());
        let report = |report: &Report| reports.borrow_mut().push(report.summary.rows);
        let (stop, stopped) = oneshot::channel::<()>();
        let signal = Box::pin(async { drop(stopped.await) });
        let text = typical(&batch.versions.handle().load().unwrap());
        let input = folder.path().join("in.csv");
        let watching = async {
            let deadline = Instant::now() + Duration::from_secs(30);
            while log.count(SKIPPED) < 4 {
                assert!(Instant::now() < deadline, "not skipped four times");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let write = move || File::options().write(true).open(input)?.write_all(text.as_bytes());
            tokio::task::spawn_blocking(write).await.unwrap().unwrap();
            while reports.borrow().is_empty() {
                assert!(
                    Instant::now() < deadline,
                    "no report: {:?}",
                    String::from_utf8_lossy(&log.0.lock().unwrap())
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(stop);
        };
        let (followed, ()) = tokio::join!(recurring(&batch, &mut due, signal, &report), watching);
        followed.unwrap();
        assert_eq!((reports.into_inner(), log.count(SKIPPED)), (vec![1], 4));
    }

    #[test]
    fn a_schedule_is_in_its_time_zone() {
        let crontab = cronexpr::parse_crontab("30 6 * * 1-5 Europe/Berlin").unwrap();
        let next = |after: &str| next_time(&crontab, after.parse().unwrap()).unwrap().to_string();
        // Summer time ends on the last Sunday of October: the same hour there is another one in UTC.
        assert_eq!(next("2026-10-23T04:29:59Z"), "2026-10-23T04:30:00Z");
        assert_eq!(next("2026-10-23T04:30:00Z"), "2026-10-26T05:30:00Z");
    }
}
