//! What a store promises, each claim on both databases.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Barrier,
};

use consumer_app::{
    predictions::{
        run::{PredictionRow, RunState, Verdict},
        store::{Remedy, Store, StoreError},
    },
    settings::StoreSettings,
};
use modelcast_protocol::schema::{Output, OutputKind};

use super::fixture::{failure, house, id, key, new_run, on_each, open, rows, served, sqlite, waiting};
use crate::postgres::Postgres;

#[test]
fn a_run_that_was_cut_off_goes_on_where_its_last_batch_ended() {
    on_each(|settings| {
        let mut store = open(settings);
        let begun = store.begin(&new_run("r1")).unwrap();
        assert_eq!((begun.position, begun.rows, begun.failures), (0, 0, 0));
        let appended =
            store.append(&id("r1"), &rows(0..3, |row| row as f64), &[failure(3, "no area")], 4).unwrap();
        assert_eq!((appended.rows, appended.failures), (3, 1));
        drop(store);

        let mut store = open(settings);
        let found = store.unfinished(&house(), "houses.csv").unwrap().unwrap();
        assert_eq!((found.run, found.position), (id("r1"), 4));
        assert_eq!(store.unfinished(&house(), "other.csv").unwrap(), None);
        let begun = store.begin(&new_run("r1")).unwrap();
        assert_eq!((begun.position, begun.rows, begun.failures), (4, 3, 1));
        store.append(&id("r1"), &rows(4..6, |row| row as f64), &[], 6).unwrap();
        store.finish(&id("r1"), "{\"rows\":5}", 5).unwrap();
        let run = store.run(&id("r1")).unwrap();
        assert_eq!((run.state, run.rows, run.failures, run.position), (RunState::Waiting, 5, 1, 6));
        assert_eq!(run.summary.as_deref(), Some("{\"rows\":5}"));
        assert_eq!(store.failures(&run, 10).unwrap(), [failure(3, "no area")]);
        assert_eq!(store.unfinished(&house(), "houses.csv").unwrap(), None);
    });
}

#[test]
fn every_value_comes_back_with_all_its_bits() {
    let values = [0.1 + 0.2, 0.0, f64::MIN_POSITIVE / 4.0, f64::MAX, 181_234.567_891_234_5, 1.0, -1e-300];
    on_each(|settings| {
        let mut store = open(settings);
        waiting(&mut store, "r1", 7, |row| values[usize::try_from(row).unwrap()]);
        store.approve(&id("r1"), "ada", "good", 1).unwrap();
        for (row, value) in (0..).zip(values) {
            let found = served(&mut store, &key(row)).unwrap().1[0];
            assert_eq!(found.to_bits(), value.to_bits(), "{value}");
        }
        waiting(&mut store, "r2", 1, |_| -0.0);
        store.approve(&id("r2"), "ada", "good", 2).unwrap();
        assert_eq!(
            served(&mut store, &key(0)).unwrap().1[0].to_bits(),
            0.0_f64.to_bits(),
            "but a zero's sign"
        );
    });
}

#[test]
fn a_key_is_stored_once_and_its_second_row_is_a_failure() {
    on_each(|settings| {
        let mut store = open(settings);
        store.begin(&new_run("r1")).unwrap();
        store.append(&id("r1"), &rows(0..3, |_| 1.0), &[], 3).unwrap();
        let row = |row, key: &str| PredictionRow { row, key: key.to_owned(), values: vec![2.0] };
        let long = "x".repeat(513);
        let batch =
            [row(3, &key(1)), row(4, "new"), row(5, "new"), row(6, ""), row(7, "a\0b"), row(8, &long)];
        let appended = store.append(&id("r1"), &batch, &[], 9).unwrap();
        assert_eq!((appended.rows, appended.failures), (1, 5));
        store.finish(&id("r1"), "{}", 5).unwrap();
        let run = store.approve(&id("r1"), "ada", "good", 1).unwrap();
        assert_eq!((run.rows, run.failures), (4, 5));
        assert_eq!(served(&mut store, &key(1)).unwrap().1, [1.0], "the first row counts");
        let failures = store.failures(&run, 10).unwrap();
        let causes: Vec<_> = failures.iter().map(|failure| (failure.row, failure.cause.as_str())).collect();
        let expected = [
            (3, "key \"house-000001\" stands in an earlier row of the input"),
            (5, "key \"new\" stands in an earlier row of the input"),
            (6, "the key is empty"),
            (7, "the key has a zero byte in it"),
            (8, "the key has 513 bytes, and 512 are possible"),
        ];
        assert_eq!(causes, expected);
        for key in ["", "a\0b", "nobody's"] {
            assert_eq!(served(&mut store, key), None, "{key:?}");
        }
    });
}

