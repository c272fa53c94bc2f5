//! Models that are signed, and hostile or unfit: an application that brings its own decoder and its own schema.
//!
//! In process, with a subscriber: the programs take only formats that are known to behave. What ends a process runs
//! in one of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use modelcast::admission::Policy;
use modelcast::models::{GeneralizedLinearModel, Link};
use modelcast::protocol::golden::Column;
use modelcast::protocol::resolve::Identity;
use modelcast::protocol::schema::{Feature, FeatureKind, Numeric};
use modelcast::settings::{KafkaSettings, KeySettings};
use modelcast::{LoadedModel, Subscriber};
use serde_json::json;

use crate::support::part::{self, Place};
use crate::support::programs::Running;
use crate::support::scene::{Scene, model};
use crate::support::signer::Signer;
use crate::support::toy::{self, Process};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";

/// Follows the model under a name, with a state folder of that name.
async fn follow(kafka: &KafkaSettings, folder: &str, name: &str, policy: Policy) -> Subscriber {
    let folder = PathBuf::from(folder);
    let keys = KeySettings { trusted: vec![folder.join("keys")], signing: None };
    let identity = Identity { instance: name.parse().unwrap(), labels: [].into() };
    let builder = Subscriber::builder(kafka, &keys.trusted().unwrap(), identity, &folder.join(name));
    builder.model(model(MODEL), policy).start().await.unwrap()
}

async fn publish_toy(signer: &Signer, text: &str, golden: f64) {
    let mut package = signer.package(MODEL, golden / 2.0);
    package.hold(toy::FORMAT, text.as_bytes());
    signer.publish(MODEL, package).await;
}

fn predict(loaded: &LoadedModel, area: f64) -> f64 {
    let mut outputs = [0.0];
    loaded.predict(&[area], &mut outputs).unwrap();
    outputs[0]
}

fn wait_until_serving(subscriber: &Subscriber, version: u64) -> Arc<LoadedModel> {
    let live = subscriber.model(&model(MODEL)).unwrap();
    wait_for(&format!("version {version} to serve"), || {
        live.load().filter(|loaded| loaded.version().get() == version)
    })
}

/// The operator sees that version 2 was refused so while version 1 serves, and the process answers with it.
fn must_be_refused(scene: &Scene, subscriber: &Subscriber, name: &str, stage: &str, cause: &str) {
    let found = scene.wait_for_status(MODEL, name, "a refusal", |one| one["standing"] == "refused");
    let refused = &found["phase"]["refused"];
    assert_eq!(refused["stage"], stage, "{found:#}");
    assert!(refused["cause"].as_str().unwrap().contains(cause), "{refused}");
    assert_eq!((&found["serves"]["version"], &found["wants"]["version"]), (&json!(1), &json!(2)));
    assert_eq!(scene.status(MODEL).1, Some(1));
    assert_eq!(predict(&wait_until_serving(subscriber, 1), 3.0), 3.0);
}

/// Version 2 is this artifact, and must be refused; version 3 does no harm, and must go live.
fn check(stem: &str, artifact: &str, stage: &str, cause: &str) {
    let (runtime, scene) = (runtime(), Scene::new(stem, &[MODEL]));
    let signer = runtime.block_on(Signer::connect(&scene));
    runtime.block_on(publish_toy(&signer, "scale 1", 2.0));
    let subscriber =
        runtime.block_on(follow(&scene.kafka, &scene.shown(""), "own", toy::policy(Process::Test)));
    wait_until_serving(&subscriber, 1);

    runtime.block_on(publish_toy(&signer, artifact, 4.0));
    must_be_refused(&scene, &subscriber, "own", stage, cause);
    runtime.block_on(publish_toy(&signer, "scale 3", 6.0));
    assert_eq!(predict(&wait_until_serving(&subscriber, 3), 3.0), 9.0);
    runtime.block_on(subscriber.shutdown());
}

