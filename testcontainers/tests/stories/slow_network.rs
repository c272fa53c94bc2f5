//! A slow line that breaks: a version of some MB comes in piece by piece, and is the one that was published.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use modelcast::protocol::status::Phase;
use modelcast_testcontainers::{Ability, Faults, Kafka, offers};

use crate::support::held::{Held, committed};
use crate::support::scene::{Scene, model};
use crate::support::toy::{self, Process};
use crate::support::{runtime, wait_within};

const MODEL: &str = "price";
/// On the wire half of it.
const SIZE_BYTES: usize = 6_000_000;
const LIVE_WITHIN: Duration = Duration::from_secs(90);
/// What a request may take, but for those on a line that proved slow.
const REQUEST: Duration = Duration::from_secs(6);

/// Gives how long the version took to be live.
fn check(stem: &str, faults: Faults) -> Duration {
    let (runtime, kafka) = (runtime(), Kafka::builder().proxied().start().unwrap());
    let proxy = kafka.proxy().unwrap();
    let scene = Scene::at(kafka.bootstrap_servers(), &kafka.namespace(stem), &[MODEL]);
    let publisher = runtime.block_on(scene.publisher());
    let held = Held::at(&runtime, &publisher, toy::large(MODEL, 2.0, SIZE_BYTES), |_| true);
    let published = committed(held.outcome(&runtime));

    proxy.set(faults);
    let (before, started) = (proxy.counts(), Instant::now());
    let subscriber = runtime.block_on(scene.subscriber("far", MODEL, toy::policy(Process::Test)));
    let live = subscriber.model(&model(MODEL)).unwrap();
    let mut most = 0;
    let loaded = wait_within(LIVE_WITHIN, "the version to be live", || {
        if let Phase::Fetching { done_bytes, .. } = live.state().phase {
            assert!(done_bytes >= most, "the fetch went back from {most} to {done_bytes} bytes");
            most = done_bytes;
        }
        live.load()
    });
    let (counts, took) = (proxy.counts(), started.elapsed());
    eprintln!(
        "{stem}: {} bytes for {}, {} connections cut",
        counts.response_bytes - before.response_bytes,
        published.bytes_sent,
        counts.cut - before.cut
    );
    assert_eq!(loaded.digest(), published.manifest);
    let mut outputs = [0.0];
    loaded.predict(&[3.0], &mut outputs).unwrap();
    assert_eq!(outputs, [6.0]);
    drop(loaded);
    if faults.cut_after_response_bytes.is_some() {
        assert!(counts.cut > before.cut + 1, "nothing was cut");
    }
    proxy.heal();
    runtime.block_on(subscriber.shutdown());
    took
}

#[test]
fn a_version_comes_in_over_a_line_that_takes_longer_than_any_request_may() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let bytes_per_second = NonZeroU64::new(400_000);
    let took =
        check("slow", Faults { delay: Duration::from_millis(50), bytes_per_second, ..Faults::default() });
    assert!(took > REQUEST, "nothing was slow: {took:?}");
}

#[test]
fn a_version_comes_in_over_a_line_that_breaks_before_a_full_fetch_is_through() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let cut_after_response_bytes = Some(1_500_000);
    check(
        "breaks",
        Faults { delay: Duration::from_millis(20), cut_after_response_bytes, ..Faults::default() },
    );
}
