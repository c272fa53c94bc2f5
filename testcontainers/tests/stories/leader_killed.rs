//! The leader dies of kill -9 in the middle of a publish and in the middle of a fetch: both go on with its successor.

use std::num::NonZeroU64;
use std::time::Duration;

use modelcast::Subscriber;
use modelcast::protocol::status::Phase;
use modelcast::protocol::topic;
use modelcast::publish::PublishEvent;
use modelcast_testcontainers::{Ability, Cluster, Faults, offers};

use crate::support::held::{Held, committed};
use crate::support::scene::{Scene, model};
use crate::support::toy::{self, Process};
use crate::support::{records, runtime, wait_for};

const MODEL: &str = "price";
/// On the wire half of it, in some 60 chunks.
const LARGE_BYTES: usize = 16_000_000;
/// Twice as much, for a fetch that has much to lose when half is there.
const FETCHED_BYTES: usize = 2 * LARGE_BYTES;
/// What a batch has, and what may wait in the client: 1 MB and 16 MiB unless set.
const PORTION_KIB: u64 = 256;
/// What is fetched at once, 8 MiB unless set: one batch. A broker gives the first one whole, whatever is asked for; what
/// it cuts off in the middle of another comes twice.
const FETCHED_AT_ONCE: u64 = 1;

fn scene(cluster: &Cluster, stem: &str) -> Scene {
    let mut scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace(stem), &[MODEL]);
    for (property, size) in [
        ("batch.size", PORTION_KIB * 1024),
        ("fetch.message.max.bytes", FETCHED_AT_ONCE),
        ("queued.max.messages.kbytes", PORTION_KIB),
    ] {
        scene.kafka.properties.insert(property.to_owned(), size.to_string());
    }
    scene
}

fn blobs(scene: &Scene) -> String {
    topic::blobs(&scene.kafka.namespace, &model(MODEL)).name
}

/// What a request of 3 square metres is answered with.
fn predict(subscriber: &Subscriber) -> f64 {
    let loaded = subscriber.model(&model(MODEL)).unwrap().load().unwrap();
    let mut outputs = [0.0];
    loaded.predict(&[3.0], &mut outputs).unwrap();
    outputs[0]
}

fn a_part_is_sent(event: &PublishEvent) -> bool {
    matches!(event, PublishEvent::Sent { done_bytes, total_bytes } if done_bytes * 8 > *total_bytes)
}

#[test]
fn a_publish_goes_on_when_its_leader_dies_and_is_committed_whole() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = scene(&cluster, "leader-publish");
    let publisher = runtime.block_on(scene.publisher());
    let subscriber = runtime.block_on(scene.subscriber("one", MODEL, toy::policy(Process::Test)));
    let held = Held::at(&runtime, &publisher, toy::large(MODEL, 2.0, LARGE_BYTES), a_part_is_sent);
    cluster.kill(cluster.leader(&blobs(&scene), 0).unwrap()).unwrap();
    held.release();
    let published = committed(held.outcome(&runtime));
    assert_eq!((published.generation.get(), published.version.get()), (1, 1));
    let live = subscriber.model(&model(MODEL)).unwrap();
    wait_for("the version to be live", || live.load());
    assert_eq!(predict(&subscriber), 6.0);
    runtime.block_on(subscriber.shutdown());

    let mut chunks = records::values(&scene.kafka, &blobs(&scene));
    let count = chunks.len();
    chunks.sort();
    chunks.dedup();
    assert_eq!(chunks.len(), count, "a chunk was sent again that was there");
}

#[test]
fn a_fetch_goes_on_where_it_was_when_its_leader_dies() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = scene(&cluster, "leader-fetch");
    let publisher = runtime.block_on(scene.publisher());
    let large = toy::large(MODEL, 2.0, FETCHED_BYTES);
    let held = Held::at(&runtime, &publisher, large, |_| true);
    let published = committed(held.outcome(&runtime));

    // Slow enough that the leader dies in the middle.
    let slow = Faults { bytes_per_second: NonZeroU64::new(2_000_000), ..Faults::default() };
    cluster.brokers().into_iter().for_each(|broker| cluster.proxy(broker).set(slow));
    let received = || -> u64 {
        cluster.brokers().map(|broker| cluster.proxy(broker).counts().response_bytes).iter().sum()
    };
    let before = received();
    let subscriber = runtime.block_on(scene.subscriber("one", MODEL, toy::policy(Process::Test)));
    let live = subscriber.model(&model(MODEL)).unwrap();
    let mut steps = live.watch();
    let half = |phase: &Phase| match phase {
        Phase::Fetching { done_bytes, total_bytes } => done_bytes * 2 > *total_bytes,
        _ => false,
    };
    wait_for("half to be fetched", || half(&live.state().phase).then_some(()));
    let leader = cluster.leader(&blobs(&scene), 0).unwrap();
    cluster.kill(leader).unwrap();
    let had = received() - before;
    let there = done_bytes(&live.state().phase).expect("it is still fetching");

    let mut fetched = there;
    let gone_back = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), async {
            while live.load().is_none() {
                steps.changed().await.unwrap();
                let done = done_bytes(&steps.borrow_and_update().phase).unwrap_or(fetched);
                if done < fetched {
                    return Some((fetched, done));
                }
                fetched = done;
            }
            None
        })
        .await
        .expect("the version to be live")
    });
    assert_eq!(gone_back, None, "the fetch started over");
    assert_eq!(predict(&subscriber), 6.0);
    let received = received() - before;
    eprintln!("{received} bytes for {}, {had} of them when the leader died", published.bytes_sent);
    // What was read ahead of the manifest, and what was on its way when the leader died, comes twice. Starting over
    // would have cost half of all.
    let wasted = received.saturating_sub(published.bytes_sent);
    assert!(
        wasted * 8 < published.bytes_sent,
        "{received} bytes for {}, {had} were had",
        published.bytes_sent
    );
    runtime.block_on(subscriber.shutdown());
}

fn done_bytes(phase: &Phase) -> Option<u64> {
    match phase {
        Phase::Fetching { done_bytes, .. } => Some(*done_bytes),
        _ => None,
    }
}
