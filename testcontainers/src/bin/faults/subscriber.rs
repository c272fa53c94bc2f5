//! A subscriber process: follows the model, and predicts all the time with threads that write down what they got.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use modelcast::protocol::desired::Labels;
use modelcast::protocol::resolve::Identity;
use modelcast::protocol::{InstanceName, ModelName};
use modelcast::{LiveModel, ModelState, Subscriber, clock};
use modelcast_testcontainers::history::{Answer, Event, Recorder, Seen, Started};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::child::{ChildArgs, end_of_input, log_to_stderr};
use super::table_model::{self, PLACE_BYTES};

const THREADS: u32 = 2;
/// Each thread asks this often.
const ASK_EVERY: Duration = Duration::from_millis(30);
/// Places that one request asks for.
const PLACES: usize = 4;

/// Subscribes until the input ends.
pub(crate) fn run(args: &ChildArgs) -> anyhow::Result<()> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(subscribe(args))
}

async fn subscribe(args: &ChildArgs) -> anyhow::Result<()> {
    let (recorder, mut stop) = (Arc::new(args.recorder()?), end_of_input());
    let instance: InstanceName = args.name.parse()?;
    let zone = if args.name.ends_with('1') { "a" } else { "b" };
    let labels: Labels =
        [("boot".to_owned(), args.boot.to_string()), ("zone".to_owned(), zone.to_owned())].into();
    let started = Started { instance: Some(instance.clone()), labels: labels.clone(), boot: args.boot };
    recorder.record(Event::Started(started))?;
    let (trusted, _) = args.keys()?;
    let state = args.folder.join(format!("state-{}", args.name));
    let builder = Subscriber::builder(&args.kafka(), &trusted, Identity { instance, labels }, &state);
    let subscriber = builder.model(args.model.clone(), table_model::policy()).start().await?;
    let live = subscriber.models().next().cloned().ok_or_else(|| anyhow::anyhow!("no model is followed"))?;

    let ended = Arc::new(AtomicBool::new(false));
    let seed = args.own_seed();
    let asking: Vec<JoinHandle<anyhow::Result<()>>> = (1..=THREADS)
        .map(|thread| {
            let (live, recorder, ended) = (live.clone(), Arc::clone(&recorder), Arc::clone(&ended));
            std::thread::spawn(move || ask(&live, &recorder, &ended, thread, seed))
        })
        .collect();
    let mut states = live.watch();
    loop {
        let state = states.borrow_and_update().clone();
        recorder.record(Event::Seen(seen(&args.model, state)))?;
        tokio::select! {
            changed = states.changed() => changed?,
            _ = stop.wait_for(|stop| *stop) => break,
        }
        anyhow::ensure!(!asking.iter().any(JoinHandle::is_finished), "a thread that asks has ended");
    }
    ended.store(true, Relaxed);
    for thread in asking {
        thread.join().map_err(|_| anyhow::anyhow!("a thread that asks panicked"))??;
    }
    subscriber.shutdown().await;
    Ok(recorder.record(Event::Stopped)?)
}

fn seen(model: &ModelName, state: ModelState) -> Seen {
    let ModelState { phase, wanted, served, generation_seen, announcement_seen, swaps, warnings, .. } = state;
    let (model, wanted) = (model.clone(), wanted.map(|(wanted, _)| wanted));
    Seen { model, phase, wanted, served, generation_seen, announcement_seen, swaps, warnings }
}

/// Asks and writes down, until the end.
fn ask(
    live: &LiveModel,
    recorder: &Recorder,
    ended: &AtomicBool,
    thread: u32,
    seed: u64,
) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed ^ u64::from(thread));
    while !ended.load(Relaxed) {
        std::thread::park_timeout(ASK_EVERY);
        let (asked_ms, began) = (clock::unix_ms(), Instant::now());
        let Some(snapshot) = live.load() else { continue };
        let count = u32::try_from(snapshot.manifest().size_bytes / PLACE_BYTES)?;
        let places: Vec<u32> = (0..PLACES).map(|_| random.random_range(0..count)).collect();
        let mut values = Vec::with_capacity(PLACES);
        for &place in &places {
            let mut value = [0.0];
            snapshot.predict(&[f64::from(place)], &mut value)?;
            values.extend(value);
        }
        live.traffic().answered(values.iter().copied(), began.elapsed());
        let answer = Answer {
            thread,
            asked_ms,
            model: snapshot.name().clone(),
            version: snapshot.version(),
            generation: snapshot.generation(),
            manifest: snapshot.digest(),
            artifact: snapshot.manifest().artifact,
            places,
            values,
        };
        // A request does not hold on to its model for as long as a disk may take.
        drop(snapshot);
        recorder.record(Event::Answer(answer))?;
    }
    Ok(())
}
