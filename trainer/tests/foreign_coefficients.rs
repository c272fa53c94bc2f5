//! Coefficients that scikit-learn fitted, through the same schema, golden rows and metrics as our own.
//!
//! `fixtures/fit_with_scikit_learn.py` made the files.

// clippy.toml allows it in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{collections::BTreeMap, fs, path::Path, sync::Once};

use serde_json::{Value, json};
use trainer::{configuration::Configuration, cycle, recipe::Recipe};

const FIXTURES: &str = "trainer/tests/fixtures";
const DATA_SETS: [(&str, &str); 2] =
    [("ames", "scikit_property_value.json"), ("breast-cancer", "scikit_breast_cancer.json")];

/// The shipped recipe; paths in it are relative to the workspace.
fn recipe(dataset: &str) -> Recipe {
    static WORKSPACE: Once = Once::new();
    WORKSPACE.call_once(|| std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap());
    let path = Path::new("config/trainer.toml");
    Configuration::load(path).unwrap().recipe(path, dataset).unwrap().clone()
}

#[test]
fn scikit_learn_and_the_trainer_find_the_same_models() {
    for (dataset, file) in DATA_SETS {
        let recipe = recipe(dataset);
        let foreign =
            cycle::from_coefficients(&recipe, None, &Path::new(FIXTURES).join(file)).unwrap().package;
        let expected = fs::read(Path::new(FIXTURES).join("scikit_metrics.json")).unwrap();
        let expected: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_slice(&expected).unwrap();
        let own = cycle::from_data(&recipe, None).unwrap().package;
        assert_eq!(foreign.schema, own.schema);
        for (name, scikit) in &expected[recipe.model.as_str()] {
            let relative = |value: f64| (value - scikit).abs() / scikit.abs();
            assert!(relative(foreign.metrics[name]) < 1e-12, "{dataset} {name}: {:?}", foreign.metrics);
            assert!(relative(own.metrics[name]) < 1e-8, "{dataset} {name}: {:?}", own.metrics);
        }
        for (scikit, own) in foreign.golden.outputs[0].iter().zip(&own.golden.outputs[0]) {
            assert!((scikit - own).abs() / own.abs().max(1.0) < 1e-8, "{dataset}: {scikit} {own}");
        }
        assert_eq!(foreign.lineage.parameters["algorithm"], "fitted elsewhere");
        assert!(foreign.lineage.parameters["coefficients_digest"].starts_with("blake3:"));
    }
}

#[test]
fn a_file_that_does_not_fit_its_data_set_is_refused_by_name() {
    type Change = fn(&mut Value);
    let rows: [(usize, Change, &str); 14] = [
        (0, |file| file["model"] = json!("breast-cancer"), "is of model breast-cancer"),
        (0, |file| file["link"] = json!("probit"), "probit"),
        (0, |file| file["link"] = json!("logit"), "sale_price"),
        (1, |file| file["link"] = json!("exp"), "diagnosis"),
        (
            0,
            |file| {
                for key in ["numeric", "standardize"] {
                    file[key].as_object_mut().unwrap().remove("Lot_Area");
                }
            },
            "lacks feature \"Lot_Area\"",
        ),
        (0, |file| file["numeric"]["Pools"] = json!(1.0), "\"Pools\""),
        (0, |file| file["numeric"]["Central_Air"] = json!(1.0), "no numeric feature"),
        (
            0,
            |file| drop(file["categorical"].as_object_mut().unwrap().remove("Central_Air")),
            "\"Central_Air\"",
        ),
        (0, |file| drop(file["categorical"]["Central_Air"].as_object_mut().unwrap().remove("N")), "\"N\""),
        (0, |file| file["categorical"]["Central_Air"]["Broken"] = json!(1.0), "no category \"Broken\""),
        (
            0,
            |file| file["standardize"]["Central_Air"] = json!({"mean": 0, "sd": 1}),
            "standardize has \"Central_Air\"",
        ),
        (0, |file| file["standardize"]["Lot_Area"]["sd"] = json!(0), "Lot_Area"),
        (0, |file| file["extra"] = json!(1), "unknown field `extra`"),
        (0, |file| file["intercept"] = json!("high"), "invalid type"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coefficients.json");
    for (which, change, words) in rows {
        let (dataset, file) = DATA_SETS[which];
        let recipe = recipe(dataset);
        let mut value: Value =
            serde_json::from_slice(&fs::read(Path::new(FIXTURES).join(file)).unwrap()).unwrap();
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
        let error = cycle::from_coefficients(&recipe, None, &path).unwrap_err();
        let chain: Vec<_> =
            std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
                .map(ToString::to_string)
                .collect();
        let text = chain.join(": ");
        assert!(text.contains("coefficients.json") && text.contains(words), "{text:?} lacks {words:?}");
    }
}

#[test]
fn a_level_for_others_that_is_not_given_has_weight_zero() {
    let recipe = recipe("ames");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coefficients.json");
    let bytes = fs::read(Path::new(FIXTURES).join(DATA_SETS[0].1)).unwrap();
    let artifact = |change: fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&bytes).unwrap();
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
        cycle::from_coefficients(&recipe, None, &path).unwrap().package.artifact
    };
    let absent =
        artifact(|file| drop(file["categorical"]["Neighborhood"].as_object_mut().unwrap().remove("other")));
    let zero = artifact(|file| file["categorical"]["Neighborhood"]["other"] = json!(0.0));
    assert_eq!(absent, zero);
}
