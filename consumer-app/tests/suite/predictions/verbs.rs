//! `consumer-app predictions …`, the built program: what it prints, what it changes, and how it ends.

use std::process::Command;

use consumer_app::{
    batch::{input::Fingerprint, work::Work},
    predictions::run::RunState,
};
use modelcast_protocol::Digest;
use serde_json::{Value, json};

use super::fixture::{house, id, new_run, open, sqlite, two_runs};

/// Exit code, standard output and standard error.
fn run(store: &str, line: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_consumer-app"))
        .arg("predictions")
        .args(line)
        .args(["--store", store])
        .env_remove("MODELCAST_PREDICTIONS")
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_run_is_listed_shown_approved_and_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    two_runs(&mut open(&settings));
    let good = |line: &[&str]| {
        let (code, out, error) = run(&settings.store, line);
        assert_eq!(code, 0, "{line:?}: {error}");
        out
    };
    let list = good(&["list", "property-value"]);
    let lines: Vec<_> = list.lines().collect();
    assert!(lines.len() == 3 && lines[1].contains("night-2") && lines[1].contains("waiting"), "{list}");
    assert!(lines[2].contains("approved") && lines[2].contains("Ada Lovelace"), "{list}");
    assert_eq!(good(&["list", "none"]), "no run is stored\n");

    let shown = good(&["show", "night-2", "--movers", "3", "--failures", "1"]);
    for words in [
        "state     waiting",
        "beside run night-1 of version 4, which is approved",
        "price (USD)",
        "140,000 to 160,000",
        "██",
        "rows outside of the range seen in training",
        "failures: the first 1 of 2",
        "biggest movers",
        "consumer-app predictions approve night-2 --by NAME --reason TEXT",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let json: Value = serde_json::from_str(&good(&["show", "night-2", "--json"])).unwrap();
    assert_eq!(json["run"]["state"], "waiting");
    assert_eq!(json["summary"]["outputs"][0]["name"], "price");
    assert_eq!(json["beside"]["run"]["run"], "night-1");
    let movers = json["movers"]["movers"].as_array().unwrap();
    let change = |mover: &Value| (mover["now"].as_f64().unwrap() - mover["before"].as_f64().unwrap()).abs();
    assert!(
        movers.len() == 10 && movers.windows(2).all(|two| change(&two[0]) >= change(&two[1])),
        "{movers:?}"
    );

    let said = good(&["approve", "night-2", "--by", "grace", "--reason", "better"]);
    assert_eq!(said, "run night-2 is approved: predictions of property-value are served from it\n");
    assert_eq!(open(&settings).run(&id("night-1")).unwrap().state, RunState::Superseded);
    let pruned = good(&["prune", "property-value", "--keep", "1"]);
    assert_eq!(pruned, "pruned night-1: 2002 rows deleted, the newest 1 runs kept\n");
    let list: Value = serde_json::from_str(&good(&["list", "--json"])).unwrap();
    assert_eq!(list[1]["state"], "pruned");
}

#[test]
fn a_run_that_nobody_goes_on_with_is_given_up_and_one_that_is_written_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    open(&settings).begin(&new_run("killed")).unwrap();
    let batch = folder.path().join("state/batch");
    let work = Work::open(&batch).unwrap();
    let (model, path) = (house(), folder.path().join("in.csv"));
    let digest = Digest::of(b"manifest");
    std::fs::write(&path, "").unwrap();
    let journal = json!({
        "run": "killed", "scorer": { "model": model, "version": 4, "digest": digest, "generation": 7 },
        "input": Fingerprint::of(&path).unwrap(), "reading": digest, "output": { "to": "table", "path": "" },
        "began_at_unix_ms": 1, "position": 0, "parts": 0,
    });
    work.write_journal(&serde_json::from_value(journal).unwrap()).unwrap();
    let state = folder.path().join("state").display().to_string();
    let why = ["--by", "ada", "--reason", "the machine is gone", "--state", &state];
    let abandon = |name: &str| run(&settings.store, &[&["abandon", name][..], &why].concat());
    let refused = |run, words: &str, expected| {
        let (code, out, error) = abandon(run);
        assert_eq!((code, out.as_str(), error.contains(words)), (expected, "", true), "{error}");
    };
    refused("killed", "is used by another process", 3);
    assert_eq!(open(&settings).run(&id("killed")).unwrap().state, RunState::Running);
    drop(work);
    let (_, shown, _) = run(&settings.store, &["show", "killed"]);
    assert!(shown.contains("predictions abandon killed --by NAME --reason TEXT"), "{shown}");
    let (code, said, error) = abandon("killed");
    assert_eq!((code, said.contains("run killed is abandoned")), (0, true), "{said}{error}");
    let given_up = open(&settings).run(&id("killed")).unwrap();
    assert_eq!(given_up.cause.as_deref(), Some("given up by ada: the machine is gone"));
    refused("killed", "run killed is abandoned, and can no longer become abandoned", 3);
    refused("none", "there is no run none", 4);
    // Without a folder that knows the run, on another machine say, the store alone decides.
    open(&settings).begin(&new_run("elsewhere")).unwrap();
    let (code, out, error) =
        run(&settings.store, &["abandon", "elsewhere", "--by", "ada", "--reason", "x", "--json"]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &out["state"]), (0, &json!("abandoned")), "{error}");
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    two_runs(&mut open(&settings));
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = format!("postgresql://a:hunter2@127.0.0.1:{nowhere}/x?sslmode=disable");
    let why = ["--by", "ada", "--reason", "x"];
    let approve = |run| [&["approve", run][..], &why].concat();
    let reject = |run| [&["reject", run][..], &why].concat();
    let store = settings.store.as_str();
    let rows: [(&str, Vec<&str>, i32, &str); 10] = [
        (store, reject("night-1"), 3, "run night-1 is approved by Ada Lovelace"),
        (store, approve("none"), 4, "there is no run none"),
        (store, vec!["approve", "night-2", "--by", "ada"], 2, "--reason"),
        (store, vec!["approve", "night-2", "--by", " ", "--reason", "x"], 2, "must not be empty"),
        (store, vec!["approve", "night-2", "--by", "ada", "--reason", " "], 2, "must not be empty"),
        (store, vec!["reject", "night-2", "--reason", "x"], 2, "--by"),
        (store, vec!["show", "No"], 2, "does not match"),
        ("postgresql://a:hunter2@h:p/x", vec!["list"], 64, "postgresql://USER@HOST"),
        (store, vec!["list", "--config", "nowhere.toml"], 64, "nowhere.toml"),
        (&nowhere, vec!["list"], 69, "cannot be reached"),
    ];
    for (store, line, expected, words) in rows {
        let (code, out, error) = run(store, &line);
        assert_eq!((code, out.as_str()), (expected, ""), "{line:?}: {error}");
        assert!(error.contains(words) && !error.contains("hunter2"), "{words}: {error}");
    }
    let (code, out, _) = run(store, &["--help"]);
    assert!(code == 0 && out.contains("69  the database cannot be reached"), "{out}");
}

#[test]
fn the_section_of_any_settings_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    two_runs(&mut open(&settings));
    let file = folder.path().join("batch.toml");
    let text = format!("[other]\nthing = 1\n[predictions]\nstore = {:?}\nkeep_runs = 1\n", settings.store);
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_consumer-app"))
        .args(["predictions", "list", "--json", "--config"])
        .arg(&file)
        .env_remove("MODELCAST_PREDICTIONS")
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(2));
}
