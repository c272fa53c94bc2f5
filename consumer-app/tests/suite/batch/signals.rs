//! Runs that a signal ends, that another process holds, and that are due again and again.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use consumer_app::predictions::{run::RunState, store::Store};
use serde_json::{Value, json};

use super::place::{Data, Place, must_be, read_csv};
use crate::fixture::until;

const INPUT: &str = "[input]\npath = \"in.csv\"\nkey = \"id\"\n";
const SETTINGS: &str = "[run]\ncommit_rows = 5000\n";

fn signalled(child: &Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
}

fn journal(place: &Place) -> Option<Value> {
    serde_json::from_slice(&fs::read(place.path("state/batch-1/batch/journal.json")).ok()?).ok()
}

/// Starts the program and ends it by a signal once the first rows are committed; gives the run's name.
fn interrupted(place: &Place, flags: &[&str]) -> String {
    let mut command = place.command(flags);
    let mut child = command.stdout(Stdio::null()).stderr(log(place)).spawn().unwrap();
    let run = until("rows to be committed", || {
        journal(place).filter(|journal| journal["position"] != 0).map(|journal| journal["run"].clone())
    });
    signalled(&child);
    assert_eq!(child.wait().unwrap().code(), Some(3), "{}", fs::read_to_string(place.path("log")).unwrap());
    run.as_str().unwrap().to_owned()
}

fn log(place: &Place) -> File {
    File::create(place.path("log")).unwrap()
}

#[test]
fn a_signal_ends_a_run_and_the_next_start_goes_on_with_it() {
    let place = Place::new(Data::Houses, &format!("{INPUT}{SETTINGS}"));
    let rows = Data::Houses.rows(150_000);
    place.write_csv("in.csv", &rows);
    let flags = ["--output", "out.csv", "--once", "--json"];
    let run = interrupted(&place, &flags);
    assert!(!place.path("out.csv").exists());
    let report = place.run(&flags).report();
    assert_eq!(report["run"], run.as_str());
    assert_ne!(report["resumed_at"], 0);
    must_be(&read_csv(&place.path("out.csv")), &Data::Houses.predictions(&rows));
}

