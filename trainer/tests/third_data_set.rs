//! A data set that the code has never seen, brought in by a section of the configuration alone.

// clippy.toml allows it in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fmt::Write as _, fs, path::Path};

use modelcast_models::Value;
use modelcast_protocol::schema::OutputKind;
use tempfile::TempDir;
use trainer::{configuration::Configuration, cycle, folder};

/// Ice cream sold: 20 a day, 3 more a degree, 40 more at the beach, 10 fewer where the cell is empty.
fn ice_cream() -> String {
    let mut csv = String::from("week,degrees,place,note,sold\n");
    for day in 0..120_i32 {
        let degrees = 5 + (day * 7) % 30;
        let (place, extra) = [("beach", 40), ("town", 0), ("", -10)][usize::try_from(day % 3).unwrap()];
        writeln!(csv, "2024-W{:02},{degrees},{place},ignored,{}", day / 7, 20 + 3 * degrees + extra).unwrap();
    }
    csv
}

const SECTION: &str = r#"
[datasets.ice-cream]
model = "ice-cream"
file = "FOLDER/ice_cream.csv"
target = { column = "sold", task = "regression", unit = "cones" }
split = { time_column = "week" }
training = { algorithm = "ridge", penalty = 1e-9, standardise = true, max_iterations = 5000, gradient_norm_max = 1e-6 }
features = [
  { column = "degrees", kind = "numeric", unit = "°C" },
  { column = "place", kind = "categorical", categories = ["beach", "town", "stall"], other = false, missing = "stall" },
]
"#;

fn configured(csv: &str, section: &str) -> (TempDir, Configuration) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ice_cream.csv"), csv).unwrap();
    let config = folder.path().join("trainer.toml");
    fs::write(&config, section.replace("FOLDER", &folder.path().display().to_string())).unwrap();
    let configuration = Configuration::load(&config).unwrap();
    (folder, configuration)
}

#[test]
fn a_section_of_the_file_alone_brings_a_data_set_in() {
    let (folder, configuration) = configured(&ice_cream(), SECTION);
    let recipe = configuration.recipe(Path::new("trainer.toml"), "ice-cream").unwrap();
    let candidate = cycle::from_data(recipe, Some("2024-W10")).unwrap();
    let package = &candidate.package;
    assert_eq!(package.until.as_deref(), Some("2024-W10"));
    assert_eq!((package.lineage.train_rows, package.lineage.test_rows), (77, 1));
    assert!(package.metrics["mae"] < 1e-3, "{:?}", package.metrics);
    assert_eq!(package.schema.outputs[0].kind, OutputKind::Numeric { unit: Some("cones".into()) });

    let encoder = modelcast_models::RowEncoder::new(std::sync::Arc::new(package.schema.clone()));
    let mut row = Vec::new();
    encoder
        .encode_row([("degrees", Value::Number(20.0)), ("place", Value::Category("beach"))], &mut row)
        .unwrap();
    let mut sold = [0.0];
    package.decode().unwrap().predict(&row, &mut sold).unwrap();
    assert!((sold[0] - 120.0).abs() < 1e-3, "{sold:?}");

    let out = folder.path().join("package");
    cycle::to_folder(&out, &candidate).unwrap();
    assert_eq!(folder::read(&out).unwrap(), *package);
}

#[test]
fn a_package_is_judged_by_the_rows_it_was_packaged_with_or_not_at_all() {
    let (folder, configuration) = configured(&ice_cream(), SECTION);
    let recipe = configuration.recipe(Path::new("trainer.toml"), "ice-cream").unwrap();
    let out = folder.path().join("package");
    cycle::to_folder(&out, &cycle::from_data(recipe, None).unwrap()).unwrap();
    let again = cycle::from_folder(&out, folder::read(&out).unwrap(), recipe).unwrap();
    assert_eq!(again.hold_out.len(), 1);

    fs::write(&recipe.file, ice_cream().replace("beach", "town")).unwrap();
    let error = cycle::from_folder(&out, folder::read(&out).unwrap(), recipe).unwrap_err().to_string();
    assert!(error.contains("ice_cream.csv") && error.contains("train again"), "{error}");
}

#[test]
fn a_damaged_or_half_written_package_is_refused_by_file() {
    let (folder, configuration) = configured(&ice_cream(), SECTION);
    let recipe = configuration.recipe(Path::new("trainer.toml"), "ice-cream").unwrap();
    let out = folder.path().join("package");
    let candidate = cycle::from_data(recipe, None).unwrap();
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("artifact", |out| {
            let mut bytes = fs::read(out.join("artifact")).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(out.join("artifact"), bytes).unwrap();
        }),
        ("report.json", |out| fs::remove_file(out.join("report.json")).unwrap()),
        ("schema.json", |out| fs::write(out.join("schema.json"), "{").unwrap()),
        ("golden.json", |out| {
            let text = fs::read_to_string(out.join("golden.json")).unwrap();
            fs::write(out.join("golden.json"), text.replace("\"outputs\": [", "\"outputs\": [[],")).unwrap();
        }),
    ];
    for (name, damage) in damages {
        cycle::to_folder(&out, &candidate).unwrap();
        folder::read(&out).unwrap();
        damage(&out);
        let error = folder::read(&out).unwrap_err().to_string();
        assert!(error.contains(name), "{error:?} lacks {name}");
    }
}