#[test]
fn a_model_that_panics_while_it_is_decoded_is_refused() {
    check("panics", "panic", "decode", "panicked: a decoder of the test's own");
}

#[test]
fn a_model_that_fails_only_the_second_time_is_refused_before_it_serves() {
    check("tired", "tired 2", "warm_up", "too tired");
}

#[test]
fn a_schema_that_breaks_the_applications_own_is_refused_there_and_only_there() {
    let (runtime, scene) = (runtime(), Scene::new("schema", &[MODEL]));
    let signer = runtime.block_on(Signer::connect(&scene));
    runtime.block_on(signer.publish(MODEL, signer.package(MODEL, 1.0)));
    let strict = Policy { schema: Some(Arc::new(linear::schema())), ..Policy::standard() };
    let strict = runtime.block_on(follow(&scene.kafka, &scene.shown(""), "strict", strict));
    let open = runtime.block_on(follow(&scene.kafka, &scene.shown(""), "open", Policy::standard()));
    wait_until_serving(&strict, 1);

    let mut wider = signer.package(MODEL, 2.0);
    let rooms = FeatureKind::Numeric(Numeric::default());
    wider.manifest.schema.features.push(Feature { name: "rooms".into(), title: None, kind: rooms });
    wider.manifest.golden.inputs.push(Column::Numbers(vec![0.0]));
    let numeric = vec![("area".to_owned(), 2.0), ("rooms".to_owned(), 5.0)];
    let glm = GeneralizedLinearModel { link: Link::Identity, intercept: 0.0, numeric, categorical: vec![] };
    wider.hold("glm", &glm.encode().unwrap());
    runtime.block_on(signer.publish(MODEL, wider));

    wait_until_serving(&open, 2);
    must_be_refused(&scene, &strict, "strict", "schema", "feature \"rooms\" is new and required");
    runtime.block_on(signer.publish(MODEL, signer.package(MODEL, 3.0)));
    wait_until_serving(&strict, 3);
    runtime.block_on(async { tokio::join!(strict.shutdown(), open.shutdown()) });
}

#[test]
fn a_model_that_kills_the_process_is_refused_when_it_starts_again() {
    let (runtime, scene) = (runtime(), Scene::new("kills", &[MODEL]));
    let signer = runtime.block_on(Signer::connect(&scene));
    runtime.block_on(publish_toy(&signer, "scale 1", 2.0));
    let mut command = part::command(&scene, "hostile_models::a_process_that_follows_the_model");
    let mut victim = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    scene.wait_for_status(MODEL, "own", "the process to serve", |one| one["standing"] == "live");

    runtime.block_on(publish_toy(&signer, "abort", 4.0));
    wait_for("the process to die", || (!victim.runs()).then_some(()));
    let aborted = 6;
    assert_eq!(victim.child().wait().unwrap().signal(), Some(aborted));

    let subscriber =
        runtime.block_on(follow(&scene.kafka, &scene.shown(""), "own", toy::policy(Process::Test)));
    let live = subscriber.model(&model(MODEL)).unwrap();
    assert_eq!(live.load().unwrap().version().get(), 1, "the last known good version serves at once");
    must_be_refused(&scene, &subscriber, "own", "crash", "the process died while decoding it");
    runtime.block_on(publish_toy(&signer, "scale 3", 6.0));
    assert_eq!(predict(&wait_until_serving(&subscriber, 3), 3.0), 9.0);
    runtime.block_on(subscriber.shutdown());
}

#[test]
#[ignore = "is the process that a_model_that_kills_the_process_is_refused_when_it_starts_again starts"]
fn a_process_that_follows_the_model() {
    let Some(Place { kafka, folder, .. }) = Place::of_this_process() else { return };
    let folder = folder.display().to_string();
    let runtime = runtime();
    let _subscriber = runtime.block_on(follow(&kafka, &folder, "own", toy::policy(Process::Victim)));
    // Until the decoder ends it, or the test does.
    loop {
        std::thread::park();
    }
}
