//! From an empty Kafka to two apps that follow what a trainer publishes.

use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::scene::Scene;

const PROPERTY: &str = "property-value";
const CANCER: &str = "breast-cancer";

/// A request made of what a model's schema calls typical.
fn typical(schema: &Value) -> Value {
    let input = |feature: &Value| {
        let (kind, datatype) = match feature["kind"].get("numeric") {
            Some(numeric) => (numeric, "FP64"),
            None => (&feature["kind"]["categorical"], "BYTES"),
        };
        json!({ "name": feature["name"], "datatype": datatype, "shape": [1, 1], "data": [kind["typical"]] })
    };
    let inputs: Vec<Value> = schema["features"].as_array().unwrap().iter().map(input).collect();
    json!({ "inputs": inputs })
}

/// Trains and publishes, waits for the fleet, and finds both apps live on it; gives what both answered.
fn publish_and_ask(scene: &Scene, apps: &[App], args: &[&str], model: &str, version: u64) -> f64 {
    let package = scene.shown(&format!("package-{model}-{version}"));
    scene.trainer(&[&["train", "--out", &package], args].concat()).must_end_with(0);
    let schema = std::fs::read_to_string(format!("{package}/schema.json")).unwrap();
    let request = typical(&serde_json::from_str(&schema).unwrap());

    let published =
        scene.trainer(&[&["run", "--wait", "100%", "--timeout", "60s", "--json"], args].concat()).json();
    assert_eq!((&published["outcome"], &published["version"]), (&json!("committed"), &json!(version)));
    assert_eq!((&published["waited"]["live"], &published["waited"]["reached"]), (&json!(2), &json!(true)));
    let answers: Vec<f64> = apps
        .iter()
        .map(|app| {
            app.wait_until_live(model, version, published["generation"].as_u64().unwrap());
            let (status, answer) = app.infer(model, &request);
            assert_eq!(status, 200, "{answer}");
            assert_eq!(answer["model_name"], model);
            assert_eq!(answer["model_version"], version.to_string());
            assert_eq!(answer["parameters"]["digest"], published["manifest"]);
            assert_eq!(answer["parameters"]["generation"], published["generation"]);
            answer["outputs"][0]["data"][0].as_f64().unwrap()
        })
        .collect();
    assert_eq!(answers[0].to_bits(), answers[1].to_bits());
    answers[0]
}

#[test]
fn both_apps_go_live_on_each_version_that_a_trainer_publishes() {
    let scene = Scene::new("publish-and-swap", &[PROPERTY, CANCER]);
    let apps = ["app-1", "app-2"].map(|name| scene.app(name, &[PROPERTY, CANCER]));
    for app in &apps {
        assert!(!app.is_ready(), "nothing is published yet");
    }
    for model in [PROPERTY, CANCER] {
        scene.wait_until_reported(model, apps.len());
    }
    let prices: Vec<f64> = ["2006", "2007", "2008"]
        .iter()
        .zip(1..)
        .map(|(until, version)| {
            publish_and_ask(&scene, &apps, &["--dataset", "ames", "--until", until], PROPERTY, version)
        })
        .collect();
    assert!(prices.iter().all(|price| (50_000.0..500_000.0).contains(price)), "{prices:?}");
    assert!(prices.is_sorted_by(|one, next| one != next), "all versions answer the same: {prices:?}");
    let probability = publish_and_ask(&scene, &apps, &["--dataset", "breast-cancer"], CANCER, 1);
    assert!((0.0..=1.0).contains(&probability));
    assert!(apps.iter().all(App::is_ready));

    for model in [PROPERTY, CANCER] {
        let (status, code) = scene.status(model);
        assert_eq!((code, &status["counts"]["live"]), (Some(0), &json!(2)), "{status:#}");
    }
    let again = scene.trainer(&["run", "--dataset", "ames", "--until", "2008", "--json"]).json();
    assert_eq!((&again["outcome"], &again["version"]), (&json!("unchanged"), &json!(3)));
    for app in apps {
        app.stop();
    }
    let (status, _) = scene.status(PROPERTY);
    assert_eq!(status["instances"], json!([]), "an orderly end withdraws the status");
}
