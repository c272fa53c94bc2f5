//! Coefficients fitted elsewhere, published by hand: a dry run first, gates that say no, and what became of it.
//!
//! The coefficients are those that scikit-learn fitted for the trainer's own tests.

use std::path::PathBuf;
use std::time::Duration;

use modelcast::protocol::{Digest, topic};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::programs::{Ended, root};
use crate::support::scene::{Scene, model};

const MODEL: &str = "breast-cancer";
const KAFKA_DEADLINE: Duration = Duration::from_secs(30);

/// What scikit-learn fitted.
fn fitted() -> Value {
    let path = root().join("trainer/tests/fixtures/scikit_breast_cancer.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The same with another intercept, as a file.
fn with_intercept(scene: &Scene, intercept: f64) -> String {
    let mut coefficients = fitted();
    coefficients["intercept"] = json!(intercept);
    let name = format!("coefficients-{intercept}.json");
    let path: PathBuf = scene.write(&name, &coefficients.to_string());
    path.display().to_string()
}

fn publish(scene: &Scene, file: &str, more: &[&str]) -> Ended {
    let args = ["publish", "--dataset", MODEL, "--artifact", file, "--reason", "a story", "--json"];
    scene.trainer(&[&args, more].concat())
}

/// Where the topics that a publisher writes to end.
fn ends(scene: &Scene) -> [i64; 2] {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let namespace = &scene.kafka.namespace;
    [topic::blobs(namespace, &model(MODEL)), topic::announcements(namespace)]
        .map(|topic| consumer.fetch_watermarks(&topic.name, 0, KAFKA_DEADLINE).unwrap().1)
}

/// The app answers as these coefficients do. At the means of all features only the intercept counts.
fn must_answer_as(app: &App, published: &Value, intercept: f64) {
    let (version, generation) = (published["version"].as_u64().unwrap(), published["generation"].as_u64());
    app.wait_until_live(MODEL, version, generation.unwrap());
    let tensor = |(name, scaling): (&String, &Value)| {
        let data = [&scaling["mean"]];
        json!({ "name": name, "datatype": "FP64", "shape": [1, 1], "data": data })
    };
    let inputs: Vec<Value> = fitted()["standardize"].as_object().unwrap().iter().map(tensor).collect();
    let (status, answer) = app.infer(MODEL, &json!({ "inputs": inputs }));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["parameters"]["digest"], published["manifest"]);
    let (found, wanted) =
        (answer["outputs"][0]["data"][0].as_f64().unwrap(), 1.0 / (1.0 + (-intercept).exp()));
    assert!((found - wanted).abs() < 1e-9, "{found} instead of {wanted}");
}

#[test]
fn coefficients_fitted_elsewhere_go_live_and_a_dry_run_sends_nothing() {
    let scene = Scene::new("by-hand", &[MODEL]);
    let app = scene.app("app-1", &[MODEL]);
    let [first, second] = [-0.6, -0.61].map(|intercept| with_intercept(&scene, intercept));
    let published = publish(&scene, &first, &[]).json();
    assert_eq!((&published["outcome"], &published["version"]), (&json!("committed"), &json!(1)));
    must_answer_as(&app, &published, -0.6);

    let before = ends(&scene);
    let tried = publish(&scene, &second, &["--dry-run"]).json();
    assert_eq!((&tried["outcome"], &tried["generation"]), (&json!("dry_run"), &Value::Null));
    assert!(!tried["gates"].as_array().unwrap().is_empty(), "{tried:#}");
    assert_eq!(ends(&scene), before, "a dry run sent something");

    let published = publish(&scene, &second, &[]).json();
    assert_eq!((&published["outcome"], &published["generation"]), (&json!("committed"), &json!(2)));
    assert_ne!(ends(&scene), before);
    must_answer_as(&app, &published, -0.61);
}

#[test]
fn a_gate_that_refuses_can_be_overridden_by_its_name_with_a_reason() {
    let scene = Scene::new("gates", &[MODEL]);
    let app = scene.app("app-1", &[MODEL]);
    let shipped = std::fs::read_to_string(scene.path("trainer.toml")).unwrap();
    let strict = shipped.replacen("at_least = 0.95,", "at_least = 0.999,", 1);
    assert_ne!(strict, shipped);
    scene.write("trainer.toml", &strict);
    let file = with_intercept(&scene, -0.6);
    let before = ends(&scene);

    let refused = publish(&scene, &file, &[]);
    refused.must_end_with(4).must_say(&["refused by gate accuracy", "at least 0.999"]);
    assert_eq!(refused.any_json()["outcome"], "refused");
    publish(&scene, &file, &["--dry-run"]).must_end_with(4).must_say(&["refused by gate accuracy"]);
    let mistyped = publish(&scene, &file, &["--override", "acuracy=few rows"]);
    mistyped.must_end_with(4).must_say(&["\"acuracy\"", "golden", "size", "schema", "accuracy-vs-champion"]);
    // An override of another gate does not cover it.
    let other = publish(&scene, &file, &["--override", "log_loss=few rows"]);
    other.must_end_with(4).must_say(&["refused by gate accuracy"]);
    assert_eq!(ends(&scene), before, "something was sent");

    let published = publish(&scene, &file, &["--override", "accuracy=few rows"]).json();
    assert_eq!((&published["outcome"], &published["version"]), (&json!("committed"), &json!(1)));
    let gates = published["gates"].as_array().unwrap();
    let gate = gates.iter().find(|gate| gate["gate"] == "accuracy").unwrap();
    assert_eq!(gate["verdict"], "overridden", "{gate}");
    assert!(gate["detail"].as_str().unwrap().contains("few rows"), "{gate}");
    must_answer_as(&app, &published, -0.6);
}

#[test]
fn settle_says_what_became_of_an_announcement() {
    let scene = Scene::new("settle", &[MODEL]);
    let published = publish(&scene, &with_intercept(&scene, -0.6), &["--author", "ada"]).json();
    let generation = published["generation"].to_string();
    let digest = published["digest"].as_str().unwrap();
    let settle = |digest: &str, more: &[&str]| {
        scene.modelcast(&[&["settle", MODEL, &generation, digest], more].concat())
    };

    let committed = settle(digest, &[]);
    assert!(committed.must_end_with(0).stdout.contains("committed at generation 1"), "{committed:?}");
    assert_eq!(settle(digest, &["--json"]).json()["outcome"], "committed");

    let made_up = Digest::of(b"never sent").to_string();
    let lost = settle(&made_up, &[]);
    lost.must_end_with(3);
    for word in ["conflict at generation 1", "publish version 1", "by ada", "a story"] {
        assert!(lost.stdout.contains(word), "{word:?} is not in: {}", lost.stdout);
    }
    let lost = settle(&made_up, &["--json"]);
    let told = lost.must_end_with(3).any_json();
    assert_eq!((&told["outcome"], &told["by"]), (&json!("conflict"), &published["digest"]));
}
