//! The operator's changes: rollback, pin, unpin and quarantine, as the fleet and the next trainer run see them.

use std::time::{Duration, Instant};

use modelcast::protocol::topic;
use modelcast::settings::KafkaSettings;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::scene::{Scene, model};
use crate::support::{DEADLINE, linear, runtime, wait_for};

const MODEL: &str = "price";
const PROPERTY: &str = "property-value";
/// "Seconds", on a machine that compiles beside it.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(10);

fn change(scene: &Scene, args: &[&str]) -> u64 {
    let done = scene.modelcast(&[args, &["--reason", "a story", "--json"]].concat()).json();
    done["generation"].as_u64().unwrap_or_else(|| panic!("{done:#}"))
}

fn versions_served(apps: &[App], name: &str) -> Vec<Value> {
    apps.iter().map(|app| app.model(name)["served"]["version"].clone()).collect()
}

#[test]
fn a_rollback_holds_against_the_next_run_on_the_same_data() {
    let scene = Scene::new("rollback", &[PROPERTY]);
    let apps = ["app-1", "app-2"].map(|name| scene.app(name, &[PROPERTY]));
    for until in ["2006", "2007"] {
        let args = ["run", "--dataset", "ames", "--until", until, "--wait", "100%", "--timeout", "60s"];
        scene.trainer(&args).must_end_with(0);
    }
    let generation = change(&scene, &["rollback", PROPERTY]);
    for app in &apps {
        app.wait_until_live_within(ROLLBACK_WITHIN, PROPERTY, 1, generation);
    }
    scene.trainer(&["run", "--dataset", "ames", "--until", "2007"]).must_end_with(4).must_say(&[
        "this artifact is the quarantined version 2",
        "a story",
        "quarantine --release",
    ]);
    assert_eq!(versions_served(&apps, PROPERTY), [1, 1]);
    // What else the data gives is not held back.
    let next = scene.trainer(&["run", "--dataset", "ames", "--until", "2008", "--json"]).json();
    assert_eq!((&next["outcome"], &next["version"]), (&json!("committed"), &json!(3)));
}

/// Removes every record of a model's blobs topic; the topic stays.
async fn remove_all_blobs(kafka: &KafkaSettings) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(&topic::blobs(&kafka.namespace, &model(MODEL)).name, 0, Offset::End).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    admin.delete_records(&cut, &options).await.unwrap();
}

#[test]
fn a_rollback_needs_no_download() {
    let (runtime, scene) = (runtime(), Scene::new("no-download", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    let apps = ["app-1", "app-2"].map(|name| scene.app(name, &[MODEL]));
    for version in 1..=2_u32 {
        let request = linear::request(MODEL, f64::from(version));
        let published = runtime.block_on(linear::publish(&publisher, request));
        for app in &apps {
            app.wait_until_live(MODEL, u64::from(version), published.generation.get());
        }
    }
    runtime.block_on(remove_all_blobs(&scene.kafka));

    let started = Instant::now();
    let generation = change(&scene, &["rollback", MODEL]);
    for app in &apps {
        app.wait_until_live_within(ROLLBACK_WITHIN, MODEL, 1, generation);
        let (_, answer) = app.infer(MODEL, &linear::areas(&[3.0]));
        assert_eq!((&answer["model_version"], &answer["outputs"][0]["data"]), (&json!("1"), &json!([3.0])));
    }
    assert!(started.elapsed() < ROLLBACK_WITHIN, "took {:?}", started.elapsed());
    // Nobody else can have it: there is nothing to download.
    let third = scene.app("app-3", &[MODEL]);
    wait_for("a third app to miss it", || {
        (third.model(MODEL)["rejections_total"]["fetch"].as_u64()? > 0).then_some(())
    });
    assert!(!third.is_ready());
}

#[test]
fn a_pin_holds_one_instance_and_a_quarantine_moves_all() {
    let (runtime, scene) = (runtime(), Scene::new("pin", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    let apps = ["app-1", "app-2"].map(|name| scene.app(name, &[MODEL]));
    let publish = |version: u32| {
        let request = linear::request(MODEL, f64::from(version));
        runtime.block_on(linear::publish(&publisher, request)).generation.get()
    };
    publish(1);
    let generation = publish(2);
    apps.iter().for_each(|app| drop(app.wait_until_live(MODEL, 2, generation)));

    let generation = change(&scene, &["pin", MODEL, "1", "--instance", "app-1"]);
    apps[0].wait_until_live(MODEL, 1, generation);
    let generation = publish(3);
    apps[1].wait_until_live(MODEL, 3, generation);
    let pinned = wait_for("the pin to hold at the new generation", || {
        Some(apps[0].model(MODEL)).filter(|found| found["generation_seen"] == generation)
    });
    assert_eq!((&pinned["served"]["version"], &pinned["wanted"]["role"]), (&json!(1), &json!("pinned")));
    let row = scene.wait_for_status(MODEL, "app-1", "the pin in the status", |one| {
        one["standing"] == "live" && one["generation_seen"] == generation
    });
    assert_eq!((&row["wants"]["role"], &row["wants"]["version"]), (&json!("pinned"), &json!(1)));

    let refused = scene.modelcast(&["quarantine", MODEL, "3", "--reason", "bad"]);
    refused.must_end_with(4).must_say(&["version 3 is the champion", "say what runs instead"]);
    let generation = change(&scene, &["quarantine", MODEL, "3", "--instead", "2"]);
    apps[1].wait_until_live(MODEL, 2, generation);
    let generation = change(&scene, &["unpin", MODEL, "--instance", "app-1"]);
    apps.iter().for_each(|app| drop(app.wait_until_live(MODEL, 2, generation)));
    let refused = scene.modelcast(&["rollback", MODEL, "--to", "3", "--reason", "again"]);
    refused.must_end_with(4).must_say(&["version 3 is quarantined by operator", "a story"]);
    let generation = change(&scene, &["quarantine", MODEL, "3", "--release"]);
    let generation = generation.max(change(&scene, &["pin", MODEL, "3", "--all"]));
    apps.iter().for_each(|app| drop(app.wait_until_live(MODEL, 3, generation)));
}
