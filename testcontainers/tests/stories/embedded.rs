//! A version pulled into one file: what the command says of it, and what an app does with it until it reaches Kafka.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::app::App;
use crate::support::scene::Scene;
use crate::support::signer::{Package, Signer};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";

/// Nothing listens on port 1, and nothing ever will.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_pulled_version_serves_an_app_until_it_reaches_kafka() {
    let (runtime, scene) = (runtime(), Scene::new("pulled", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    for weight in 1..=2_u32 {
        runtime.block_on(linear::publish(&publisher, linear::request(MODEL, f64::from(weight))));
    }
    let file = scene.shown("price.modelcast");
    let pulled = scene.modelcast(&["pull", MODEL, "--out", &file, "--json"]).json();
    assert_eq!((&pulled["version"], &pulled["generation"]), (&json!(2), &json!(2)), "the champion");
    let inspected = scene.modelcast(&["inspect", &file, "--json", "--kafka", NOBODY]).json();
    assert_eq!(inspected, pulled, "and without Kafka it is the same");

    let settings = scene.configure_app("app-1", &[MODEL], &format!("embedded = \"{file}\"\n"));
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace(&scene.kafka.bootstrap_servers, NOBODY)).unwrap();
    let app = App::start("app-1", &settings);
    assert!(app.is_ready());
    let (_, answer) = app.infer(MODEL, &linear::areas(&[3.0]));
    assert_eq!((&answer["outputs"][0]["data"], &answer["model_version"]), (&json!([6.0]), &json!("2")));
    assert_eq!(app.model(MODEL)["origin"], "embedded");
    app.stop();

    fs::write(&settings, text).unwrap();
    let app = App::start("app-1", &settings);
    let from_kafka = |app: &App| {
        wait_for("the app to serve from Kafka", || (app.model(MODEL)["origin"] == "kafka").then_some(()));
        assert_eq!(app.model(MODEL)["served"]["version"], 2);
    };
    from_kafka(&app);
    wait_for("the warning to go", || (app.model(MODEL)["warnings"] == json!([])).then_some(()));
    let published = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 3.0)));
    app.wait_until_live(MODEL, 3, published.generation.get());
    app.stop();

    // What was live goes before what is embedded.
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace(&scene.kafka.bootstrap_servers, NOBODY)).unwrap();
    let app = App::start("app-1", &settings);
    assert_eq!(
        (&app.model(MODEL)["origin"], &app.model(MODEL)["served"]["version"]),
        (&json!("kafka"), &json!(3))
    );
}

#[test]
fn pull_and_inspect_refuse_what_nobody_should_run() {
    let (runtime, scene) = (runtime(), Scene::new("pull-refused", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    for weight in 1..=2_u32 {
        runtime.block_on(linear::publish(&publisher, linear::request(MODEL, f64::from(weight))));
    }
    let file = scene.shown("price.modelcast");
    let first = scene.modelcast(&["pull", MODEL, "--version", "1", "--out", &file, "--json"]).json();
    assert_eq!((&first["version"], &first["champion"]), (&json!(1), &json!(2)));
    let good = fs::read(&file).unwrap();

    let reason = ["--reason", "wrong rows"];
    scene.modelcast(&[&["quarantine", MODEL, "1"][..], &reason].concat()).must_end_with(0);
    for (args, code, words) in [
        (&["pull", MODEL, "--version", "1", "--out", &file][..], 4, "wrong rows"),
        (&["pull", MODEL, "--version", "9", "--out", &file], 4, "version 9"),
        (&["pull", "hous", "--out", &file], 4, "nothing is known of model hous"),
        (&["pull", MODEL, "--out", &scene.shown("no/such/folder")], 1, "cannot write to"),
        (&["inspect", &scene.shown("nothing-here")], 1, "nothing-here"),
    ] {
        scene.modelcast(args).must_end_with(code).must_say(&[words]);
    }
    assert_eq!(fs::read(&file).unwrap(), good, "what was not pulled replaces nothing");
    let left: Vec<_> =
        fs::read_dir(scene.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("modelcast-pull")), "{left:?}");

    let mut damaged = good;
    *damaged.last_mut().unwrap() ^= 1;
    let path = scene.shown("damaged.modelcast");
    fs::write(&path, damaged).unwrap();
    let inspected = scene.modelcast(&["inspect", &path]);
    for words in ["NOT good", "the manifest states"] {
        assert!(inspected.must_end_with(1).stdout.contains(words), "{words}: {inspected:?}");
    }
}

/// Signed with the right key and wrong all the same; the second is found out only when it is admitted from its file.
#[test]
fn what_no_app_would_take_is_not_pulled() {
    let (runtime, scene) = (runtime(), Scene::new("pull-wrong", &[MODEL]));
    let signer = runtime.block_on(Signer::connect(&scene));
    let file = scene.shown("price.modelcast");
    let flip: fn(&mut Package) = |package| package.chunks[1].bytes[3] ^= 1;
    let lie: fn(&mut Package) = |package| package.manifest.golden = linear::golden(4.004);
    for (weight, damage, words) in [(1.0, flip, "the chunk has digest blake3:"), (2.0, lie, "4.004")] {
        let mut package = signer.package(MODEL, weight);
        damage(&mut package);
        runtime.block_on(signer.publish(MODEL, package));
        let pulled = scene.modelcast(&["pull", MODEL, "--out", &file]);
        pulled.must_end_with(1);
        let said = format!("{}{}", pulled.stdout, pulled.stderr);
        assert!(said.contains(words), "{said}");
        assert!(!Path::new(&file).exists(), "{words}");
    }
}
