//! The routes: what the approved run says by key, and what is said when there is nothing to say.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use consumer_app::settings::StoreSettings;
use modelcast_protocol::{
    Digest,
    schema::{Output, OutputKind},
};
use serde_json::json;

use super::fixture::{house, id, key, new_run, on_each, open, rows, sqlite, waiting};
use crate::{
    fixture::{Server, agent, answer, fixed, house as live_house, house_inputs, until},
    postgres::Postgres,
    program,
};

#[test]
fn a_key_is_answered_with_all_that_says_where_its_prediction_comes_from() {
    on_each(|settings| {
        let mut store = open(settings);
        let mut new = new_run("r1");
        let kind = OutputKind::Probability {
            positive: "expensive".into(),
            negative: "cheap".into(),
            threshold: 0.4,
        };
        new.outputs.push(Output { name: "class".into(), title: None, kind });
        store.begin(&new).unwrap();
        let mut rows = rows(0..2, |row| row as f64 + 0.1);
        rows[0].values.push(0.5);
        rows[1].values.push(0.3);
        rows[0].key = "a/b ü".to_owned();
        store.append(&id("r1"), &rows, &[], 2).unwrap();
        store.finish(&id("r1"), "{}", 77).unwrap();
        store.approve(&id("r1"), "ada", "good", 88).unwrap();
        let server = Server::storing([], settings);
        let expected = json!({
            "model": "property-value", "version": 4, "digest": Digest::of(b"manifest").to_string(),
            "generation": 7, "run": "r1", "key": "a/b ü",
            "outputs": { "price": 0.1, "class": 0.5 }, "labels": { "class": "expensive" },
            "scored_at_unix_ms": 77, "approved_by": "ada", "approved_at_unix_ms": 88,
        });
        let answer = server.get("/predictions/property-value/a%2Fb%20%C3%BC");
        assert_eq!((answer.status, answer.json()), (200, expected));

        let wanted = json!({ "keys": [key(1), "none", "a/b ü", key(1)] });
        let answer = server.post("/predictions/property-value", wanted.to_string());
        let answer = answer.json();
        let keys: Vec<_> = answer["predictions"].as_array().unwrap().iter().map(|one| &one["key"]).collect();
        assert_eq!(keys, [&key(1), "a/b ü", &key(1)], "as they were asked for");
        assert_eq!((&answer["missing"], &answer["run"]), (&json!(["none"]), &json!("r1")));
        assert_eq!(answer["predictions"][0]["labels"], json!({ "class": "cheap" }));
    });
}

#[test]
fn what_there_is_not_is_told_apart() {
    on_each(|settings| {
        let mut store = open(settings);
        waiting(&mut store, "r1", 1, |_| 1.0);
        let server = Server::storing([], settings);
        let check = |path: &str, words: &str| {
            let answer = server.get(path);
            assert_eq!((answer.status, answer.error()), (404, words.to_owned()), "{path}");
        };
        check("/predictions/property-value/a", "no run of model property-value is approved");
        store.approve(&id("r1"), "ada", "good", 1).unwrap();
        check(
            "/predictions/property-value/a%00b",
            "run r1, which is approved for model property-value, has no key \"a\\0b\"",
        );
        check("/predictions/none/a", "no run of model none is approved");
        let answer = server.get("/predictions/No%20Model/a");
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(answer.error().contains("model name \"No Model\""), "{answer:?}");
        assert_eq!(server.get("/predictions/property-value/%FF").status, 404);
    });
    let answer = Server::start([]).get("/predictions/property-value/a");
    assert_eq!(answer.status, 404);
    assert!(answer.error().contains("no section [predictions]"), "{answer:?}");
}