#[test]
fn of_two_processes_that_write_one_run_the_slower_is_told_and_stores_nothing() {
    on_each(|settings| {
        let (mut one, mut other) = (open(settings), open(settings));
        one.begin(&new_run("r1")).unwrap();
        other.begin(&new_run("r1")).unwrap();
        one.append(&id("r1"), &rows(0..2, |_| 1.0), &[], 2).unwrap();
        let error = other.append(&id("r1"), &rows(0..3, |_| 1.0), &[failure(3, "x")], 4).unwrap_err();
        assert!(matches!(&error, StoreError::Overtaken { .. }), "{error}");
        assert!(matches!(other.finish(&id("r1"), "{}", 1), Err(StoreError::Overtaken { .. })));
        let run = one.run(&id("r1")).unwrap();
        assert_eq!((run.position, run.rows, run.failures), (2, 2, 0));
        assert_eq!(other.begin(&new_run("r1")).unwrap().position, 2);
    });
}

#[test]
fn a_run_is_resumed_only_for_what_it_was_begun_for() {
    on_each(|settings| {
        let mut store = open(settings);
        store.begin(&new_run("r1")).unwrap();
        let mut other_input = new_run("r1");
        other_input.input.size_bytes = 999;
        let mut other_version = new_run("r1");
        other_version.version = crate::fixture::version(5);
        for (new, what) in [(other_input, "input"), (other_version, "version")] {
            let error = store.begin(&new).unwrap_err().to_string();
            assert!(error.contains(&format!("another {what}")), "{error}");
        }
        let wrong = [PredictionRow { row: 0, key: "a".into(), values: vec![f64::NAN] }];
        assert!(matches!(store.append(&id("r1"), &wrong, &[], 1), Err(StoreError::Values { row: 0, .. })));
        store.abandon(&id("r1"), "the input is gone", 9).unwrap();
        let run = store.run(&id("r1")).unwrap();
        assert_eq!((run.state, run.cause.as_deref()), (RunState::Abandoned, Some("the input is gone")));
        let error = store.begin(&new_run("r1")).unwrap_err().to_string();
        assert!(error.contains("run r1 is abandoned"), "{error}");
        assert!(matches!(store.abandon(&id("r1"), "again", 9), Err(StoreError::State { .. })));
    });
}

#[test]
fn approving_replaces_what_is_served_at_once_and_can_be_taken_back() {
    on_each(|settings| {
        let mut store = open(settings);
        let error = store.predictions(&house(), &[key(0)]).unwrap_err().to_string();
        assert_eq!(error, "no run of model property-value is approved");
        waiting(&mut store, "r1", 2, |_| 1.0);
        waiting(&mut store, "r2", 2, |_| 2.0);
        assert_eq!(served(&mut store, &key(0)), None, "a run that waits is not served");
        store.approve(&id("r1"), "ada", "first", 10).unwrap();
        assert_eq!(served(&mut store, &key(0)), Some(("r1".into(), vec![1.0])));
        let run = store.approve(&id("r2"), "bob", "better", 11).unwrap();
        let decision = run.decision.unwrap();
        assert_eq!((&*decision.who, &*decision.reason, decision.at_unix_ms), ("bob", "better", 11));
        assert_eq!(served(&mut store, &key(0)), Some(("r2".into(), vec![2.0])));
        assert_eq!(store.run(&id("r1")).unwrap().state, RunState::Superseded);

        let run = store.approve(&id("r1"), "cleo", "r2 was wrong", 12).unwrap();
        assert_eq!(served(&mut store, &key(0)), Some(("r1".into(), vec![1.0])), "the rollback");
        let who: Vec<_> = store.decisions(&run).unwrap().into_iter().map(|decision| decision.who).collect();
        assert_eq!(who, ["ada", "cleo"], "each decision is kept");
        assert_eq!(store.beside(&run).unwrap().unwrap().run, id("r2"));
        let error = store.reject(&id("r1"), "dan", "no", 13).unwrap_err().to_string();
        assert_eq!(error, "run r1 is approved by cleo, and can no longer become rejected");

        waiting(&mut store, "r3", 2, |_| 3.0);
        let run = store.reject(&id("r3"), "dan", "odd prices", 14).unwrap();
        assert_eq!((run.state, run.decision.unwrap().verdict), (RunState::Rejected, Verdict::Rejected));
        assert_eq!(
            served(&mut store, &key(0)),
            Some(("r1".into(), vec![1.0])),
            "a rejected run is not served"
        );
        let error = store.approve(&id("r3"), "eve", "please", 15).unwrap_err();
        assert_eq!(error.remedy(), Remedy::Refuse);
        assert!(error.to_string().contains("rejected by dan"), "{error}");
        assert!(matches!(store.approve(&id("r9"), "x", "y", 1), Err(StoreError::NoRun { .. })));
    });
}

