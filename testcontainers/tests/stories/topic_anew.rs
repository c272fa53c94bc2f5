//! Topics deleted and created anew under readers that run, that hang and that are down: none follows an older state, each
//! serves on and says `history lost`, nobody announces over it, and `modelcast recover` brings the fleet back.

use std::fs;
use std::path::PathBuf;

use modelcast::Publisher;
use modelcast::protocol::topic::{self, TopicSpec};
use modelcast::publish::Class;
use modelcast_testcontainers::{Ability, offers};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::app::App;
use crate::support::scene::{Scene, model};
use crate::support::topics::create_anew;
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
const OTHER: &str = "other";
const LOST: &str = "history lost: generation 3 was seen, the log has 0";

/// Two instances that serve version 2 at generation 3.
struct Fleet {
    runtime: Runtime,
    scene: Scene,
    publisher: Publisher,
    apps: Vec<App>,
}

impl Fleet {
    fn at_generation_3(stem: &str) -> Self {
        let (runtime, scene) = (runtime(), Scene::new(stem, &[MODEL, OTHER]));
        let publisher = runtime.block_on(scene.publisher());
        let apps = ["running", "stopped"].map(|name| scene.app(name, &[MODEL])).into();
        let fleet = Self { runtime, scene, publisher, apps };
        fleet.publish(1);
        fleet.publish(2);
        let pinned =
            fleet.scene.modelcast(&["pin", MODEL, "1", "--instance", "nobody", "--reason", "x", "--json"]);
        assert_eq!(pinned.json()["generation"], 3);
        fleet.must_serve(2, 3);
        fleet
    }

    /// Creates topics anew while one instance runs and the other is down.
    fn lose(&mut self, topics: &[TopicSpec]) {
        let mut down = self.apps.pop().unwrap();
        down.running.kill();
        self.runtime.block_on(create_anew(&self.scene.kafka, topics));
        self.apps.push(self.scene.app("stopped", &[MODEL]));
        for app in &self.apps {
            wait_for("the loss to be noticed", || warns(app, LOST).then_some(()));
            assert!(app.metric("modelcast_warnings{model=\"price\"}").unwrap() >= 1.0);
        }
        self.must_serve(2, 3);
        self.must_be_refused();
    }

    /// Nobody announces while history is lost, and the operator sees why.
    fn must_be_refused(&self) {
        let (status, code) = self.scene.status(MODEL);
        assert_eq!(code, Some(1), "{status:#}");
        assert!(status["problems"].to_string().contains("history lost"), "{status:#}");
        let pin = self.scene.modelcast(&["pin", MODEL, "1", "--all", "--reason", "x"]);
        pin.must_end_with(4).must_say(&["history lost", "generation 3", "modelcast recover price"]);
        let request = linear::request(MODEL, 9.0);
        let error =
            self.runtime.block_on(self.publisher.publish(request, std::sync::Arc::new(|_| {}))).unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        assert!(error.to_string().contains("history lost"), "{error}");
    }

    fn recover(&self, more: &[&str]) -> Value {
        let args = [&["recover", MODEL, "--reason", "a story", "--yes", "--json"], more].concat();
        self.scene.modelcast(&args).json()
    }

    fn publish(&self, weight: u32) -> u64 {
        let request = linear::request(MODEL, f64::from(weight));
        self.runtime.block_on(linear::publish(&self.publisher, request)).generation.get()
    }

    /// Every instance answers with this version, which weighs as much as its number.
    fn must_serve(&self, version: u32, generation: u64) {
        for app in &self.apps {
            app.wait_until_live(MODEL, u64::from(version), 1);
            let what = format!("{} to have seen generation {generation}", app.name);
            wait_for(&what, || (app.model(MODEL)["generation_seen"] == generation).then_some(()));
            let (_, answer) = app.infer(MODEL, &linear::areas(&[3.0]));
            assert_eq!(answer["outputs"][0]["data"], json!([3.0 * f64::from(version)]), "{answer}");
        }
    }

