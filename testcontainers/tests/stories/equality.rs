//! One artifact, every way to deploy it: the same 500 rows give the same predictions, to the last bit.
//!
//! scikit-learn fits the coefficients of both data sets; the trainer exports and publishes them, `modelcast pull` fetches
//! the version, and each way answers the same rows. What scikit-learn itself predicts for them is the measure.

use std::fs;
use std::path::Path;
use std::process::Command;

use modelcast::models::Value as Cell;
use modelcast::{LoadedModel, admission::Policy};
use modelcast_testcontainers::{Ability, offers};
use serde_json::{Map, Value, json};

use crate::support::app::App;
use crate::support::flow::{Flow, Sent};
use crate::support::programs::{self, root};
use crate::support::scene::Scene;
use crate::support::{python, wait_for};

const ROWS: usize = 500;
const PARTITIONS: usize = 4;
/// Relative, between scikit-learn and us: it adds up in another order.
const SCIKIT_TOLERANCE: f64 = 1e-9;
const PACKAGES: [&str; 7] = [
    "scikit-learn==1.9.1",
    "pandas==3.1.1",
    "numpy==2.4.6",
    "scipy==1.17.1",
    "tritonclient[grpc]==2.73.0",
    "grpcio==1.85.3",
    "protobuf==6.33.6",
];

/// Rows of a data set, one list for each feature, with what scikit-learn predicts for them.
struct Rows {
    features: Map<String, Value>,
    scikit: Vec<f64>,
}

/// What one way predicts for all rows.
struct Answers {
    way: &'static str,
    predictions: Vec<f64>,
}