/// Approve and reject of one run, and of two runs, from two connections at the same time.
#[test]
fn of_two_people_who_decide_at_once_one_wins_and_one_run_is_served() {
    on_each(|settings| {
        for round in 0..8 {
            let run = format!("same-{round}");
            waiting(&mut open(settings), &run, 1, |_| 1.0);
            let verdicts =
                [Verdict::Approved, if round % 2 == 0 { Verdict::Rejected } else { Verdict::Approved }];
            let won = at_once(settings, [(&run, verdicts[0]), (&run, verdicts[1])]);
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{run}: {won:?}");

            let (one, other) = (format!("one-{round}"), format!("other-{round}"));
            let mut store = open(settings);
            waiting(&mut store, &one, 1, |_| 1.0);
            waiting(&mut store, &other, 1, |_| 1.0);
            let won = at_once(settings, [(&one, Verdict::Approved), (&other, Verdict::Approved)]);
            assert_eq!(won, [true, true], "two runs, one after the other");
            let runs = store.runs(Some(&house()), 100).unwrap();
            let approved = runs.iter().filter(|run| run.state == RunState::Approved).count();
            assert_eq!(approved, 1, "{runs:?}");
        }
    });
}

fn at_once(settings: &StoreSettings, decisions: [(&str, Verdict); 2]) -> Vec<bool> {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let decide = |(run, verdict): (&str, Verdict)| {
            let mut store = open(settings);
            barrier.wait();
            match store.decide(&id(run), verdict, "somebody", "because", 1) {
                Ok(_) => true,
                Err(StoreError::State { .. }) => false,
                Err(other) => panic!("{other}"),
            }
        };
        let threads = decisions.map(|decision| scope.spawn(move || decide(decision)));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn the_biggest_movers_are_found_by_key_and_output() {
    let output =
        |name: &str| Output { name: name.into(), title: None, kind: OutputKind::Numeric { unit: None } };
    on_each(|settings| {
        let mut store = open(settings);
        let mut begin = |run: &str, outputs: [&str; 2], values: [[f64; 2]; 3]| {
            let new = consumer_app::predictions::run::NewRun {
                outputs: outputs.map(output).to_vec(),
                ..new_run(run)
            };
            store.begin(&new).unwrap();
            let row = |(row, values): (u64, [f64; 2])| PredictionRow {
                row,
                key: key(row),
                values: values.to_vec(),
            };
            let rows: Vec<_> = (0..).zip(values).map(row).collect();
            store.append(&id(run), &rows, &[], 3).unwrap();
            store.finish(&id(run), "{}", 1).unwrap();
        };
        begin("r1", ["price", "rent"], [[100.0, 5.0], [200.0, 6.0], [300.0, 7.0]]);
        begin("r2", ["rent", "price"], [[5.0, 101.0], [6.5, 150.0], [7.0, 300.0]]);
        let (before, now) = (store.run(&id("r1")).unwrap(), store.run(&id("r2")).unwrap());
        let movers = store.movers(&now, &before, 10).unwrap();
        assert_eq!(movers.against, id("r1"));
        let found: Vec<_> = movers
            .movers
            .iter()
            .map(|mover| (mover.output.as_str(), mover.key.clone(), mover.before, mover.now))
            .collect();
        let expected =
            [("rent", key(1), 6.0, 6.5), ("price", key(1), 200.0, 150.0), ("price", key(0), 100.0, 101.0)];
        assert_eq!(found, expected);
        assert_eq!(store.movers(&now, &before, 1).unwrap().movers.len(), 2, "one for each output");
    });
}

#[test]
fn pruning_keeps_the_newest_the_approved_and_the_running_and_goes_by_steps() {
    on_each(|settings| {
        let mut store = open(settings);
        waiting(&mut store, "r1", 3, |_| 1.0);
        store.approve(&id("r1"), "ada", "good", 1).unwrap();
        waiting(&mut store, "r2", 25_000, |_| 2.0);
        store.begin(&new_run("r3")).unwrap();
        waiting(&mut store, "r4", 3, |_| 4.0);
        waiting(&mut store, "r5", 3, |_| 5.0);
        let mut steps = Vec::new();
        let pruned = store.prune(&house(), 2, |rows| steps.push(rows)).unwrap();
        assert_eq!((pruned.runs, pruned.rows), (vec![id("r2")], 25_000));
        assert_eq!(steps, [10_000, 20_000, 25_000, 25_000], "predictions, then failures");
        let states: Vec<_> =
            store.runs(Some(&house()), 10).unwrap().into_iter().map(|run| run.state.name()).collect();
        assert_eq!(states, ["waiting", "waiting", "running", "pruned", "approved"]);
        assert_eq!(served(&mut store, &key(0)), Some(("r1".into(), vec![1.0])));
        let error = store.approve(&id("r2"), "ada", "too late", 2).unwrap_err().to_string();
        assert!(error.contains("run r2 is pruned"), "{error}");
        assert_eq!(store.prune(&house(), 2, |_| {}).unwrap().rows, 0);
    });
}

#[test]
fn pruning_counts_no_run_that_was_given_up_and_goes_through_what_it_pruned_once() {
    on_each(|settings| {
        let mut store = open(settings);
        let given_up = |store: &mut Store, run: &str| {
            store.begin(&new_run(run)).unwrap();
            store.append(&id(run), &rows(0..3, |_| 1.0), &[], 3).unwrap();
            store.abandon(&id(run), "the input is gone", 9).unwrap();
        };
        given_up(&mut store, "r1");
        waiting(&mut store, "r2", 3, |_| 1.0);
        given_up(&mut store, "r3");
        waiting(&mut store, "r4", 3, |_| 1.0);
        given_up(&mut store, "r5");
        assert_eq!(store.prune(&house(), 2, |_| {}).unwrap().runs, [id("r1")]);
        assert_eq!(store.prune(&house(), 1, |_| {}).unwrap().runs, [id("r2"), id("r3")]);
        let mut steps = 0;
        assert_eq!(store.prune(&house(), 1, |_| steps += 1).unwrap().rows, 0);
        assert_eq!(steps, 0, "rows that are gone are not looked for again");
    });
}

/// The child of the next test: writes on a run, batch by batch, until it is finished or killed.
#[test]
fn writer_process() {
    let Some(settings) = std::env::var_os("MODELCAST_TEST_WRITER") else { return };
    let settings: StoreSettings = toml::from_str(settings.to_str().unwrap()).unwrap();
    let mut store = open(&settings);
    let mut position = store.begin(&new_run("r1")).unwrap().position;
    while position < KILLED_ROWS {
        let end = (position + 100).min(KILLED_ROWS);
        store.append(&id("r1"), &rows(position..end, |row| row as f64), &[], end).unwrap();
        position = end;
        println!("at {position}");
        std::io::stdout().flush().unwrap();
    }
    store.finish(&id("r1"), "{}", 1).unwrap();
}

const KILLED_ROWS: u64 = 20_000;

#[test]
fn a_writer_killed_between_and_within_batches_loses_and_doubles_nothing() {
    on_each(|settings| {
        let mut kills = 0;
        for round in 1_usize.. {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "predictions::store::writer_process", "--nocapture", "--test-threads=1"])
                .env("MODELCAST_TEST_WRITER", as_toml(settings))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            // After some batches; what it does at that instant is the machine's.
            let batches =
                lines.by_ref().filter(|line| line.starts_with("at ")).take(3 + round * 5 % 17).count();
            if kills < 10 && batches > 0 {
                child.kill().unwrap();
                kills += 1;
            } else {
                lines.for_each(drop);
            }
            child.wait().unwrap();
            if open(settings).run(&id("r1")).unwrap().state == RunState::Waiting {
                break;
            }
        }
        assert_eq!(kills, 10);
        let mut store = open(settings);
        let run = store.approve(&id("r1"), "ada", "whole", 1).unwrap();
        assert_eq!((run.position, run.rows, run.failures), (KILLED_ROWS, KILLED_ROWS, 0));
        let keys: Vec<_> = (0..KILLED_ROWS).map(key).collect();
        let found = store.predictions(&house(), &keys).unwrap().found;
        assert_eq!(found.len(), keys.len(), "every key");
        for (row, found) in (0..KILLED_ROWS).zip(&found) {
            assert_eq!((&found.key, found.values.as_slice()), (&key(row), [row as f64].as_slice()), "once");
        }
    });
}

