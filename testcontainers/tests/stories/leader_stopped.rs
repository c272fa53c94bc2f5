//! A leader that is stopped, not killed: its connections stay and nothing comes through them.

use std::time::{Duration, Instant};

use modelcast::protocol::topic;
use modelcast_testcontainers::{Ability, BrokerId, Cluster, offers};
use serde_json::json;

use crate::support::scene::Scene;
use crate::support::{linear, look_within, runtime, wait_for, whole_machine};

const MODEL: &str = "price";
/// From the stop to the next version live, publishing it included.
const NEWS_WITHIN: Duration = Duration::from_secs(20);
/// Younger news would mean that the stopped leader was not missed.
const MISSED: f64 = 3.0;

/// Announcements that the active controller leads: it takes longest until both have another.
fn led_by_the_controller(cluster: &Cluster) -> (Scene, BrokerId) {
    wait_for("announcements that the controller leads", || {
        let scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("hangs"), &[MODEL]);
        let announcements = topic::announcements(&scene.kafka.namespace).name;
        let leader = cluster.leader(&announcements, 0).unwrap();
        (leader == cluster.controller().unwrap()).then_some((scene, leader))
    })
}

#[test]
fn news_arrives_within_20_s_although_its_leader_hangs() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let _turn = whole_machine();
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let (scene, leader) = led_by_the_controller(&cluster);
    let publisher = runtime.block_on(scene.publisher());
    runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    let app = scene.app("app-1", &[MODEL]);
    app.wait_until_live(MODEL, 1, 1);

    cluster.freeze(leader).unwrap();
    let stopped = Instant::now();
    let publish =
        runtime.spawn(async move { linear::publish(&publisher, linear::request(MODEL, 2.0)).await });
    let mut oldest = 0_f64;
    let arrived = look_within(NEWS_WITHIN.saturating_sub(stopped.elapsed()), || {
        let status = app.model(MODEL);
        oldest = oldest.max(status["news_age_seconds"].as_f64().unwrap());
        (status["served"]["version"] == 2).then_some(())
    });
    assert!(arrived.is_some(), "after {:?}: {:#}", stopped.elapsed(), app.model(MODEL));
    eprintln!("news {:?} after the stop, at most {oldest} s old", stopped.elapsed());
    assert!(oldest > MISSED, "the news were never older than {oldest} s");
    assert_eq!(runtime.block_on(publish).unwrap().generation.get(), 2);
}

#[test]
fn a_reader_that_is_cut_off_from_news_says_so_and_for_how_long() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("cut-off"), &[MODEL]);
    let publisher = runtime.block_on(scene.publisher());
    runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    let app = scene.app("app-1", &[MODEL]);
    app.wait_until_live(MODEL, 1, 1);

    cluster.brokers().into_iter().for_each(|broker| cluster.freeze(broker).unwrap());
    let stopped = Instant::now();
    let status = wait_for("the app to notice", || {
        let status = app.model(MODEL);
        status["warnings"].to_string().contains("no news").then_some(status)
    });
    let (age, passed) = (status["news_age_seconds"].as_f64().unwrap(), stopped.elapsed().as_secs_f64());
    assert!(age > MISSED && age < passed + MISSED, "{age} s old, {passed} s after the stop");
    assert_eq!(app.infer(MODEL, &linear::areas(&[3.0])).0, 200);

    cluster.brokers().into_iter().for_each(|broker| cluster.thaw(broker).unwrap());
    cluster.wait_until_in_sync().unwrap();
    runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 2.0)));
    app.wait_until_live(MODEL, 2, 2);
    wait_for("the warning to go", || (app.model(MODEL)["warnings"] == json!([])).then_some(()));
}
