//! The test kit itself: what the other tests take for granted of their Kafka.
//!
//! Not for Modelcast's own behaviour. The containers are looked at through the `docker` command, not through the
//! crate under test.
//!
//! # Invariants
//! * Whatever is waited for has a deadline.

// clippy.toml allows it in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used)]

#[path = "support/machine.rs"]
mod machine;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use modelcast_testcontainers::{Ability, Backend, Faults, Kafka, offers};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use machine::{runs, shell};

const DEADLINE: Duration = Duration::from_secs(60);

fn client(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.max.ms", "500")
        .set("group.id", "unused");
    config
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn create_topic(kafka: &Kafka, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client(kafka).create().unwrap();
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let results =
        block_on(admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(DEADLINE))));
    assert_eq!(results.unwrap(), [Ok(topic.to_owned())]);
}

fn produce(kafka: &Kafka, topic: &str, payload: &str) {
    let producer: BaseProducer = client(kafka).set("acks", "all").create().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).partition(0).payload(payload)).unwrap();
    producer.flush(DEADLINE).unwrap();
}

fn consume_first(kafka: &Kafka, topic: &str) -> String {
    let consumer: BaseConsumer = client(kafka).create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let message =
        wait_for("a record", || consumer.poll(Duration::from_millis(200))?.ok().map(|m| m.detach()));
    String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Whether it keeps folders and logs like Apache Kafka, where we can look at them.
fn is_apache(kafka: &Kafka) -> bool {
    matches!(kafka.backend(), Backend::Container | Backend::Process)
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn container_state(name: &str) -> Option<String> {
    // Docker has a slash before the name, Podman has not; and what `ps` calls a state differs.
    let id = docker(&["ps", "--all", "--quiet", "--filter", &format!("name=^/?{name}$")]);
    let inspect = ["container", "inspect", "--format", "{{.State.Status}}", &id];
    let state = Command::new("docker").args(inspect).stdin(Stdio::null()).output().unwrap();
    // It may have gone between the two.
    state.status.success().then(|| String::from_utf8(state.stdout).unwrap().trim().to_owned())
}

/// Another process that holds a Kafka of its own, and the container's name.
fn process_with_kafka() -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kafka"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let name = std::iter::from_fn(|| lines.recv_timeout(2 * DEADLINE).ok())
        .find_map(|line| line.strip_prefix("machine=").map(ToOwned::to_owned))
        .unwrap();
    (child, name)
}

#[test]
fn what_is_produced_is_consumed() {
    let kafka = Kafka::shared();
    let topic = format!("{}.records", kafka.namespace("round-trip"));
    create_topic(kafka, &topic);
    produce(kafka, &topic, "first");
    assert_eq!(consume_first(kafka, &topic), "first");
}

#[test]
fn a_missing_topic_stays_missing() {
    // The embedded broker makes what a producer asks for.
    if !offers(&[Ability::Settings]) {
        return;
    }
    let kafka = Kafka::shared();
    let topic = format!("{}.records", kafka.namespace("missing"));
    // A producer's default asks the broker to create what is missing: the broker must refuse.
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("message.timeout.ms", "2000")
        .create()
        .unwrap();
    producer.send(BaseRecord::<(), str>::to(&topic).payload("lost")).unwrap();
    let _ = producer.flush(Duration::from_secs(5));
    let metadata = producer.client().fetch_metadata(None, DEADLINE).unwrap();
    assert!(metadata.topics().iter().all(|found| found.name() != topic));
}

#[test]
fn namespaces_never_repeat_and_the_shared_kafka_is_one() {
    let kafka = Kafka::shared();
    assert_ne!(kafka.namespace("same"), kafka.namespace("same"));
    assert_eq!(kafka.bootstrap_servers(), Kafka::shared().bootstrap_servers());
}

#[tokio::test]
async fn a_kafka_can_be_had_inside_an_async_runtime() {
    let kafka = Kafka::start().unwrap();
    let client: BaseConsumer = client(&kafka).create().unwrap();
    assert!(client.fetch_metadata(None, DEADLINE).is_ok());
}

#[test]
fn stopping_and_starting_keeps_the_data_and_the_address() {
    if !offers(&[Ability::Restart]) {
        return;
    }
    let kafka = Kafka::start().unwrap();
    let address = kafka.bootstrap_servers().to_owned();
    create_topic(&kafka, "kept");
    produce(&kafka, "kept", "before the stop");
    assert!(runs(kafka.machine(), 1));
    kafka.stop().unwrap();
    assert!(!runs(kafka.machine(), 1));
    kafka.start_again().unwrap();
    assert_eq!(kafka.bootstrap_servers(), address);
    assert_eq!(consume_first(&kafka, "kept"), "before the stop");
    if is_apache(&kafka) {
        assert!(kafka.log().unwrap().contains("shut down completed"), "the stop was no orderly one");
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    if !offers(&[Ability::Restart]) {
        return;
    }
    let kafka = Kafka::start().unwrap();
    create_topic(&kafka, "kept");
    produce(&kafka, "kept", "before the kill");
    kafka.kill().unwrap();
    assert!(!runs(kafka.machine(), 1));
    kafka.start_again().unwrap();
    assert_eq!(consume_first(&kafka, "kept"), "before the kill");
    assert!(!kafka.log().unwrap().contains("shut down completed"), "the kill was an orderly stop");
}

#[test]
fn a_topic_anew_is_empty_and_another_one_with_the_same_settings() {
    let kafka = Kafka::shared();
    let topic = format!("{}.anew", kafka.namespace("recreate"));
    let admin: AdminClient<DefaultClientContext> = client(kafka).create().unwrap();
    let new = NewTopic::new(&topic, 3, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    produce(kafka, &topic, "first");
    let metadata = format!("cat data-1/kafka/{topic}-0/partition.metadata");
    let identity = || is_apache(kafka).then(|| shell(kafka.machine(), &metadata));
    let before = identity();

    kafka.recreate_topic(&topic).unwrap();
    assert!(before.is_none() || identity() != before);
    produce(kafka, &topic, "second");
    assert_eq!(consume_first(kafka, &topic), "second");
    let metadata = admin.inner().fetch_metadata(Some(&topic), DEADLINE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
    let described =
        block_on(admin.describe_configs(&[ResourceSpecifier::Topic(&topic)], &AdminOptions::new())).unwrap();
    let retention = described[0].as_ref().unwrap().get("retention.ms").unwrap();
    assert_eq!(retention.value.as_deref(), Some("-1"));
}

#[test]
fn a_missing_topic_cannot_be_had_anew() {
    let error = Kafka::shared().recreate_topic("nobody-made-this").unwrap_err().to_string();
    assert_eq!(error, "cannot describe topic nobody-made-this: there is none");
}

#[test]
fn a_kafka_can_be_had_with_other_settings_listeners_files_and_faults() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let kafka = Kafka::builder()
        .setting("auto.create.topics.enable", "true")
        .listener("SECOND", "PLAINTEXT")
        .file("note", "it is \"kept\"\nas it is\n")
        .proxied()
        .start()
        .unwrap();
    assert_eq!(shell(kafka.machine(), "cat node-1/note"), "it is \"kept\"\nas it is");

    // No listener passes its clients on to another.
    let second = kafka.listener_servers("SECOND").unwrap();
    assert!(second != kafka.direct_servers() && kafka.bootstrap_servers() != kafka.direct_servers());
    let proxy = kafka.proxy().unwrap();
    proxy.set(Faults { black_hole: true, ..Faults::default() });
    for servers in [kafka.direct_servers(), &second] {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
        producer.send(BaseRecord::<(), str>::to("made-on-demand").payload("first")).unwrap();
        producer.flush(DEADLINE).unwrap();
    }
    let through: BaseConsumer = client(&kafka).create().unwrap();
    assert!(through.fetch_metadata(None, Duration::from_secs(1)).is_err());
    proxy.heal();
    assert!(through.fetch_metadata(None, DEADLINE).is_ok());
}

#[test]
fn a_setting_that_kafka_refuses_is_told_in_its_words() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let error = Kafka::builder().setting("log.retention.bytes", "much").start().err().unwrap().to_string();
    assert!(error.contains("log.retention.bytes"), "{error}");
}

#[test]
fn an_image_that_is_no_kafka_is_named_with_what_it_lacks() {
    if !offers(&[Ability::Image]) {
        return;
    }
    let whole = docker(&["inspect", "--format", "{{.Image}}", Kafka::shared().machine()]);
    let check = |script: &str, lack: &str| {
        let image = format!("modelcast-test-no-kafka-{}", std::process::id());
        docker(&["run", "--name", &image, "--user", "0", "--entrypoint", "sh", &whole, "-c", script]);
        docker(&["commit", &image, &image]);
        docker(&["rm", &image]);
        let output = Command::new(env!("CARGO_BIN_EXE_kafka"))
            .env("MODELCAST_KAFKA_IMAGE", &image)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        docker(&["rmi", &image]);
        let said = String::from_utf8_lossy(&output.stderr);
        let expected =
            format!("image {image}:latest is not laid out like apache/kafka: {lack}; name another");
        assert!(!output.status.success() && said.contains(&expected), "{said}");
    };
    check("rm -r /opt/kafka/libs", "no Kafka is in its /opt/kafka/libs");
    check("rm \"$(command -v java)\"", "no java is on its PATH");
}

#[test]
fn a_paused_kafka_answers_nothing_until_it_goes_on() {
    if !offers(&[Ability::Pause]) {
        return;
    }
    let kafka = Kafka::start().unwrap();
    kafka.pause().unwrap();
    let client: BaseConsumer = client(&kafka).create().unwrap();
    assert!(client.fetch_metadata(None, Duration::from_secs(1)).is_err());
    kafka.unpause().unwrap();
    assert!(client.fetch_metadata(None, DEADLINE).is_ok());
}

#[test]
fn a_dropped_kafka_is_gone_at_once() {
    if !offers(&[Ability::Image]) {
        return;
    }
    let kafka = Kafka::start().unwrap();
    let name = kafka.machine().to_owned();
    assert_eq!(container_state(&name).as_deref(), Some("running"));
    drop(kafka);
    assert_eq!(container_state(&name), None);
}

#[test]
fn a_killed_process_leaves_no_container_even_when_it_is_paused() {
    if !offers(&[Ability::Image]) {
        return;
    }
    let (mut child, name) = process_with_kafka();
    assert_eq!(container_state(&name).as_deref(), Some("running"));
    docker(&["pause", &name]);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the container to be removed", || container_state(&name).is_none().then_some(()));
}

#[test]
fn what_a_watchdog_could_not_remove_the_next_start_does() {
    if !offers(&[Ability::Image]) {
        return;
    }
    let shared = Kafka::shared();
    let inspect = |format: &str| docker(&["inspect", "--format", format, shared.machine()]);
    let image = inspect("{{.Config.Image}}");
    // An owner like this process, but for a start time that no process has; and one of another machine.
    let owner = inspect("{{index .Config.Labels \"modelcast.owner\"}}");
    let (process, _started) = owner.rsplit_once(' ').unwrap();
    let (_machine, elsewhere) = process.split_once(' ').unwrap();
    let create =
        |owner: &str| docker(&["create", "--label", &format!("modelcast.owner={owner}"), &image, "true"]);
    let orphan = create(&format!("{process} 1"));
    let foreign = create(&format!("another-machine {elsewhere} 1"));

    let next = Kafka::start();
    let is_there = |id: &str| docker(&["ps", "--all", "--no-trunc", "--quiet"]).contains(id);
    let (orphan_is_there, foreign_is_there) = (is_there(&orphan), is_there(&foreign));
    // Also what should be gone: a failing test leaves nothing behind either.
    for (id, _) in
        [(&orphan, orphan_is_there), (&foreign, foreign_is_there)].iter().filter(|(_, there)| *there)
    {
        docker(&["rm", "--force", "--volumes", id]);
    }
    next.unwrap();
    assert!(!orphan_is_there, "the orphan is still there");
    assert!(foreign_is_there, "another machine's container was removed");
    assert_eq!(container_state(shared.machine()).as_deref(), Some("running"));
}