impl Rows {
    fn of(folder: &Path, model: &str) -> Self {
        let text = fs::read_to_string(folder.join("scikit_rows.json")).unwrap();
        let all: Value = serde_json::from_str(&text).unwrap();
        let features = all[model]["features"].as_object().unwrap().clone();
        let scikit = numbers(&all[model]["predictions"]);
        assert_eq!(scikit.len(), ROWS);
        Self { features, scikit }
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Fits both data sets into a folder, in which the predictions of some rows are left too.
fn fit(folder: &Path) {
    let script = root().join("trainer/tests/fixtures/fit_with_scikit_learn.py");
    let mut command = Command::new(python::with(&PACKAGES));
    python::must_run(command.current_dir(root()).arg(script).arg(folder).arg(ROWS.to_string()));
}

/// In this process, from the file that was pulled, with nothing of Kafka.
fn embedded(scene: &Scene, file: &Path, rows: &Rows) -> Answers {
    let model = LoadedModel::embedded(file.to_owned(), &scene.trusted(), &Policy::standard()).unwrap();
    let (mut row, mut output) = (Vec::new(), [0.0]);
    let predictions = (0..ROWS).map(|number| {
        let cells = rows.features.iter().map(|(name, values)| match &values[number] {
            Value::String(text) => (name.as_str(), Cell::Category(text)),
            value => (name.as_str(), Cell::Number(value.as_f64().unwrap())),
        });
        row.clear();
        model.encoder().encode_row(cells, &mut row).unwrap();
        model.predict(&row, &mut output).unwrap();
        output[0]
    });
    Answers { way: "embedded", predictions: predictions.collect() }
}

/// The Open Inference Protocol over HTTP: all rows in one request.
fn rest(app: &App, model: &str, rows: &Rows) -> Answers {
    let tensor = |(name, values): (&String, &Value)| {
        let datatype = if values[0].is_string() { "BYTES" } else { "FP64" };
        json!({ "name": name, "datatype": datatype, "shape": [ROWS, 1], "data": values })
    };
    let inputs: Vec<Value> = rows.features.iter().map(tensor).collect();
    let (status, answer) = app.infer(model, &json!({ "inputs": inputs }));
    assert_eq!(status, 200, "{answer}");
    Answers { way: "REST", predictions: numbers(&answer["outputs"][0]["data"]) }
}

/// The Open Inference Protocol over gRPC, by a client that others wrote: all rows in one request.
fn grpc(app: &App, scene: &Scene, model: &str, rows: &Rows) -> Answers {
    let features = scene.write("features.json", &Value::Object(rows.features.clone()).to_string());
    let script = root().join("testcontainers/tests/support/ask_by_grpc.py");
    let address = app.url.strip_prefix("http://").unwrap();
    let mut command = Command::new(python::with(&PACKAGES));
    let printed = python::must_run(command.arg(script).args([address, model]).arg(features));
    Answers { way: "gRPC", predictions: numbers(&serde_json::from_str(&printed).unwrap()) }
}

/// Records of JSON from topic to topic; the key is the row's number.
fn stream(flow: &Flow, rows: &Rows) -> Answers {
    let record = |number: usize| {
        let cells = rows.features.iter().map(|(name, values)| (name.clone(), values[number].clone()));
        let value = Value::Object(cells.collect()).to_string().into_bytes();
        let partition = i32::try_from(number % PARTITIONS).unwrap();
        Sent { partition, key: Some(number.to_string()), value: Some(value), ..Sent::default() }
    };
    flow.send(&(0..ROWS).map(record).collect::<Vec<_>>());
    let _member = flow.member("stream-1", "");
    let mut out = flow.reader("out");
    wait_for("all records to come out", || (out.look() >= ROWS).then_some(()));
    let mut predictions = vec![f64::NAN; ROWS];
    for got in &out.got {
        let outputs = got.json()["outputs"].as_object().unwrap().clone();
        let number: usize = got.key.as_ref().unwrap().parse().unwrap();
        predictions[number] = outputs.values().next().unwrap().as_f64().unwrap();
    }
    Answers { way: "stream", predictions }
}

/// A file of CSV in, one out; the key is the row's number.
fn batch(scene: &Scene, model: &str, rows: &Rows) -> Answers {
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let mut csv = rows.features.keys().cloned().collect::<Vec<_>>().join(",");
    for number in 0..ROWS {
        let cells: Vec<_> = rows.features.values().map(|values| cell(&values[number])).collect();
        csv.push('\n');
        csv.push_str(&cells.join(","));
    }
    let (input, output) = (scene.write("rows.csv", &csv), scene.path("predictions.csv"));
    let state = scene.shown("state-batch");
    let text = format!(
        "{}[instance]\nname = \"batch-1\"\nstate = \"{state}\"\n[model]\nname = \"{model}\"\n",
        scene.common(false)
    );
    let settings = scene.write("batch.toml", &text).display().to_string();
    let (from, to) = (input.display().to_string(), output.display().to_string());
    let args = ["batch", "--config", &settings, "--input", &from, "--output", &to];
    programs::run("consumer-app", &args, &scene.folder()).must_end_with(0);
    // key, model, version, digest, run, then the outputs
    let text = fs::read_to_string(output).unwrap();
    let mut predictions = vec![f64::NAN; ROWS];
    for line in text.lines().skip(1) {
        let cells: Vec<_> = line.split(',').collect();
        predictions[cells[0].parse::<usize>().unwrap()] = cells[5].parse().unwrap();
    }
    Answers { way: "batch", predictions }
}

/// All ways answer alike, to the last bit, and as scikit-learn does.
fn must_be_equal(model: &str, rows: &Rows, ways: &[Answers]) {
    let [first, others @ ..] = ways else { panic!("no way") };
    for (number, (ours, scikit)) in first.predictions.iter().zip(&rows.scikit).enumerate() {
        let off = (ours - scikit).abs() / scikit.abs();
        assert!(off <= SCIKIT_TOLERANCE, "{model} row {number}: {ours}, and {scikit} by scikit-learn");
    }
    for Answers { way, predictions } in others {
        assert_eq!(predictions.len(), ROWS, "{model} by {way}");
        for (number, (ours, theirs)) in first.predictions.iter().zip(predictions).enumerate() {
            let same = ours.to_bits() == theirs.to_bits();
            assert!(same, "{model} row {number}: {ours} {}, {theirs} by {way}", first.way);
        }
    }
}

#[test]
fn every_way_to_deploy_a_version_gives_the_same_predictions_to_the_last_bit() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let fitted = tempfile::tempdir().unwrap();
    fit(fitted.path());
    for (dataset, model, coefficients) in [
        ("breast-cancer", "breast-cancer", "scikit_breast_cancer.json"),
        ("ames", "property-value", "scikit_property_value.json"),
    ] {
        let flow = Flow::new("equality", model, i32::try_from(PARTITIONS).unwrap());
        let scene = &flow.scene;
        let app = scene.app("app-1", &[model]);
        let file = fitted.path().join(coefficients).display().to_string();
        let args = ["publish", "--dataset", dataset, "--artifact", &file, "--reason", "a story", "--json"];
        let published = scene.trainer(&args).json();
        let pulled = scene.path("pulled.modelcast");
        scene.modelcast(&["pull", model, "--out", &pulled.display().to_string()]).must_end_with(0);
        app.wait_until_live(model, 1, published["generation"].as_u64().unwrap());
        let rows = Rows::of(fitted.path(), model);
        let ways = [
            embedded(scene, &pulled, &rows),
            rest(&app, model, &rows),
            grpc(&app, scene, model, &rows),
            stream(&flow, &rows),
            batch(scene, model, &rows),
        ];
        must_be_equal(model, &rows, &ways);
    }
}
