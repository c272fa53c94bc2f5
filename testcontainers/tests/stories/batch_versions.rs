//! Which version scores a file: the one that was live when the run began, to its end, and with Kafka gone the last known
//! good one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use modelcast::Publisher;
use modelcast_testcontainers::{Ability, Kafka, offers};
use serde_json::Value;

use crate::support::programs::{Ended, Running, command, run};
use crate::support::scene::Scene;
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
const ROWS: u32 = 200_000;

/// Settings for `consumer-app batch` in the scene's folder, and an input of areas 0, 1, 2...
fn configure(scene: &Scene, more: &str) -> String {
    let mut input = File::create(scene.path("areas.csv")).unwrap();
    let rows: String = (0..ROWS).map(|area| format!("{area}\n")).collect();
    write!(input, "area\n{rows}").unwrap();
    let text = format!(
        "[kafka]\nbootstrap_servers = \"{}\"\nnamespace = \"{}\"\n[keys]\ntrusted = [{:?}]\n\
         [instance]\nname = \"batch-1\"\nstate = {:?}\n[model]\nname = \"{MODEL}\"\n\
         [input]\npath = {:?}\n[output]\nto = \"csv\"\npath = {:?}\n[run]\ncommit_rows = 1\n{more}",
        scene.kafka.bootstrap_servers,
        scene.kafka.namespace,
        scene.path("keys"),
        scene.path("state-batch"),
        scene.path("areas.csv"),
        scene.path("prices.csv"),
    );
    scene.write("batch.toml", &text).display().to_string()
}

fn publish(publisher: &Publisher, weight: f64) {
    runtime().block_on(linear::publish(publisher, linear::request(MODEL, weight)));
}

fn batch(scene: &Scene, config: &str) -> Ended {
    run("consumer-app", &["batch", "--once", "--json", "--config", config], &scene.folder())
}

fn journal(scene: &Scene) -> Option<Value> {
    serde_json::from_slice(&fs::read(scene.path("state-batch/batch/journal.json")).ok()?).ok()
}

/// Starts a run and kills it when some rows are committed.
fn killed(scene: &Scene, config: &str) {
    let mut command = command("consumer-app");
    command.args(["batch", "--once", "--config", config]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running::start(&mut command);
    wait_for("rows to be committed", || {
        journal(scene).filter(|journal| journal["position"].as_u64() > Some(0)).map(drop)
    });
    running.kill();
    assert!(!scene.path("prices.csv").exists(), "the run was complete before it was killed");
}

/// All prices are those of one version.
fn must_be_priced_by(scene: &Scene, version: u64, weight: u32) {
    let text = fs::read_to_string(scene.path("prices.csv")).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().ends_with(",price"));
    let mut rows = 0;
    for (area, line) in (0..ROWS).zip(lines) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!((cells[0], cells[2]), (area.to_string().as_str(), version.to_string().as_str()));
        assert_eq!(cells[5].parse(), Ok(f64::from(area * weight)), "{line}");
        rows += 1;
    }
    assert_eq!(rows, ROWS);
    fs::remove_file(scene.path("prices.csv")).unwrap();
}

#[test]
fn a_run_that_is_resumed_goes_on_with_its_version_as_long_as_it_is_announced() {
    let scene = Scene::new("batch-versions", &[MODEL]);
    let publisher = runtime().block_on(scene.publisher());
    let config = configure(&scene, "");
    publish(&publisher, 1.0);
    killed(&scene, &config);
    publish(&publisher, 2.0);
    let ended = batch(&scene, &config);
    let report = ended.json();
    assert_eq!((&report["version"], report["resumed_at"].as_u64() > Some(0)), (&Value::from(1), true));
    ended.must_say(&["fetching the version that the run began with"]);
    must_be_priced_by(&scene, 1, 1);

    killed(&scene, &config);
    // The last 16 versions stay announced.
    for weight in 3..=20 {
        publish(&publisher, f64::from(weight));
    }
    let ended = batch(&scene, &config);
    let report = ended.json();
    assert_eq!((&report["version"], &report["resumed_at"]), (&Value::from(20), &Value::from(0)));
    ended.must_say(&["version 2 is no longer announced"]);
    must_be_priced_by(&scene, 20, 20);
}

#[test]
fn a_run_whose_version_was_quarantined_meanwhile_begins_again_with_another() {
    let scene = Scene::new("batch-quarantine", &[MODEL]);
    let publisher = runtime().block_on(scene.publisher());
    let config = configure(&scene, "");
    publish(&publisher, 1.0);
    killed(&scene, &config);
    publish(&publisher, 2.0);
    scene.modelcast(&["quarantine", MODEL, "1", "--reason", "wrong rows"]).must_end_with(0);
    let ended = batch(&scene, &config);
    let report = ended.json();
    assert_eq!((&report["version"], &report["resumed_at"]), (&Value::from(2), &Value::from(0)));
    ended.must_say(&["version 1 is no longer announced, or not to be used"]);
    must_be_priced_by(&scene, 2, 2);
}

#[test]
fn the_last_known_good_version_scores_while_kafka_is_gone() {
    if !offers(&[Ability::Restart]) {
        return;
    }
    let kafka = Kafka::start().unwrap();
    let scene = Scene::on(&kafka, "batch-alone", &[MODEL]);
    let publisher = runtime().block_on(scene.publisher());
    let config = configure(&scene, "model_wait_seconds = 5\n");
    publish(&publisher, 3.0);
    batch(&scene, &config).json();
    must_be_priced_by(&scene, 1, 3);
    kafka.stop().unwrap();
    let ended = batch(&scene, &config);
    assert_eq!(ended.json()["version"], 1);
    ended.must_say(&["scoring with the last known good version"]);
    must_be_priced_by(&scene, 1, 3);
}

#[test]
fn every_version_that_goes_live_is_scored_with() {
    let scene = Scene::new("batch-live", &[MODEL]);
    let publisher = runtime().block_on(scene.publisher());
    let config = configure(&scene, "when = \"live\"\n");
    let out = scene.path("out");
    let mut command = command("consumer-app");
    command.args(["batch", "--json", "--config", &config]).stdin(Stdio::null());
    command.stdout(File::create(&out).unwrap()).stderr(File::create(scene.path("log")).unwrap());
    let mut running = Running::start(&mut command);
    for version in 1..=3 {
        publish(&publisher, f64::from(version));
        wait_for("a run with the new version", || {
            newest(&out).filter(|newest| *newest == u64::from(version))
        });
        must_be_priced_by(&scene, u64::from(version), version);
    }
    running.terminate();
    wait_for("the program to end", || (!running.runs()).then_some(()));
}

/// The version of the last report.
fn newest(out: &Path) -> Option<u64> {
    let text = fs::read_to_string(out).ok()?;
    let last: Value = serde_json::from_str(text.lines().last()?).ok()?;
    last["version"].as_u64()
}