fn as_toml(settings: &StoreSettings) -> String {
    let mut text = format!("store = {:?}\n", settings.store);
    if let Some(password) = &settings.password {
        text += &format!("password = {:?}\n", password.reveal());
    }
    if let Some(ca) = &settings.ca {
        text += &format!("ca = {:?}\n", ca.display().to_string());
    }
    text
}

#[test]
fn tables_of_a_newer_release_are_refused_and_left_alone() {
    let newer = "UPDATE prediction_tables SET version = 2";
    let check = |settings: &StoreSettings| {
        let error = Store::open(settings).unwrap_err();
        assert!(matches!(&error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("use the newer release"), "{error}");
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = sqlite(folder.path());
    drop(open(&settings));
    rusqlite::Connection::open(&settings.store).unwrap().execute(newer, []).unwrap();
    check(&settings);
    let Some(server) = Postgres::shared() else { return };
    let settings = server.store();
    drop(open(&settings));
    let database = settings.store.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    server.client(&database).unwrap().execute(newer, &[]).unwrap();
    check(&settings);
}

#[test]
fn many_that_open_a_new_store_at_once_make_one_set_of_tables() {
    on_each(|settings| {
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..4).map(|_| scope.spawn(|| Store::open(settings).map(drop))).collect();
            for opened in opened {
                opened.join().unwrap().unwrap();
            }
        });
    });
}