#[test]
fn a_wrong_cell_is_named_by_file_line_and_column() {
    let breaks = [
        ("2024-W02,", "2024-W02,,", "6 cells"),
        ("2024-W02,", ",", "column \"week\""),
        ("2024-W02,", "2024-W02,warm", "column \"degrees\""),
        (",beach,", ",moon,", "column \"place\""),
        (",ignored,", ",ignored,many", "column \"sold\""),
    ];
    for (from, to, words) in breaks {
        let csv = ice_cream();
        let place = csv.find(from).unwrap();
        let line = csv[..place].matches('\n').count() + 1;
        let (_folder, configuration) = configured(&csv.replacen(from, to, 1), SECTION);
        let recipe = configuration.recipe(Path::new("trainer.toml"), "ice-cream").unwrap();
        let error = cycle::from_data(recipe, None).unwrap_err().to_string();
        for words in ["ice_cream.csv", &format!("line {line}"), words] {
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }
}

#[test]
fn an_empty_cell_without_a_meaning_is_an_error_that_names_the_setting() {
    let section = SECTION.replace(", missing = \"stall\"", "");
    let (_folder, configuration) = configured(&ice_cream(), &section);
    let recipe = configuration.recipe(Path::new("trainer.toml"), "ice-cream").unwrap();
    let error = cycle::from_data(recipe, None).unwrap_err().to_string();
    for words in ["line 4", "\"place\"", "`missing`"] {
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}

#[test]
fn an_empty_number_means_what_the_section_says_or_is_an_error() {
    let csv = ice_cream().replacen(",12,", ",,", 1);
    let stated = SECTION.replace("unit = \"°C\"", "unit = \"°C\", missing = 12");
    let artifact = |csv: &str, section: &str| {
        let (_folder, configuration) = configured(csv, section);
        let recipe = configuration.recipe(Path::new("trainer.toml"), "ice-cream").unwrap();
        cycle::from_data(recipe, None)
            .map(|candidate| candidate.package.artifact)
            .map_err(|error| error.to_string())
    };
    assert_ne!(csv, ice_cream());
    assert_eq!(artifact(&csv, &stated), artifact(&ice_cream(), SECTION));
    let error = artifact(&csv, SECTION).unwrap_err();
    assert!(error.contains("\"degrees\"") && error.contains("empty"), "{error}");
}

#[test]
fn a_wrong_setting_is_named_by_file_line_key_and_value() {
    let rows = [
        ("penalty = 1e-9", "penalty = -1.0", "training.penalty = -1.0"),
        ("penalty = 1e-9, ", "", "training.penalty = (not given)"),
        ("algorithm = \"ridge\"", "algorithm = \"logistic\"", "training.algorithm = \"logistic\""),
        ("max_iterations = 5000", "max_iterations = 0", "training.max_iterations = 0"),
        ("unit = \"cones\"", "unit = \"cones\", threshold = 0.5", "target.threshold = 0.5"),
        ("split = { time_column = \"week\" }", "split = {}", "split = {}"),
        ("kind = \"numeric\"", "kind = \"numeric\", other = true", "features.0.other = true"),
        ("column = \"place\"", "column = \"degrees\"", "features.1.column = \"degrees\""),
        ("column = \"degrees\"", "column = \"sold\"", "features.0.column = \"sold\""),
        ("missing = \"stall\"", "missing = \"none\"", "features.1.missing = \"none\""),
        ("missing = \"stall\"", "missing = 0", "features.1.missing = 0"),
        ("[\"beach\", \"town\"", "[\"beach\", \"beach\"", "features.1.categories = [\"beach\""),
        (
            "split = {",
            "gates = { metrics.auc = { better = \"higher\", at_least = 0.5 } }\nsplit = {",
            "metrics.auc",
        ),
    ];
    for (from, to, words) in rows {
        assert!(SECTION.contains(from), "{from}");
        let text = SECTION.replacen(from, to, 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trainer.toml");
        fs::write(&path, &text).unwrap();
        let error = Configuration::load(&path).unwrap_err().to_string();
        let line = SECTION[..SECTION.find(from).unwrap()].matches('\n').count() + 1;
        for words in ["trainer.toml", &format!("line {line}: "), "datasets.ice-cream", words] {
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }
}

#[test]
fn ridge_is_refused_for_a_label() {
    let label = "task = \"classification\", positive = \"many\", negative = \"few\"";
    let text = SECTION.replacen("task = \"regression\", unit = \"cones\"", label, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trainer.toml");
    fs::write(&path, &text).unwrap();
    let error = Configuration::load(&path).unwrap_err().to_string();
    assert!(error.contains("training.algorithm = \"ridge\"") && error.contains("line 7: "), "{error}");
}

#[test]
fn an_unknown_key_is_named_by_file_and_line_however_deep() {
    for (from, to, key) in [
        ("unit = \"cones\"", "units = \"cones\"", "units"),
        ("penalty = 1e-9", "penalti = 1e-9", "penalti"),
        ("other = false", "others = false", "others"),
        ("model = \"ice-cream\"", "model = \"ice-cream\"\nmodels = 1", "models"),
    ] {
        let text = SECTION.replacen(from, to, 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trainer.toml");
        fs::write(&path, &text).unwrap();
        let error = Configuration::load(&path).unwrap_err().to_string();
        let line = text[..text.find(key).unwrap()].matches('\n').count() + 1;
        for words in ["trainer.toml", &format!("line {line}"), key] {
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }
}
