//! The disk of the blobs' leader is full: the others go on, and every outcome is what the log tells.

use std::sync::Arc;

use modelcast::protocol::topic;
use modelcast::publish::{Class, PublishedVersion};
use modelcast::{PublishError, Published};
use modelcast_testcontainers::{Ability, Cluster, offers};

use crate::support::scene::{Scene, model};
use crate::support::toy::{self, Process};
use crate::support::{runtime, wait_for};

const MODEL: &str = "price";
const SIZE_BYTES: usize = 4_000_000;
const VERSIONS: u32 = 3;

/// What may come of a publish meanwhile, and must then be so: committed, or not and said to be worth another try.
fn judge(outcome: Result<Published, PublishError>) -> Option<PublishedVersion> {
    match outcome {
        Ok(Published::Committed(published)) => Some(*published),
        Err(error) if error.class() == Class::Unavailable => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_stops_one_broker_and_makes_no_outcome_untrue() {
    if !offers(&[Ability::Cluster, Ability::DiskFull]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("disk-full"), &[MODEL]);
    let publisher = runtime.block_on(scene.publisher());
    let subscriber = runtime.block_on(scene.subscriber("one", MODEL, toy::policy(Process::Test)));
    let live = subscriber.model(&model(MODEL)).unwrap();
    let leader = cluster.leader(&topic::blobs(&scene.kafka.namespace, &model(MODEL)).name, 0).unwrap();

    cluster.fill_disk(leader).unwrap();
    let publish = |weight| {
        let request = toy::large(MODEL, f64::from(weight), SIZE_BYTES);
        judge(runtime.block_on(publisher.publish(request, Arc::new(drop))))
    };
    let mut committed: Vec<_> = (1..VERSIONS).filter_map(publish).collect();
    committed.push(wait_for("the others to go on", || publish(VERSIONS)));
    let moved = cluster.leader(&topic::blobs(&scene.kafka.namespace, &model(MODEL)).name, 0).unwrap();
    assert_ne!(moved, leader, "its disk was not full");
    let (_, history) = runtime.block_on(publisher.catalog().history(&model(MODEL))).unwrap();
    let of_log: Vec<_> = history.iter().map(|one| one.digest).collect();
    assert_eq!(of_log, committed.iter().map(|one| one.announcement).collect::<Vec<_>>());
    let last = committed.last().unwrap().manifest;
    wait_for("the last version to be live", || live.load().filter(|loaded| loaded.digest() == last));

    cluster.free_disk(leader).unwrap();
    cluster.restart(leader).unwrap();
    runtime.block_on(subscriber.shutdown());
}