#[test]
fn a_batch_that_waits_for_kafka_says_so_at_once_with_how_long() {
    let place = Place::new(Data::Houses, &format!("{INPUT}[run]\nmodel_wait_seconds = 120\n"));
    place.write_csv("in.csv", &Data::Houses.rows(3));
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let flags = ["--output", "out.csv", "--once", "--kafka", &nowhere];
    let mut child = place.command(&flags).stdout(Stdio::null()).stderr(log(&place)).spawn().unwrap();
    let said = until("a line that says it waits", || {
        let log = fs::read_to_string(place.path("log")).unwrap();
        log.lines().find(|line| line.contains("waiting for Kafka")).map(str::to_owned)
    });
    for words in ["property-value", &nowhere, "at_most_seconds=120", "run.model_wait_seconds"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    signalled(&child);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_run_is_given_up_when_its_input_is_another_or_it_is_to_go_elsewhere() {
    let place = Place::new(Data::Houses, &format!("{INPUT}{SETTINGS}"));
    let rows = Data::Houses.rows(150_000);
    place.write_csv("in.csv", &rows);
    let first = interrupted(&place, &["--output", "out.csv", "--once"]);
    place.write_csv("in.csv", &rows[..9_000].to_vec());
    let ended = place.run(&["--output", "out.csv", "--once", "--json"]);
    let report = ended.report();
    assert_ne!(report["run"], first.as_str());
    assert!(ended.log.contains("the input is another"), "{}", ended.log);
    must_be(&read_csv(&place.path("out.csv")), &Data::Houses.predictions(&rows[..9_000].to_vec()));

    place.write_csv("in.csv", &rows);
    interrupted(&place, &["--output", "out.csv", "--once"]);
    let ended = place.run(&["--output", "other.csv", "--once", "--json"]);
    assert_eq!(ended.report()["resumed_at"], 0);
    assert!(ended.log.contains("the output is another"), "{}", ended.log);

    interrupted(&place, &["--output", "out.csv", "--once"]);
    place.configure(&format!("[input]\npath = \"in.csv\"\nignore = [\"id\"]\n{SETTINGS}"));
    let ended = place.run(&["--output", "out.csv", "--once", "--json"]);
    assert_eq!(ended.report()["resumed_at"], 0);
    assert!(ended.log.contains("the input is to be read otherwise"), "{}", ended.log);
    assert_eq!(read_csv(&place.path("out.csv")).first().unwrap().0, "0", "rows are named by their numbers");
}

#[test]
fn a_run_that_is_given_up_is_given_up_in_the_store_too() {
    let place = Place::new(Data::Houses, &format!("{INPUT}{SETTINGS}"));
    let rows = Data::Houses.rows(150_000);
    place.write_csv("in.csv", &rows);
    let mut child = place.command(&["--once"]).stdout(Stdio::null()).stderr(log(&place)).spawn().unwrap();
    let store = || Store::open(&place.store()).ok()?.runs(None, 1).ok()?.into_iter().next();
    let run = until("rows to be stored", || store().filter(|run| run.rows > 0));
    signalled(&child);
    child.wait().unwrap();
    place.write_csv("in.csv", &rows[..10].to_vec());
    place.run(&["--once", "--json"]).report();
    let given_up = Store::open(&place.store()).unwrap().run(&run.run).unwrap();
    assert_eq!(
        (given_up.state, given_up.cause.as_deref()),
        (RunState::Abandoned, Some("the input is another"))
    );
}

/// What a process leaves that dies after the store has the whole run, and before it could forget it.
#[test]
fn a_run_that_the_store_has_whole_is_not_made_again() {
    let place = Place::new(Data::Houses, &format!("{INPUT}{SETTINGS}"));
    let rows = Data::Houses.rows(150_000);
    place.write_csv("in.csv", &rows);
    let mut child = place.command(&["--once"]).stdout(Stdio::null()).stderr(log(&place)).spawn().unwrap();
    let left = until("a journal", || journal(&place));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let path = place.path("state/batch-1/batch/journal.json");
    fs::write(path, serde_json::to_vec(&left).unwrap()).unwrap();
    let report = place.run(&["--once", "--json"]).report();
    assert_eq!((&report["run"], &report["state"]), (&left["run"], &json!("waiting")));
    assert_eq!(report["summary"]["rows"], 150_000);
    assert_eq!(Store::open(&place.store()).unwrap().runs(None, 9).unwrap().len(), 1);
    assert!(journal(&place).is_none());

    // Left by a run of something else, it stands in for nothing.
    fs::write(place.path("state/batch-1/batch/journal.json"), serde_json::to_vec(&left).unwrap()).unwrap();
    place.write_csv("in.csv", &rows[..10].to_vec());
    let report = place.run(&["--once", "--json"]).report();
    assert_ne!(report["run"], left["run"]);
    assert_eq!(report["summary"]["rows"], 10);
}

#[test]
fn two_processes_do_not_share_a_state_folder() {
    let place = Place::new(Data::Houses, &format!("{INPUT}[run]\nwhen = \"live\"\n"));
    place.write_csv("in.csv", &Data::Houses.rows(10));
    let (mut child, _) = following(&place);
    let ended = place.run(&["--once"]);
    assert!(ended.error(1).contains("used by another process"), "{}", ended.log);
    signalled(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Starts the program and waits for its first report.
fn following(place: &Place) -> (Child, Value) {
    let mut command = place.command(&["--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(log(place)).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let report = serde_json::from_str(&line)
        .unwrap_or_else(|error| panic!("{error}: {}", fs::read_to_string(place.path("log")).unwrap()));
    (child, report)
}

#[test]
fn a_version_that_goes_live_is_scored_with_once() {
    let settings = format!("{INPUT}[run]\nwhen = \"live\"\n[output]\nto = \"csv\"\npath = \"out.csv\"\n");
    let place = Place::new(Data::Houses, &settings);
    place.write_csv("in.csv", &Data::Houses.rows(10));
    let (mut child, report) = following(&place);
    assert_eq!((&report["version"], &report["summary"]["rows"]), (&json!(1), &json!(10)));
    signalled(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let written = modified(&place.path("out.csv"));

    // The same version is live after another start: nothing is due.
    let mut child = place.command(&[]).stdout(Stdio::null()).stderr(log(&place)).spawn().unwrap();
    until("the embedded version to serve", || {
        fs::read_to_string(place.path("log")).unwrap().contains("embedded version serves").then_some(())
    });
    signalled(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(modified(&place.path("out.csv")), written);
}

fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}
