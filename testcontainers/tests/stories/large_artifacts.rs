//! Artifacts of 200 MB through the same path as small ones, and the memory that a subscriber needs for them.
//!
//! The subscriber is a process of its own, so that its peak is its own. Its decoder keeps the whole artifact in
//! memory, and its golden row reads every byte of it.

use std::time::{Duration, Instant};

use modelcast::Subscriber;
use modelcast::protocol::resolve::Identity;

use crate::support::part::{self, Actor, Place, say};
use crate::support::scene::{Scene, model};
use crate::support::{bulk, linear, runtime, wait_within};

const MODEL: &str = "price";
const SIZE_BYTES: u64 = 200 * MB;
const MB: u64 = 1_000_000;
/// What a subscriber may need besides the old and the new model.
const FIXED_BYTES: u64 = 128 * MB;
const VERSIONS: u64 = 3;
const LIVE_WITHIN: Duration = Duration::from_secs(120);

#[test]
fn a_subscriber_needs_memory_for_the_old_and_the_new_model_and_a_fixed_amount() {
    let (runtime, scene) = (runtime(), Scene::new("large", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    let process = Actor::start(part::command(&scene, "large_artifacts::a_process_with_large_models"));

    let mut peak_bytes = 0;
    for version in 1..=VERSIONS {
        let path = scene.path(&format!("artifact-{version}"));
        let sum = bulk::write_artifact(&path, version, SIZE_BYTES);
        let started = Instant::now();
        runtime.block_on(linear::publish(&publisher, bulk::request(MODEL, &path, sum)));
        let published = started.elapsed();
        let line = process.line_within(LIVE_WITHIN);
        let [said_version, output, peak] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(said_version.parse(), Ok(version));
        assert_eq!(output.parse(), Ok(3.0 * sum));
        peak_bytes = peak.parse().unwrap();
        eprintln!(
            "version {version}: published in {published:?}, live {:?} later, peak {} MB",
            started.elapsed() - published,
            peak_bytes / MB
        );
        std::fs::remove_file(path).unwrap();
    }
    assert!(
        peak_bytes > 2 * SIZE_BYTES,
        "a peak of {peak_bytes} bytes has no room for two: it is no measurement"
    );
    assert!(peak_bytes < 2 * SIZE_BYTES + FIXED_BYTES, "a peak of {peak_bytes} bytes");
    let verified = scene.status(MODEL);
    assert_eq!(verified.1, Some(0), "{:#}", verified.0);
}

#[test]
#[ignore = "is the process that a_subscriber_needs_memory_for_the_old_and_the_new_model_and_a_fixed_amount starts"]
fn a_process_with_large_models() {
    let Some(place) = Place::of_this_process() else { return };
    let keys = place.keys.trusted().unwrap();
    let identity = Identity { instance: "large".parse().unwrap(), labels: [].into() };
    let runtime = runtime();
    let subscriber = Subscriber::builder(&place.kafka, &keys, identity, &place.folder.join("state"))
        .model(model(MODEL), bulk::policy())
        .start();
    let subscriber = runtime.block_on(subscriber).unwrap();
    let live = subscriber.model(&model(MODEL)).unwrap();
    for version in 1..=VERSIONS {
        let loaded = wait_within(LIVE_WITHIN, "the next version", || {
            live.load().filter(|loaded| loaded.version().get() == version)
        });
        let mut outputs = [0.0];
        loaded.predict(&[3.0], &mut outputs).unwrap();
        drop(loaded);
        say(&format!("{version} {} {}", outputs[0], bulk::peak_bytes()));
    }
    // Until the test, which still asks for the status, ends it.
    loop {
        std::thread::park();
    }
}