#[test]
fn a_list_of_keys_is_capped_and_named_when_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = sqlite(folder.path());
    settings.serve.keys_max = 3;
    let mut store = open(&settings);
    waiting(&mut store, "r1", 9, |_| 1.0);
    store.approve(&id("r1"), "ada", "good", 1).unwrap();
    let server = Server::storing([], &settings);
    let many = json!({ "keys": vec!["k"; 100_001] }).to_string();
    let rows: [(&str, u16, &str); 8] = [
        ("{\"keys\":[\"a\",\"b\",\"c\",\"d\"]}", 413, "4 keys are more than 3 (predictions.serve.keys_max)"),
        (&many, 400, "more than 100000 keys"),
        ("", 400, "line 1"),
        ("[]", 400, "line 1"),
        ("{\"keys\":[1]}", 400, "expected a"),
        ("{\"keys\":null}", 400, "a list of texts"),
        ("{\"keys\":[],\"more\":1}", 400, "more"),
        ("{}", 400, "keys"),
    ];
    for (body, status, words) in rows {
        let answer = server.post("/predictions/property-value", body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.error().contains(words), "{words}: {answer:?}");
    }
    let answer = server.post("/predictions/property-value", "{\"keys\":[]}").json();
    assert_eq!(answer["predictions"], json!([]));
}

#[test]
fn an_approval_made_elsewhere_is_seen_by_the_next_request() {
    on_each(|settings| {
        let mut store = open(settings);
        waiting(&mut store, "r1", 1, |_| 1.0);
        waiting(&mut store, "r2", 1, |_| 2.0);
        let server = Server::storing([], settings);
        for (time, run) in (1..).zip(["r1", "r2", "r1"]) {
            store.approve(&id(run), "ada", "good", time).unwrap();
            let answer = server.get(&format!("/predictions/{}/{}", house(), key(0))).json();
            assert_eq!(answer["run"], run);
        }
    });
}

fn get(server: &Server) -> crate::fixture::Answer {
    server.get(&format!("/predictions/{}/{}", house(), key(0)))
}

/// What is live does not notice.
fn live_is_well(server: &Server) {
    assert_eq!(server.infer("property-value", &house_inputs(1)).status, 200);
    assert_eq!(server.get("/v2/health/ready").status, 200);
}

#[test]
fn a_database_that_is_gone_costs_a_503_and_nothing_else_until_it_is_back() {
    let Some(postgres) = Postgres::shared() else { return };
    let mut settings = postgres.store();
    settings.serve.readers_max = 1; // so that it is the connection that was cut which is asked again
    let database = settings.store.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let mut store = open(&settings);
    waiting(&mut store, "r1", 1, |_| 1.0);
    store.approve(&id("r1"), "ada", "good", 1).unwrap();
    let server = Server::storing([fixed(live_house(4))], &settings);
    assert_eq!(get(&server).status, 200);

    let mut operator = postgres.client("postgres").unwrap();
    operator.batch_execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    operator.execute(cut, &[&database]).unwrap();
    for _ in 0..3 {
        let answer = get(&server);
        assert_eq!(answer.status, 503, "{answer:?}");
        let place = format!("PostgreSQL 127.0.0.1:{}/{database} cannot be reached: ", postgres.port);
        assert!(answer.error().starts_with(&place), "{answer:?}");
        live_is_well(&server);
    }
    let page = server.get("/models/property-value?_show=both&_key=house-000000");
    assert_eq!(page.status, 200, "the page is there");
    assert!(page.text.contains("cannot be reached") && page.text.contains("id=\"results\""), "{}", page.text);
    assert_eq!(server.get("/models/property-value/runs").status, 503);

    operator.batch_execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).unwrap();
    until("predictions are back", || (get(&server).status == 200).then_some(()));
    // A connection that was cut while nobody used it costs nobody an error.
    operator.execute(cut, &[&database]).unwrap();
    assert_eq!(get(&server).status, 200);
}