#[test]
fn a_database_that_is_not_there_is_named_without_its_password() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = format!("postgresql://ada:hunter2@127.0.0.1:{nowhere}/houses?sslmode=disable");
    let check = |settings: StoreSettings, remedy: Remedy, words: &[&str]| {
        let error = Store::open(&settings).unwrap_err();
        assert_eq!(error.remedy(), remedy, "{error}");
        let text = error.to_string();
        assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{text}");
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    };
    let settings = |store: &str| StoreSettings { store: store.to_owned(), ..StoreSettings::default() };
    let place = format!("PostgreSQL 127.0.0.1:{nowhere}/houses");
    check(settings(&store), Remedy::Retry, &[&place, "cannot be reached"]);
    check(
        settings("postgresql://ada:hunter2@h:port/x"),
        Remedy::Mend,
        &["predictions.store", "postgresql://USER"],
    );
    check(settings("/proc/nowhere/x.sqlite"), Remedy::Retry, &["SQLite /proc/nowhere/x.sqlite"]);

    let Some(server) = Postgres::shared() else { return };
    let good = server.store();
    let wrong = StoreSettings { password: Some("hunter2".into()), ..good.clone() };
    check(wrong, Remedy::Retry, &["password authentication failed", "PostgreSQL 127.0.0.1"]);
    // Nobody whom the system trusts vouches for this server.
    check(StoreSettings { ca: None, ..good.clone() }, Remedy::Retry, &["certificate"]);
    let gone = StoreSettings { store: good.store.replace("/test_", "/none_"), ..good };
    check(gone, Remedy::Retry, &["does not exist"]);
}