    /// Whoever was there and whoever comes new runs what is published next; the operator sees nothing amiss.
    fn must_go_on(mut self, weight: u32, version: u32) {
        let published = self
            .runtime
            .block_on(linear::publish(&self.publisher, linear::request(MODEL, f64::from(weight))));
        assert_eq!(published.version.get(), u64::from(version));
        self.apps.push(self.scene.app("new", &[MODEL]));
        for app in &self.apps {
            app.wait_until_live(MODEL, u64::from(version), published.generation.get());
            let (_, answer) = app.infer(MODEL, &linear::areas(&[3.0]));
            assert_eq!(answer["outputs"][0]["data"], json!([3.0 * f64::from(weight)]), "{answer}");
            assert!(!warns(app, "history lost"), "{:#}", app.model(MODEL));
        }
        wait_for("the operator to see all well", || (self.scene.status(MODEL).1 == Some(0)).then_some(()));
        self.scene.modelcast(&["verify", MODEL]).must_end_with(0);
        assert_eq!(self.recover(&[])["outcome"], "unchanged");
    }

    fn announcements(&self) -> TopicSpec {
        topic::announcements(&self.scene.kafka.namespace)
    }

    fn audit(&self) -> TopicSpec {
        topic::audit(&self.scene.kafka.namespace)
    }

    fn blobs(&self) -> TopicSpec {
        topic::blobs(&self.scene.kafka.namespace, &model(MODEL))
    }

    /// The announcement that an instance keeps beside the version it serves.
    fn kept_announcement(&self, app: &str) -> PathBuf {
        let folder = self.scene.path(&format!("state-{app}"));
        let versions = folder.join(self.scene.kafka.namespace.as_str()).join(MODEL).join("versions");
        let served = self.apps[0].model(MODEL)["served"]["manifest"].as_str().unwrap().replace("blake3:", "");
        let kept = versions.join(served).join("announcement");
        assert!(kept.is_file(), "{} is not among {:?}", kept.display(), fs::read_dir(&versions).unwrap());
        kept
    }
}

fn warns(app: &App, of: &str) -> bool {
    app.model(MODEL)["warnings"].to_string().contains(of)
}

#[test]
fn lost_announcements_are_appended_as_they_were_and_nobody_is_contradicted() {
    if !offers(&[Ability::OutOfRange]) {
        return;
    }
    let mut fleet = Fleet::at_generation_3("anew");
    fleet.lose(&[fleet.announcements()]);

    let seen = fleet.scene.modelcast(&["recover", MODEL, "--reason", "x", "--dry-run"]);
    seen.must_end_with(0);
    for part in
        ["running", "stopped", "generation 3", "in the audit topic", "append generation 3", "version 2"]
    {
        assert!(seen.stdout.contains(part), "{part:?} is not in {}", seen.stdout);
    }
    let refused = fleet.scene.modelcast(&["recover", MODEL, "--reason", "x"]);
    refused.must_end_with(4).must_say(&["not confirmed", "--yes"]);
    fleet.must_be_refused();

    let swaps =
        |fleet: &Fleet| fleet.apps.iter().map(|app| app.model(MODEL)["swaps"].clone()).collect::<Vec<_>>();
    let before = swaps(&fleet);
    let done = fleet.recover(&[]);
    assert_eq!((&done["outcome"], &done["generation"]), (&json!("recovered"), &json!(3)));
    for app in &fleet.apps {
        wait_for("the warning to go", || (app.model(MODEL)["warnings"] == json!([])).then_some(()));
    }
    fleet.must_serve(2, 3);
    assert_eq!(swaps(&fleet), before, "there was nothing to swap");
    fleet.must_go_on(3, 3);
}

