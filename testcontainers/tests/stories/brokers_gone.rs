//! All brokers of a cluster die at once and an app is restarted meanwhile.
//!
//! What an app does without a Kafka at all is told by `restart_without_kafka`; here the cluster comes back from kill -9.

use modelcast_testcontainers::{Ability, Cluster, offers};
use serde_json::json;

use crate::support::app::App;
use crate::support::scene::Scene;
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";

fn must_answer_with(app: &App, version: u32) {
    let (status, answer) = app.infer(MODEL, &linear::areas(&[3.0]));
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([3.0 * f64::from(version)])));
}

#[test]
fn apps_outlive_the_cluster_and_follow_it_when_it_is_back() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("gone"), &[MODEL]);
    let publisher = runtime.block_on(scene.publisher());
    let mut apps = ["app-1", "app-2"].map(|name| scene.app(name, &[MODEL]));
    for version in 1..=2_u32 {
        let weight = f64::from(version);
        runtime.block_on(linear::publish(&publisher, linear::request(MODEL, weight)));
    }
    apps.iter().for_each(|app| drop(app.wait_until_live(MODEL, 2, 2)));

    cluster.brokers().into_iter().for_each(|broker| cluster.kill(broker).unwrap());
    let is_cut_off = |app: &App| app.model(MODEL)["warnings"].to_string().contains("no news");
    apps[1].running.kill();
    apps[1] = scene.app("app-2", &[MODEL]);
    apps[1].wait_until_live(MODEL, 2, 2);
    for app in &apps {
        wait_for("the app to notice", || is_cut_off(app).then_some(()));
        must_answer_with(app, 2);
    }
    let age = |app: &App| app.model(MODEL)["news_age_seconds"].as_f64();
    assert!(age(&apps[0]).is_some_and(|age| age > 0.0));
    assert_eq!(age(&apps[1]), None, "this process has never heard of the log");

    cluster.heal().unwrap();
    let published = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 3.0)));
    assert_eq!(published.generation.get(), 3, "the log came back as it was");
    for app in &apps {
        app.wait_until_live(MODEL, 3, 3);
        must_answer_with(app, 3);
        wait_for("the warning to go", || (app.model(MODEL)["warnings"] == json!([])).then_some(()));
        assert!(age(app).is_some());
    }
}
