//! A run that is killed again and again: each key once, and the values of a run that nobody killed.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use consumer_app::settings::StoreSettings;
use modelcast_protocol::Digest;

use super::place::{Data, Place, must_be, read_csv, read_parquet, read_store};
use crate::{fixture::until, postgres::Postgres};

const ROWS: usize = 200_000;
const KILLS: usize = 10;

/// Numbers from 0 to 1, others in each run of the tests; a failure says the seed.
struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        println!("seed {seed}");
        Self { seed, drawn: 0 }
    }

    fn draw(&mut self) -> f64 {
        self.drawn += 1;
        let digest = Digest::of(format!("{} {}", self.seed, self.drawn).as_bytes());
        f64::from(u32::from_le_bytes(*digest.as_bytes().first_chunk().unwrap())) / f64::from(u32::MAX)
    }
}

/// Kills the run ten times, each time a bit later on average, and lets it end.
fn killed_and_resumed(output: &str, store: &StoreSettings, read: impl Fn(&Place) -> Vec<(String, f64)>) {
    let predictions = match store.password {
        None => format!("[predictions]\nstore = {:?}\n", store.store),
        Some(_) => format!(
            "[predictions]\nstore = {:?}\npassword = {{ env = \"TEST_PASSWORD\" }}\nca = {:?}\n",
            store.store,
            store.ca.as_ref().unwrap()
        ),
    };
    let settings = format!(
        "[input]\npath = \"in.csv\"\nkey = \"id\"\n[output]\n{output}\n[run]\ncommit_rows = 5000\n{predictions}"
    );
    let place = Place::new(Data::Houses, &settings);
    let rows = Data::Houses.rows(ROWS);
    place.write_csv("in.csv", &rows);
    let expected = Data::Houses.predictions(&rows);
    let command = || {
        let mut command = place.command(&["--once", "--json"]);
        if let Some(password) = &store.password {
            command.env("TEST_PASSWORD", password.reveal());
        }
        command
    };
    let started = Instant::now();
    assert!(command().output().unwrap().status.success());
    let whole = started.elapsed();
    must_be(&read(&place), &expected);

    let mut chance = Chance::new();
    let (mut kills, mut resumed) = (0, 0);
    while kills < KILLS {
        let part = chance.draw() * (kills + 1) as f64 / (KILLS + 1) as f64;
        let mut child = command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + whole.mul_f64(part);
        until("the moment to kill, or the end", || {
            (Instant::now() >= deadline || child.try_wait().unwrap().is_some()).then_some(())
        });
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.success() {
            must_be(&read(&place), &expected); // faster than expected: the next one is another run
            continue;
        }
        assert_eq!(status.signal(), Some(9), "it failed by itself");
        kills += 1;
        resumed += usize::from(place.path("state/batch-1/batch/journal.json").exists());
    }
    let last = command().output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&last.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&last.stderr)));
    println!("{resumed} kills within a run, the last life began at row {}", report["resumed_at"]);
    assert_eq!(report["summary"]["rows"], ROWS);
    assert_eq!(report["summary"]["outputs"][0]["count"], ROWS, "the summary is of all rows");
    must_be(&read(&place), &expected);
    let left = fs::read_dir(place.path("state/batch-1/batch/parts")).unwrap().count();
    assert_eq!(left, 0, "parts are left");
}

fn no_store() -> StoreSettings {
    StoreSettings::default()
}

#[test]
fn a_run_to_csv_that_is_killed_ten_times_has_each_key_once() {
    let read = |place: &Place| read_csv(&place.path("out.csv"));
    killed_and_resumed("to = \"csv\"\npath = \"out.csv\"", &no_store(), read);
}

#[test]
fn a_run_to_parquet_that_is_killed_ten_times_has_each_key_once() {
    let read = |place: &Place| read_parquet(&place.path("out.parquet"));
    killed_and_resumed("to = \"parquet\"\npath = \"out.parquet\"", &no_store(), read);
}

#[test]
fn a_run_to_sqlite_that_is_killed_ten_times_has_each_key_once() {
    let read = |place: &Place| read_store(&place.store(), Data::Houses);
    killed_and_resumed("to = \"table\"", &no_store(), read);
}

#[test]
fn a_run_to_postgresql_that_is_killed_ten_times_has_each_key_once() {
    let Some(server) = Postgres::shared() else { return };
    let store = server.store();
    killed_and_resumed("to = \"table\"", &store, |_| read_store(&store, Data::Houses));
}
