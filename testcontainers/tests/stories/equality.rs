//! One artifact, every way to deploy it: the same 500 rows give the same predictions, to the last bit.
//!
//! scikit-learn fits the coefficients of both data sets; the trainer exports and publishes them, `modelcast pull` fetches
//! the version, and each way answers the same rows. What scikit-learn itself predicts for them is the measure.

use std::fs;
use std::path::Path;
use std::process::Command;

use modelcast::models::Value as Cell;
use modelcast::{LoadedModel, admission::Policy};
use serde_json::{Map, Value, json};

use crate::support::app::App;
use crate::support::programs::root;
use crate::support::python;
use crate::support::scene::Scene;

const ROWS: usize = 500;
/// Relative, between scikit-learn and us: it adds up in another order.
const SCIKIT_TOLERANCE: f64 = 1e-9;
const PACKAGES: [&str; 4] = ["scikit-learn==1.9.1", "pandas==3.1.1", "numpy==2.4.6", "scipy==1.17.1"];

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

/// Fits both data sets into the scene's folder, in which the predictions of some rows are left too.
fn fit(scene: &Scene) {
    let script = root().join("trainer/tests/fixtures/fit_with_scikit_learn.py");
    let mut command = Command::new(python::with(&PACKAGES));
    command.current_dir(root()).arg(script).arg(scene.folder()).arg(ROWS.to_string());
    python::must_run(&mut command);
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
    let data_sets = [
        ("breast-cancer", "breast-cancer", "scikit_breast_cancer.json"),
        ("ames", "property-value", "scikit_property_value.json"),
    ];
    let models = data_sets.map(|(_, model, _)| model);
    let scene = Scene::new("equality", &models);
    fit(&scene);
    let app = scene.app("app-1", &models);
    for (dataset, model, coefficients) in data_sets {
        let file = scene.shown(coefficients);
        let args = ["publish", "--dataset", dataset, "--artifact", &file, "--reason", "a story", "--json"];
        let published = scene.trainer(&args).json();
        let pulled = scene.path(&format!("{model}.modelcast"));
        scene.modelcast(&["pull", model, "--out", &pulled.display().to_string()]).must_end_with(0);
        app.wait_until_live(model, 1, published["generation"].as_u64().unwrap());
        let rows = Rows::of(&scene.folder(), model);
        must_be_equal(model, &rows, &[embedded(&scene, &pulled, &rows), rest(&app, model, &rows)]);
    }
}
