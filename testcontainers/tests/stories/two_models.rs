//! Two models in one app and one namespace: what happens to one is nothing to the other.

use modelcast::Publisher;
use serde_json::{Value, json};

use crate::support::app::{App, agent};
use crate::support::scene::Scene;
use crate::support::signer::Signer;
use crate::support::{linear, runtime, wait_for};

const PRICE: &str = "price";
const RENT: &str = "rent";
const BOTH: [&str; 2] = [PRICE, RENT];
const AREA: f64 = 3.0;

/// Publishes, and waits for the app; gives what the app says of the model then.
fn publish(publisher: &Publisher, app: &App, model: &str, weight: f64) -> Value {
    let published = runtime().block_on(linear::publish(publisher, linear::request(model, weight)));
    app.wait_until_live(model, published.version.get(), published.generation.get())
}

/// An operator's change, at its generation.
fn change(scene: &Scene, args: &[&str]) -> u64 {
    let done = scene.modelcast(&[args, &["--reason", "a story", "--json"]].concat()).json();
    done["generation"].as_u64().unwrap()
}

/// The app answers with this version, and its weight.
fn must_answer(app: &App, model: &str, version: u64, weight: f64) {
    let (status, answer) = app.infer(model, &linear::areas(&[AREA]));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["model_name"], &answer["model_version"]),
        (&json!(model), &json!(version.to_string()))
    );
    assert_eq!(answer["outputs"][0]["data"], json!([weight * AREA]));
}

/// Nothing happened to a model since the app said this of it.
fn must_be_as(app: &App, model: &str, before: &Value) {
    let now = app.model(model);
    for key in ["served", "wanted", "generation_seen", "swaps", "rejections", "phase"] {
        assert_eq!(now[key], before[key], "{key} of {model}");
    }
}

#[test]
fn each_of_two_models_is_published_rolled_back_and_pinned_by_itself() {
    let scene = Scene::new("two-models", &BOTH);
    let publisher = runtime().block_on(scene.publisher());
    let app = scene.app("app-1", &BOTH);
    publish(&publisher, &app, PRICE, 1.0);
    assert!(!app.is_ready(), "the other model has no version yet");
    let rent = publish(&publisher, &app, RENT, 10.0);
    publish(&publisher, &app, PRICE, 2.0);
    must_be_as(&app, RENT, &rent);
    let rent = publish(&publisher, &app, RENT, 20.0);
    assert!(app.is_ready());

    let generation = change(&scene, &["rollback", PRICE]);
    let price = app.wait_until_live(PRICE, 1, generation);
    must_be_as(&app, RENT, &rent);
    must_answer(&app, PRICE, 1, 1.0);
    must_answer(&app, RENT, 2, 20.0);

    let generation = change(&scene, &["pin", RENT, "1", "--instance", "app-1"]);
    let rent = app.wait_until_live(RENT, 1, generation);
    must_be_as(&app, PRICE, &price);

    // The same number under another name is another version: neither the pin nor the quarantine is about it.
    let price = publish(&publisher, &app, PRICE, 3.0);
    must_be_as(&app, RENT, &rent);
    let published = runtime().block_on(linear::publish(&publisher, linear::request(RENT, 30.0)));
    wait_for("the app to see what its pin keeps from it", || {
        (app.model(RENT)["generation_seen"] == published.generation.get()).then_some(())
    });
    must_be_as(&app, PRICE, &price);
    must_answer(&app, RENT, 1, 10.0);
    must_answer(&app, PRICE, 3, 3.0);
    for model in BOTH {
        scene.wait_for_status(model, "app-1", "the operator to see it", |one| one["standing"] == "live");
    }
}

#[test]
fn an_app_says_of_each_model_which_version_serves_and_why() {
    let scene = Scene::new("which-and-why", &BOTH);
    let publisher = runtime().block_on(scene.publisher());
    let app = scene.app("app-1", &BOTH);
    for (model, weight) in [(PRICE, 1.0), (RENT, 10.0), (RENT, 20.0)] {
        publish(&publisher, &app, model, weight);
    }
    let generation = change(&scene, &["pin", RENT, "1", "--instance", "app-1"]);
    let rent = app.wait_until_live(RENT, 1, generation);
    let wanted = &rent["wanted"];
    assert_eq!(
        (&wanted["role"], &wanted["version"], &wanted["generation"]),
        (&json!("pinned"), &json!(1), &json!(generation))
    );
    assert_eq!(
        (&wanted["pin"]["target"], &wanted["pin"]["reason"]),
        (&json!("instance app-1"), &json!("a story"))
    );
    assert!(
        rent["served"]["since_unix_ms"].as_u64().unwrap() >= wanted["pin"]["at_unix_ms"].as_u64().unwrap()
    );
    let price = app.model(PRICE);
    let wanted = &price["wanted"];
    assert_eq!(
        (&wanted["role"], &wanted["why"], &wanted["pin"]),
        (&json!("champion"), &json!("champion"), &Value::Null)
    );
    assert_eq!(app.metric("modelcast_wanted_role{model=\"rent\",role=\"pinned\"}"), Some(1.0));
    assert_eq!(app.metric("modelcast_wanted_role{model=\"price\",role=\"champion\"}"), Some(1.0));
    let page = agent().get(&app.url).call().unwrap().body_mut().read_to_string().unwrap();
    let why = "pinned for instance app-1 by ";
    for words in [why, ": a story</dd>", "data-field=\"why\">champion</dd>", "data-field=\"since\""] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    let log = app.log();
    let said =
        |line: &&str| line.contains("version wanted") && line.contains(why) && line.contains("version=1");
    assert!(log.lines().any(|line| said(&line)), "{log}");
}

#[test]
fn a_model_that_is_refused_leaves_the_other_alone() {
    let scene = Scene::new("one-refused", &BOTH);
    let publisher = runtime().block_on(scene.publisher());
    let signer = runtime().block_on(Signer::connect(&scene));
    let app = scene.app("app-1", &BOTH);
    publish(&publisher, &app, PRICE, 1.0);
    let rent = publish(&publisher, &app, RENT, 10.0);

    let mut lies = signer.package(PRICE, 2.0);
    lies.manifest.golden = linear::golden(5.0);
    runtime().block_on(signer.publish(PRICE, lies));
    let row = scene.wait_for_status(PRICE, "app-1", "a refusal", |one| one["standing"] == "refused");
    assert_eq!(row["phase"]["refused"]["stage"], "golden", "{row:#}");
    must_be_as(&app, RENT, &rent);
    let price = app.model(PRICE);
    publish(&publisher, &app, RENT, 20.0);
    must_be_as(&app, PRICE, &price);
    must_answer(&app, PRICE, 1, 1.0);
    must_answer(&app, RENT, 2, 20.0);
    assert!(app.is_ready(), "both serve");
    assert_eq!([PRICE, RENT].map(|model| scene.status(model).1), [Some(1), Some(0)]);

    let generation = runtime().block_on(signer.publish(PRICE, signer.package(PRICE, 3.0)));
    app.wait_until_live(PRICE, 3, generation.get());
    must_answer(&app, PRICE, 3, 3.0);
}
