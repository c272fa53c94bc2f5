//! What an operator gets wrong first: the address, a key in a file, the topics. Each program says which, and what to
//! do about it.

use std::time::Duration;

use modelcast::protocol::topic;
use modelcast_testcontainers::{Ability, Kafka, offers};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::support::app::App;
use crate::support::programs::{self, Ended};
use crate::support::scene::{Scene, model};
use crate::support::{DEADLINE, runtime, wait_for, wait_within};

const MODEL: &str = "property-value";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const TRAIN: [&str; 5] = ["run", "--dataset", "ames", "--until", "2006"];

/// A workplace whose Kafka nobody is at.
fn nowhere() -> Scene {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    Scene::bare(&address, "nowhere")
}

#[test]
fn a_program_that_cannot_reach_kafka_ends_with_69_and_names_the_address() {
    let scene = nowhere();
    let address = scene.kafka.bootstrap_servers.as_str();
    let check = |ended: &Ended| {
        ended.must_end_with(69).must_say(&["error: ", address]);
        assert!(ended.took < ANSWER_WITHIN, "{:?}: {ended:?}", ended.took);
    };
    let operations: [&[&str]; 6] = [
        &["topics", "create", "--model", MODEL],
        &["topics", "check"],
        &["status"],
        &["versions", MODEL],
        &["verify", MODEL],
        &["rollback", MODEL, "--reason", "bad"],
    ];
    std::thread::scope(|scope| {
        for operation in operations {
            scope.spawn(|| check(&scene.modelcast(operation)));
        }
        check(&scene.trainer(&TRAIN));
    });
}

#[test]
fn an_app_that_cannot_reach_kafka_stays_and_says_so() {
    let scene = nowhere();
    let app = scene.app("app-1", &[MODEL]);
    wait_within(ANSWER_WITHIN, "a warning that names the address", || {
        app.model(MODEL)["warnings"].to_string().contains(&scene.kafka.bootstrap_servers).then_some(())
    });
    assert!(!app.is_ready());
    assert_eq!(app.get("/v2/health/live").0, 200);
}

#[test]
fn an_unknown_key_in_a_settings_file_ends_with_64_and_is_named() {
    let scene = nowhere();
    let spoil = |name: &str| {
        let text = std::fs::read_to_string(scene.path(name)).unwrap();
        scene.write(name, &text.replacen("[kafka]\n", "[kafka]\nbootstrap = 1\n", 1));
        scene.shown(name)
    };
    scene.configure_app("app-1", &[MODEL], "");
    let app = spoil("app-1.toml");
    spoil("operator.toml");
    spoil("trainer.toml");
    let check = |ended: &Ended, file: &str| {
        ended.must_end_with(64).must_say(&["error: ", "unknown field `bootstrap`", "line ", file]);
    };
    check(&scene.modelcast(&["status"]), "operator.toml");
    check(&scene.trainer(&TRAIN), "trainer.toml");
    check(&programs::run("consumer-app", &["serve", "--config", &app], &scene.folder()), "app-1.toml");
}

fn admin(scene: &Scene) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    config.create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(DEADLINE))
}

/// An app that follows the model says this among its warnings.
fn must_warn(app: &App, words: &[&str]) {
    wait_for("the app to warn", || {
        let warnings = app.model(MODEL)["warnings"].to_string();
        words.iter().all(|word| warnings.contains(word)).then_some(())
    });
}

#[test]
fn a_topic_with_a_wrong_setting_is_refused_by_name_with_the_command_that_mends_it() {
    if !offers(&[Ability::TopicSettings]) {
        return;
    }
    let scene = Scene::new("wrong-setting", &[MODEL]);
    let topic = topic::announcements(&scene.kafka.namespace).name;
    let wrong = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", "compact");
    let altered = runtime().block_on(admin(&scene).alter_configs([&wrong], &options())).unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    let mend = format!("--alter --topic {topic} --add-config 'cleanup.policy=[delete]'");
    let words = [&topic, "cleanup.policy=compact", "must have cleanup.policy=delete", &mend];
    for ended in
        [scene.modelcast(&["topics", "check"]), scene.modelcast(&["topics", "create"]), scene.trainer(&TRAIN)]
    {
        ended.must_end_with(1).must_say(&words);
    }
    // An app that follows the model starts, and says the same.
    let app = scene.app("app-1", &[MODEL]);
    must_warn(&app, &[&topic, "cleanup.policy=compact"]);
    assert!(!app.is_ready());
}

#[test]
fn a_topic_with_too_many_partitions_is_refused_by_name() {
    let kafka = Kafka::shared();
    let scene = Scene::bare(kafka.bootstrap_servers(), &kafka.namespace("partitions"));
    let topic = topic::announcements(&scene.kafka.namespace).name;
    let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    let made = runtime().block_on(admin(&scene).create_topics([&new], &options())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let created = scene.modelcast(&["topics", "create"]);
    let mend = format!("modelcast topics create --kafka {} --namespace", kafka.bootstrap_servers());
    created.must_end_with(1).must_say(&[&topic, "2 partitions", "must have 1", &mend]);
    // It may hold history.
    assert!(!created.stderr.contains("--delete"), "{}", created.stderr);
}

#[test]
fn a_missing_topic_is_named_with_the_command_that_creates_it() {
    let scene = Scene::new("missing-topic", &[]);
    let topic = topic::blobs(&scene.kafka.namespace, &model(MODEL)).name;
    let (address, namespace) = (&scene.kafka.bootstrap_servers, &scene.kafka.namespace);
    let mend = format!("modelcast topics create --kafka {address} --namespace {namespace} --model {MODEL}");
    for ended in [scene.modelcast(&["topics", "check", "--model", MODEL]), scene.trainer(&TRAIN)] {
        ended.must_end_with(1).must_say(&[&format!("topic {topic} is missing"), &mend]);
    }

    // Without any topic an app starts, and says what is missing.
    let kafka = Kafka::shared();
    let scene = Scene::bare(kafka.bootstrap_servers(), &kafka.namespace("no-topics"));
    let app = scene.app("app-1", &[MODEL]);
    must_warn(&app, &[&topic::announcements(&scene.kafka.namespace).name]);
    assert!(!app.is_ready());
}

#[test]
fn a_model_without_its_topic_keeps_no_other_from_its_news() {
    let other = "breast-cancer";
    let scene = Scene::new("one-missing", &[other]);
    let app = scene.app("app-1", &[MODEL, other]);
    must_warn(
        &app,
        &[&format!("topic {} is missing", topic::blobs(&scene.kafka.namespace, &model(MODEL)).name)],
    );
    scene.trainer(&["run", "--dataset", other]).must_end_with(0);
    wait_for("the other model to be live", || (app.model(other)["phase"] == "live").then_some(()));

    // Its topic is noticed without a restart.
    scene.modelcast(&["topics", "create", "--model", MODEL]).must_end_with(0);
    scene.trainer(&TRAIN).must_end_with(0);
    wait_for("the model to be live", || (app.model(MODEL)["phase"] == "live").then_some(()));
}
