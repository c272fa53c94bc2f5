//! A Kafka that creates any topic that a client asks for, as many do: with the wrong settings.
//!
//! No program of ours makes it do so, and what somebody else's producer had created is refused by name.

use modelcast::protocol::topic;
use modelcast_testcontainers::{Ability, Kafka, offers};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::support::programs::Ended;
use crate::support::scene::{Scene, model};
use crate::support::{DEADLINE, runtime, wait_for};

const MODEL: &str = "property-value";
const TRAIN: [&str; 5] = ["run", "--dataset", "ames", "--until", "2006"];
const REASON: [&str; 2] = ["--reason", "a story"];

fn obliging() -> Kafka {
    Kafka::builder().setting("auto.create.topics.enable", "true").start().unwrap()
}

/// The topics of the namespace.
fn topics(scene: &Scene) -> Vec<String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(None, DEADLINE).unwrap();
    let start = format!("{}.", scene.kafka.namespace);
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(&start)).collect();
    names.sort();
    names
}

/// What a producer does that somebody wrote in five minutes.
fn produce_as_a_stranger(scene: &Scene, topic: &str) {
    let mut config = ClientConfig::new();
    let producer: FutureProducer =
        config.set("bootstrap.servers", &scene.kafka.bootstrap_servers).create().unwrap();
    let sent = producer.send(FutureRecord::to(topic).key("price").payload("12"), DEADLINE);
    runtime().block_on(sent).unwrap();
}

/// Everything that the programs do on a namespace; gives how the commands ended.
fn use_all_programs(scene: &Scene, app: &str) -> Vec<Ended> {
    let change = |words: &[&str]| scene.modelcast(&[words, &REASON].concat());
    let commands = vec![
        scene.modelcast(&["status"]),
        scene.modelcast(&["status", MODEL]),
        scene.modelcast(&["versions", MODEL]),
        scene.modelcast(&["verify", MODEL]),
        scene.modelcast(&["topics", "check", "--model", MODEL]),
        change(&["rollback", MODEL]),
        change(&["pin", MODEL, "1", "--all"]),
        change(&["unpin", MODEL, "--all"]),
        change(&["quarantine", MODEL, "1"]),
    ];
    scene.trainer(&TRAIN).must_end_with(1);
    let app = scene.app(app, &[MODEL]);
    wait_for("the app to miss a topic", || {
        app.model(MODEL)["warnings"].to_string().contains("is missing").then_some(())
    });
    app.stop();
    commands
}

#[test]
fn no_program_creates_a_topic_by_asking_for_it() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let kafka = obliging();
    let scene = Scene::bare(kafka.bootstrap_servers(), &kafka.namespace("obliging"));
    for ended in use_all_programs(&scene, "app-1") {
        ended.must_end_with(1).must_say(&["is missing; create it with"]);
    }
    assert_eq!(topics(&scene), [""; 0]);

    // With all but the model's own topic they come further.
    scene.modelcast(&["topics", "create"]).must_end_with(0);
    let created = topics(&scene);
    use_all_programs(&scene, "app-2");
    assert_eq!(topics(&scene), created);

    // And this Kafka does create what it is asked for.
    let blobs = topic::blobs(&scene.kafka.namespace, &model(MODEL)).name;
    produce_as_a_stranger(&scene, &blobs);
    assert!(topics(&scene).contains(&blobs));
}

/// The arguments of the `kafka-configs.sh` that a refusal names.
fn mending_arguments(refusal: &Ended) -> Vec<String> {
    let (_, command) =
        refusal.stderr.split_once("kafka-configs.sh ").unwrap_or_else(|| panic!("{refusal:?}"));
    let words = command.lines().next().unwrap().split_whitespace();
    words.map(|word| word.trim_matches(['\'', '`']).to_owned()).collect()
}

#[test]
fn what_a_foreign_producer_created_is_refused_by_name_with_the_command_that_mends_it() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let kafka = obliging();
    let scene = Scene::bare(kafka.bootstrap_servers(), &kafka.namespace("stranger"));
    let topic = topic::announcements(&scene.kafka.namespace).name;
    produce_as_a_stranger(&scene, &topic);

    let mend = format!("--alter --topic {topic} --add-config ");
    let words = [&*topic, "must have", &mend];
    let create = ["topics", "create", "--model", MODEL];
    scene.modelcast(&create).must_end_with(1).must_say(&words);
    scene.modelcast(&["topics", "check"]).must_end_with(1).must_say(&words);
    scene.trainer(&TRAIN).must_end_with(1).must_say(&words);
    let app = scene.app("app-1", &[MODEL]);
    wait_for("the app to name it", || {
        let warnings = app.model(MODEL)["warnings"].to_string();
        (warnings.contains(&topic) && warnings.contains("must have")).then_some(())
    });
    assert!(!app.is_ready());

    // Do as they say, once for each setting, and it is as good as any.
    let settings = topic::announcements(&scene.kafka.namespace).settings.len();
    let mut refusals = 0;
    while let refused = scene.modelcast(&create)
        && refused.code != Some(0)
    {
        refusals += 1;
        assert!(refusals <= settings, "{refused:?}");
        let arguments = mending_arguments(&refused);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        kafka.run_tool("kafka.admin.ConfigCommand", &arguments).unwrap();
    }
    assert!(refusals > 0);
    scene.trainer(&TRAIN).must_end_with(0);
    app.wait_until_live(MODEL, 1, 1);
}
