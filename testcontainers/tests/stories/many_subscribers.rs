//! An artifact of 300 MB, and ten subscriber processes that fetch it at once.
//!
//! Costs some 4 GB of memory, since each keeps it, and as much on disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use modelcast::Subscriber;
use modelcast::protocol::resolve::Identity;
use modelcast_testcontainers::{Fleet, Kafka};
use serde_json::json;

use crate::support::part::{self, Place};
use crate::support::scene::{Scene, model};
use crate::support::{bulk, linear, runtime, wait_within, whole_machine};

const MODEL: &str = "price";
const SUBSCRIBERS: usize = 10;
const MB: u64 = 1_000_000;
const SIZE_BYTES: u64 = 300 * MB;
/// What a subscriber may need besides the model, as in `large_artifacts`.
const FIXED_BYTES: u64 = 128 * MB;
/// Some 50 s on two idle cores.
const LIVE_WITHIN: Duration = Duration::from_secs(400);
const INSTANCE: &str = "STORY_INSTANCE";

/// Where an instance leaves what it found.
fn report(folder: &Path, instance: &str) -> PathBuf {
    folder.join(format!("{instance}.report"))
}

#[test]
fn ten_subscribers_go_live_on_300_mb_and_answer_alike() {
    let _turn = whole_machine();
    // Of its own: the disk of the one that all share is not made for this too.
    let kafka = Kafka::start().unwrap();
    let (runtime, scene) = (runtime(), Scene::on(&kafka, "many", &[MODEL]));
    let log = |instance: &str| File::create(scene.path(&format!("{instance}.log"))).unwrap();
    let mut fleet = Fleet::processes("app", SUBSCRIBERS, |instance| {
        let mut command = part::command(&scene, "many_subscribers::a_subscriber_process");
        command.env(INSTANCE, instance).stdout(log(instance)).stderr(log(instance));
        command
    })
    .unwrap();

    let path = scene.path("artifact");
    let sum = bulk::write_artifact(&path, 1, SIZE_BYTES);
    let publisher = runtime.block_on(scene.publisher());
    runtime.block_on(linear::publish(&publisher, bulk::request(MODEL, &path, sum)));
    let published = Instant::now();
    let mut highest = 0;
    for (instance, process) in fleet.iter_mut() {
        let found = wait_within(LIVE_WITHIN, "all to be live", || {
            assert!(process.ended().unwrap().is_none(), "{instance} ended");
            fs::read_to_string(report(&scene.folder(), instance)).ok()
        });
        let (output, peak) = found.split_once(' ').unwrap();
        assert_eq!(output.parse(), Ok(3.0 * sum), "{instance}");
        let peak_bytes: u64 = peak.parse().unwrap();
        assert!(peak_bytes > SIZE_BYTES, "{peak_bytes} bytes have no room for it: it is no measurement");
        assert!(peak_bytes < SIZE_BYTES + FIXED_BYTES, "{instance} had a peak of {peak_bytes} bytes");
        highest = highest.max(peak_bytes);
    }
    eprintln!(
        "{SUBSCRIBERS} live {:?} after the publish, highest peak {} MB",
        published.elapsed(),
        highest / MB
    );
    let (status, code) = scene.status(MODEL);
    assert_eq!((code, &status["counts"]["live"]), (Some(0), &json!(SUBSCRIBERS)), "{status:#}");
}

#[test]
#[ignore = "is the process that ten_subscribers_go_live_on_300_mb_and_answer_alike starts"]
fn a_subscriber_process() {
    let (Some(place), Ok(instance)) = (Place::of_this_process(), std::env::var(INSTANCE)) else { return };
    let Place { kafka, keys, folder } = place;
    let identity = Identity { instance: instance.parse().unwrap(), labels: [].into() };
    let keys = keys.trusted().unwrap();
    let subscriber = Subscriber::builder(&kafka, &keys, identity, &folder.join(&instance))
        .model(model(MODEL), bulk::policy());
    let runtime = runtime();
    let subscriber = runtime.block_on(subscriber.start()).unwrap();
    let live = subscriber.model(&model(MODEL)).unwrap();
    let loaded = wait_within(LIVE_WITHIN, "the version", || live.load());
    let mut outputs = [0.0];
    loaded.predict(&[3.0], &mut outputs).unwrap();
    let unfinished = folder.join(format!("{instance}.unfinished"));
    fs::write(&unfinished, format!("{} {}", outputs[0], bulk::peak_bytes())).unwrap();
    fs::rename(unfinished, report(&folder, &instance)).unwrap();
    // Until the test, which still asks for the status, ends it.
    loop {
        std::thread::park();
    }
}
