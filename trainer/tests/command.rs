//! The built command, where no Kafka is needed: what it writes, where, and how it ends.

// clippy.toml allows it in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(arguments)
        .current_dir(WORKSPACE)
        .env_remove("RUST_LOG")
        .env_remove("MODELCAST_KAFKA")
        .env_remove("MODELCAST_NAMESPACE")
        .output()
        .unwrap()
}

fn ends(arguments: &[&str], code: i32, words: &[&str]) -> String {
    let output = trainer(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: {stderr:?} lacks {word:?}");
    }
    String::from_utf8(output.stdout).unwrap()
}

/// A configuration of its own with keys that exist.
fn configured(change: impl Fn(String) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = modelcast_protocol::key::SigningKey::from_seed(&[7; 32]);
    fs::write(folder.path().join("a.key.pem"), key.to_pem().unwrap()).unwrap();
    fs::write(folder.path().join("a.pub.pem"), key.public().to_pem().unwrap()).unwrap();
    let text = fs::read_to_string(format!("{WORKSPACE}/config/trainer.toml")).unwrap();
    let state = folder.path().display().to_string();
    // whatever the shipped file calls its keys
    let own_keys = |line: &str| match line.split_once(" = ") {
        Some(("signing", _)) => format!("signing = \"{state}/a.key.pem\"\n"),
        Some(("trusted", _)) => format!("trusted = [\"{state}\"]\n"),
        _ => format!("{line}\n"),
    };
    let text: String = text.lines().map(own_keys).collect();
    fs::write(folder.path().join("trainer.toml"), change(text)).unwrap();
    folder
}

#[test]
fn train_writes_a_package_and_says_what_it_is_worth() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("package");
    let out = out.to_str().unwrap();
    let stdout = ends(&["train", "--dataset", "breast-cancer", "--out", out, "--json"], 0, &[]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["model"], "breast-cancer");
    assert_eq!(format!("{:.6}", report["metrics"]["accuracy"].as_f64().unwrap()), "0.979021");
    assert!(report["fit"]["gradient_norm"].as_f64().unwrap() < 1e-8);
    for name in ["artifact", "schema.json", "golden.json", "report.json"] {
        assert!(fs::metadata(format!("{out}/{name}")).unwrap().len() > 0, "{name}");
    }
    let text = ends(&["train", "--dataset", "breast-cancer", "--out", out], 0, &[]);
    assert!(text.contains("accuracy 0.9790") && text.contains("426 trained on"), "{text}");
}

#[test]
fn list_names_the_data_sets() {
    let stdout = ends(&["list", "--json"], 0, &[]);
    let models: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let models: Vec<_> = models.iter().map(|line| line["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["property-value", "breast-cancer"]);
}

#[test]
fn wrong_usage_ends_with_2_and_names_what_is_wrong() {
    ends(&["run", "--dataset", "amse"], 2, &["amse", "ames, breast-cancer"]);
    ends(&["train", "--dataset", "ames", "--until", "2010", "--out", "/nowhere"], 2, &["2010", "2006"]);
    ends(&["train", "--dataset", "breast-cancer", "--until", "1", "--out", "/nowhere"], 2, &["split"]);
    ends(&["run"], 2, &["--dataset"]);
}

#[test]
fn a_wrong_configuration_ends_with_64_and_names_key_and_line() {
    let folder = configured(|text| text.replace("penalty = 0.003 ", "penalti = 0.003 "));
    let config = folder.path().join("trainer.toml");
    ends(&["list", "--config", config.to_str().unwrap()], 64, &["trainer.toml", "penalti", "line "]);
    ends(&["list", "--config", "/nowhere/trainer.toml"], 64, &["/nowhere/trainer.toml"]);
    let folder = configured(|text| text.replace("# author = \"price team\"", "author = \" \""));
    let config = folder.path().join("trainer.toml");
    ends(&["list", "--config", config.to_str().unwrap()], 64, &["publish.author"]);
}

#[test]
fn a_fit_that_did_not_converge_ends_with_4_and_writes_nothing() {
    let folder = configured(|text| text.replace("max_iterations = 1000", "max_iterations = 2"));
    let config = folder.path().join("trainer.toml");
    let out = folder.path().join("package");
    let arguments = [
        "train",
        "--dataset",
        "breast-cancer",
        "--config",
        config.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    ends(&arguments, 4, &["did not converge", "max_iterations"]);
    assert!(!out.exists());
}

#[test]
fn kafka_that_cannot_be_reached_ends_with_69_and_names_the_address_in_time() {
    // a port that was free a moment ago
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = configured(|text| text);
    let config = folder.path().join("trainer.toml");
    let start = Instant::now();
    let arguments =
        ["run", "--dataset", "breast-cancer", "--config", config.to_str().unwrap(), "--kafka", &address];
    ends(&arguments, 69, &[&address]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
