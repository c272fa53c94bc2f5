//! Guarantee 4: what was `Committed` survives the loss of any one broker at that moment; and of 5, that nothing is called
//! committed that only one broker has.

use std::error::Error as _;
use std::time::Duration;

use modelcast::PublishError;
use modelcast::protocol::topic;
use modelcast_testcontainers::{Ability, Cluster, offers};

use crate::support::held::{Held, before_announcing, committed};
use crate::support::scene::{Scene, model};
use crate::support::toy::{self, Process};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
/// Too large to travel inside the announcement.
const SIZE_BYTES: usize = 300_000;

#[test]
fn what_was_committed_survives_the_loss_of_any_one_broker() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("survives"), &[MODEL]);
    for (place, broker) in cluster.brokers().into_iter().enumerate() {
        let weight = f64::from(u32::try_from(place).unwrap() + 1);
        let publisher = runtime.block_on(scene.publisher());
        let request = toy::large(MODEL, weight, SIZE_BYTES);
        let held = Held::at(&runtime, &publisher, request, before_announcing);
        let published = committed(held.outcome(&runtime));
        cluster.kill(broker).unwrap();

        let name = format!("reader-{place}");
        let fresh = runtime.block_on(scene.subscriber(&name, MODEL, toy::policy(Process::Test)));
        let live = fresh.model(&model(MODEL)).unwrap();
        let loaded = wait_for("the version to be live", || live.load());
        assert_eq!(loaded.digest(), published.manifest);
        let mut outputs = [0.0];
        loaded.predict(&[3.0], &mut outputs).unwrap();
        assert_eq!(outputs, [3.0 * weight]);
        let in_force = runtime.block_on(publisher.catalog().in_force(&model(MODEL))).unwrap().unwrap();
        assert_eq!(in_force.announcement.digest, published.announcement);
        runtime.block_on(fresh.shutdown());
        cluster.restart(broker).unwrap();
    }
}

#[test]
fn what_only_one_broker_has_is_unknown_until_the_others_are_back() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let mut scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("alone"), &[MODEL]);
    // How long librdkafka goes on sending by itself.
    scene.kafka.properties.insert("message.timeout.ms".to_owned(), "5000".to_owned());
    let publisher = runtime.block_on(scene.publisher()).with_announce_deadline(Duration::ZERO);
    let held = Held::at(&runtime, &publisher, linear::request(MODEL, 2.0), before_announcing);
    let announcements = topic::announcements(&scene.kafka.namespace).name;
    let leader = cluster.leader(&announcements, 0).unwrap();
    let others = cluster.brokers().into_iter().filter(|broker| *broker != leader);
    others.for_each(|broker| cluster.kill(broker).unwrap());
    let sent = || cluster.proxy(leader).counts().produces();
    let before = sent();
    held.release();
    let error = held.outcome(&runtime).unwrap_err();
    assert!(sent() > before, "nothing was sent to broker {leader}");
    let PublishError::Unknown { generation, digest, .. } = error else { panic!("{error:?}") };
    // It can be read, and ends before what only its leader has.
    assert!(error.source().unwrap().to_string().contains("not in the log"), "{error:?}");

    cluster.heal().unwrap();
    let (generation, digest_text) = (generation.to_string(), digest.to_string());
    let settle = ["settle", MODEL, &generation, &digest_text, "--json"];
    // A follower is in sync a moment before what it takes is committed.
    wait_for("the command to say what the log says", || {
        let in_force = runtime.block_on(publisher.catalog().in_force(&model(MODEL))).unwrap();
        let came = in_force.is_some_and(|in_force| in_force.announcement.digest == digest);
        let expected = if came { (Some(0), "committed") } else { (Some(5), "undecided") };
        let settled = scene.modelcast(&settle);
        ((settled.code, settled.any_json()["outcome"].as_str()) == (expected.0, Some(expected.1)))
            .then_some(())
    });
}
