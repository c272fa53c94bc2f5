//! A run from its beginning to its verdict.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use modelcast::protocol::{ModelName, topic};
use modelcast_testcontainers::Cluster;
use modelcast_testcontainers::history::{History, Recorder, Report, check};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;

use super::child::{ChildArgs, history_folder, write_keys};
use super::processes::{PUBLISHER, Processes, SUBSCRIBER};
use super::progress::Progress;
use super::storm::Storm;
use super::{RunArgs, brokers, ending, network};

const MODEL: &str = "price";
const SHOW_EVERY: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(20);
const TIME: Duration = Duration::from_secs(2 * 60);
const TIME_FOR_PUBLISHES: Duration = Duration::from_secs(120 * 60);
/// Then clients find a leader again within seconds of its death.
const SESSION_TIMEOUT: (&str, &str) = ("broker.session.timeout.ms", "3000");

/// What a run came to.
#[derive(Serialize)]
struct Run {
    seed: u64,
    /// Whether it shows what it is to show.
    passed: bool,
    /// Why not, beside what the report says.
    failures: Vec<String>,
    storm_seconds: f64,
    /// From the last announcement until every instance ran it.
    converged_seconds: Option<f64>,
    folder: PathBuf,
    report: Report,
}

/// Runs, judges and prints.
pub(crate) fn run(plan: &RunArgs) -> anyhow::Result<ExitCode> {
    let seed = plan.seed.unwrap_or_else(|| rand::random::<u64>() % 1_000_000);
    say(&format!("seed {seed}: `cargo xtask faults --seed {seed}` draws the same faults again"));
    let folder = folder(plan, seed)?;
    let run = conduct(plan, seed, &folder).with_context(|| {
        format!("the run of seed {seed} did not get to its verdict; see {}", folder.display())
    })?;
    print(plan, &run)?;
    if !run.passed {
        let history = history_folder(&folder);
        say(&format!(
            "kept; check it again with `cargo run -p modelcast-testcontainers --bin check-history -- {}`",
            history.display()
        ));
    } else if plan.folder.is_none() {
        fs::remove_dir_all(&folder)?;
    }
    Ok(if run.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn folder(plan: &RunArgs, seed: u64) -> anyhow::Result<PathBuf> {
    let temporary = || std::env::temp_dir().join(format!("modelcast-faults-{seed}-{}", std::process::id()));
    let folder = plan.folder.clone().unwrap_or_else(temporary);
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::create_dir(history_folder(&folder))?;
    write_keys(&folder)?;
    Ok(folder)
}

fn conduct(plan: &RunArgs, seed: u64, folder: &Path) -> anyhow::Result<Run> {
    say("starting three brokers");
    let (key, value) = SESSION_TIMEOUT;
    let cluster = Cluster::builder().setting(key, value).start()?;
    let args = ChildArgs {
        folder: folder.to_owned(),
        servers: cluster.bootstrap_servers().to_owned(),
        namespace: cluster.namespace("faults").parse()?,
        model: MODEL.parse()?,
        name: String::new(),
        boot: 1,
        seed,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let models: [ModelName; 1] = [args.model.clone()];
    runtime.block_on(modelcast::topics::create(&args.kafka(), &models, None))?;
    for topic in modelcast::topics::specs(&args.kafka(), &models) {
        // Every broker must know it: one that does not would call it missing.
        cluster.leader(&topic.name, 0)?;
    }

    let storm = Storm::new(Recorder::create(&history_folder(folder), "conductor.1")?);
    let mut processes = Processes::new(StdRng::seed_from_u64(seed));
    for number in 1..=plan.subscribers {
        processes.start(SUBSCRIBER, ChildArgs { name: format!("app-{number}"), ..args.clone() })?;
    }
    for number in 1..=plan.publishers {
        processes.start(PUBLISHER, ChildArgs { name: format!("pub-{number}"), ..args.clone() })?;
    }
    let mut progress = Progress::default();
    let result = faults(plan, seed, &cluster, &storm, &args, &mut processes, &mut progress);
    let storm_seconds = storm.elapsed().as_secs_f64();
    result?;

    say("the faults are over; mending");
    cluster.heal()?;
    processes.calm(&storm)?;
    processes.end(PUBLISHER)?;
    storm.healed()?;
    let instances = processes.names(SUBSCRIBER);
    let end = ChildArgs { name: "end".into(), ..args.clone() };
    let reader = ChildArgs { name: "reader".into(), servers: cluster.direct_servers().to_owned(), ..args };
    let converged = runtime.block_on(async {
        ending::one_last_version(&end).await?;
        let converged = ending::converged(&reader, &instances).await?;
        ending::read_back(&reader, &instances).await?;
        anyhow::Ok(converged)
    })?;
    processes.end(SUBSCRIBER)?;
    progress.look(&history_folder(folder))?;
    say("checking");
    let report = check(&History::load(&history_folder(folder))?);
    let failures = failures(plan, converged, progress.publishes, &report);
    let passed = report.held() && failures.is_empty();
    let (converged_seconds, folder) = (converged.map(|time| time.as_secs_f64()), folder.to_owned());
    Ok(Run { seed, passed, failures, storm_seconds, converged_seconds, folder, report })
}

/// Faults until the time is over or enough was published.
fn faults(
    plan: &RunArgs,
    seed: u64,
    cluster: &Cluster,
    storm: &Storm,
    args: &ChildArgs,
    processes: &mut Processes,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let announcements = topic::announcements(&args.namespace).name;
    let blobs = topic::blobs(&args.namespace, &args.model).name;
    let time = plan.minutes.unwrap_or(if plan.publishes.is_some() { TIME_FOR_PUBLISHES } else { TIME });
    let enough = plan.publishes.unwrap_or(u64::MAX);
    std::thread::scope(|scope| {
        let of_brokers = scope.spawn(|| {
            brokers::run(cluster, [&announcements, &blobs], storm, StdRng::seed_from_u64(seed ^ 1))
        });
        let of_network = scope.spawn(|| network::run(cluster, storm, StdRng::seed_from_u64(seed ^ 2)));
        let mut show = Instant::now() + SHOW_EVERY;
        let mut done = Ok(());
        while done.is_ok() && storm.elapsed() < time && progress.publishes < enough {
            done = processes.tick(storm);
            if of_brokers.is_finished() || of_network.is_finished() {
                break;
            }
            if Instant::now() >= show {
                show += SHOW_EVERY;
                done = done.and_then(|()| progress.look(&history_folder(&args.folder)));
                let of = format!("{:4} s of {} s", storm.elapsed().as_secs(), time.as_secs());
                say(&format!("{of}  {}  [{}]", progress.shown(), storm.shown()));
            }
            std::thread::park_timeout(TICK);
        }
        storm.end();
        let ended = [of_brokers.join(), of_network.join()];
        for ended in ended {
            ended.map_err(|_| anyhow!("a thread that makes faults panicked"))??;
        }
        done
    })
}

/// What the checker does not judge.
fn failures(plan: &RunArgs, converged: Option<Duration>, publishes: u64, report: &Report) -> Vec<String> {
    let mut failures = Vec::new();
    if converged.is_none() {
        failures.push("not every subscriber got to the last version in time".into());
    }
    if let Some(wanted) = plan.publishes.filter(|wanted| *wanted > publishes) {
        failures.push(format!("{publishes} publishes ended in time, {wanted} were asked for"));
    }
    if report.counts.faults.is_empty() {
        failures
            .push("no fault struck: this shows nothing; give it more `--minutes` or `--publishes`".into());
    }
    failures
}

fn print(plan: &RunArgs, run: &Run) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if plan.json {
        serde_json::to_writer_pretty(&mut out, run)?;
        return Ok(writeln!(out)?);
    }
    let Run { seed, passed, failures, storm_seconds, converged_seconds, report, .. } = run;
    write!(out, "{report}")?;
    if let Some(seconds) = converged_seconds {
        writeln!(out, "all subscribers equal {seconds:.1} s after the last announcement")?;
    }
    failures.iter().try_for_each(|failure| writeln!(out, "{failure}"))?;
    let verdict = if *passed { "held" } else { "FAILED" };
    Ok(writeln!(out, "seed {seed}, {storm_seconds:.0} s: {verdict}")?)
}

fn say(line: &str) {
    // Progress is no reason to end.
    drop(writeln!(std::io::stderr(), "{line}"));
}