#[test]
fn without_the_audit_topic_the_fleet_is_brought_above_what_it_has_seen() {
    if !offers(&[Ability::OutOfRange]) {
        return;
    }
    let mut fleet = Fleet::at_generation_3("anew-audit");
    fleet.lose(&[fleet.announcements(), fleet.audit()]);
    let done = fleet.recover(&[]);
    assert_eq!((&done["generation"], &done["plan"]["champion"]), (&json!(4), &json!(2)), "{done:#}");
    assert_eq!(done["plan"]["source"], Value::Null);
    fleet.must_serve(2, 4);
    fleet.must_go_on(3, 3);
}

#[test]
fn without_the_blobs_the_announcements_are_restored_and_the_artifact_is_published_again() {
    if !offers(&[Ability::OutOfRange]) {
        return;
    }
    let mut fleet = Fleet::at_generation_3("anew-blobs");
    fleet.lose(&[fleet.announcements(), fleet.blobs()]);
    let done = fleet.recover(&[]);
    assert_eq!(done["generation"], 3);
    let warnings = done["plan"]["warnings"].to_string();
    assert!(warnings.contains("version 2, the champion, cannot be fetched any more"), "{warnings}");
    fleet.must_serve(2, 3);
    fleet.must_go_on(2, 3);
}

#[test]
fn without_any_topic_an_instances_own_copy_of_the_announcement_founds_the_model_again() {
    if !offers(&[Ability::OutOfRange]) {
        return;
    }
    let mut fleet = Fleet::at_generation_3("anew-all");
    fleet.lose(&[fleet.announcements(), fleet.audit(), fleet.blobs()]);
    let recover = ["recover", MODEL, "--reason", "x", "--yes"];
    fleet
        .scene
        .modelcast(&recover)
        .must_end_with(4)
        .must_say(&["nothing tells what price should run", "--from FILE"]);
    let foreign = fleet.scene.shown("operator.toml");
    let refused = fleet.scene.modelcast(&[&recover[..], &["--from", &foreign]].concat());
    refused.must_end_with(4).must_say(&["no announcement of this model"]);

    // The one of generation 3: a version that serves on is kept with the announcement that says so.
    let kept = fleet.kept_announcement("running").display().to_string();
    let done = fleet.recover(&["--from", &kept]);
    assert_eq!(
        (&done["generation"], &done["plan"]["source"]["place"]),
        (&json!(3), &json!("given")),
        "{done:#}"
    );
    fleet.must_serve(2, 3);
    fleet.must_go_on(2, 3);
}

#[test]
fn topics_that_are_missing_are_to_be_created_first() {
    let scene = Scene::bare(
        modelcast_testcontainers::Kafka::shared().bootstrap_servers(),
        &modelcast_testcontainers::Kafka::shared().namespace("anew-missing"),
    );
    let refused = scene.modelcast(&["recover", MODEL, "--reason", "x"]);
    refused.must_end_with(1).must_say(&["is missing", "modelcast topics create"]);
}

#[test]
fn a_hanging_reader_notices_a_log_that_was_created_anew_and_grew_past_its_offset() {
    let mut fleet = Fleet::at_generation_3("anew-refilled");
    fleet.apps[0].running.freeze();
    fleet.runtime.block_on(create_anew(&fleet.scene.kafka, &[fleet.announcements()]));
    for weight in 1..=5_u32 {
        let other = linear::request(OTHER, f64::from(weight));
        fleet.runtime.block_on(linear::publish(&fleet.publisher, other));
    }
    fleet.apps[0].running.thaw();
    for app in &fleet.apps {
        wait_for("the loss to be noticed", || warns(app, LOST).then_some(()));
    }
    fleet.must_serve(2, 3);
    fleet.must_be_refused();

    assert_eq!(fleet.recover(&[])["generation"], 3);
    for app in &fleet.apps {
        wait_for("the warning to go", || (app.model(MODEL)["warnings"] == json!([])).then_some(()));
    }
    fleet.must_go_on(3, 3);
}