#[test]
fn a_file_that_cannot_be_opened_costs_a_503_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        store: folder.path().join("none/predictions.sqlite").display().to_string(),
        ..StoreSettings::default()
    };
    std::fs::write(folder.path().join("none"), "a file where the folder should be").unwrap();
    let server = Server::storing([fixed(live_house(4))], &settings);
    let answer = get(&server);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.error().contains("none/predictions.sqlite cannot be reached"), "{answer:?}");
    live_is_well(&server);
    std::fs::remove_file(folder.path().join("none")).unwrap();
    until("the file is made", || (get(&server).status == 404).then_some(()));
}

/// The whole program, with nothing of Kafka: what is stored does not need it.
#[test]
fn stored_predictions_are_served_while_no_model_is_live() {
    let store = tempfile::tempdir().unwrap();
    let settings = sqlite(store.path());
    let mut opened = open(&settings);
    waiting(&mut opened, "r1", 1, |_| 1.5);
    opened.approve(&id("r1"), "ada", "good", 1).unwrap();
    let folder = program::folder(&format!("[predictions]\nstore = {:?}\n", settings.store));
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = program::serve(folder.path(), &["--listen", "127.0.0.1:0", "--kafka", &nowhere]);
    let log = folder.path().join("log");
    command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
    let mut app = program::Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(app.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).trim();
    let get = |path: &str| answer(agent().get(format!("{url}{path}")).call());
    assert_eq!(get("/v2/health/ready").status, 503);
    let found = get(&format!("/predictions/property-value/{}", key(0)));
    assert_eq!((found.status, &found.json()["outputs"]), (200, &json!({ "price": 1.5 })));
    let page = get(&format!("/models/property-value?_show=stored&_key={}", key(0)));
    assert_eq!(page.status, 503, "nothing is live");
    assert!(page.text.contains("<output>1.5</output>"), "{}", page.text);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("predictions.serve.readers_max"), "each effective value is in the start log: {log}");
}

#[test]
fn a_role_that_may_only_read_is_enough_to_serve() {
    let Some(postgres) = Postgres::shared() else { return };
    let settings = postgres.store();
    let database = settings.store.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let mut store = open(&settings);
    waiting(&mut store, "r1", 1, |_| 1.0);
    waiting(&mut store, "r2", 1, |_| 2.0);
    store.approve(&id("r1"), "ada", "good", 1).unwrap();
    let role = format!("reader_of_{database}");
    let grant = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    );
    postgres.client(&database).unwrap().batch_execute(&grant).unwrap();
    let reader = StoreSettings {
        store: settings.store.replace("tester", &role),
        password: Some("p".into()),
        ..settings
    };
    let server = Server::storing([], &reader);
    assert_eq!(get(&server).status, 200);
    assert_eq!(server.get("/models/property-value/runs/r2").status, 200);
    let error = open(&reader).approve(&id("r2"), "eve", "please", 2).unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
}

#[test]
fn a_database_that_is_stuck_holds_up_its_own_questions_alone() {
    let Some(postgres) = Postgres::shared() else { return };
    let mut settings = postgres.store();
    settings.statement_timeout_seconds = 1;
    settings.serve.readers_max = 1;
    let database = settings.store.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let mut store = open(&settings);
    waiting(&mut store, "r1", 1, |_| 1.0);
    store.approve(&id("r1"), "ada", "good", 1).unwrap();
    let server = Server::storing([fixed(live_house(4))], &settings);
    assert_eq!(get(&server).status, 200);
    let mut other = postgres.client(&database).unwrap();
    other.batch_execute("BEGIN; LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE").unwrap();
    std::thread::scope(|scope| {
        let stuck: Vec<_> = (0..30).map(|_| scope.spawn(|| get(&server))).collect();
        let since = Instant::now();
        live_is_well(&server);
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        let answers: Vec<_> = stuck.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
        let said = |words: &str| answers.iter().any(|answer| answer.error().contains(words));
        assert!(said("did not answer within 1 s") && said("too many requests"), "{answers:?}");
    });
    other.batch_execute("ROLLBACK").unwrap();
    until("predictions are back", || (get(&server).status == 200).then_some(()));
}
