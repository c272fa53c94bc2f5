//! A log that has less than the fleet has seen, as after a restore from an old backup: nobody announces over it.

use std::time::Duration;

use modelcast::protocol::status::{self, Phase, Status, Traffic};
use modelcast::protocol::{Generation, codec::Record as _, desired::Labels, topic};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

use crate::support::runtime;
use crate::support::scene::{Scene, model};

const MODEL: &str = "property-value";
const INSTANCE: &str = "app-of-old";
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// What an instance wrote that saw generation 900, and gave no sign of life since.
fn of_old() -> Status {
    Status {
        v: Status::VERSION,
        model: model(MODEL),
        instance: INSTANCE.parse().unwrap(),
        boot_id: "00112233aabbccdd".into(),
        sequence: 7,
        at_unix_ms: 0,
        labels: Labels::new(),
        phase: Phase::Waiting,
        wanted: None,
        served: None,
        generation_seen: Generation::new(900),
        announcement_seen: None,
        warnings: Vec::new(),
        traffic: Traffic::default(),
    }
}

/// Writes it to the fleet topic, or nothing under its key.
async fn write(scene: &Scene, value: Option<&[u8]>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    let producer: FutureProducer = config.set("acks", "all").create().unwrap();
    let topic = topic::fleet(&scene.kafka.namespace);
    let key = of_old().key();
    let partition = status::partition(&key, topic.partitions);
    let record = FutureRecord::<str, [u8]> { payload: value, ..FutureRecord::to(&topic.name) };
    producer.send(record.partition(partition).key(&key), SEND_DEADLINE).await.unwrap();
}

#[test]
fn nobody_announces_over_a_lost_history_until_its_witness_is_withdrawn() {
    let (runtime, scene) = (runtime(), Scene::new("history-lost", &[MODEL]));
    let train = |until: &str| scene.trainer(&["run", "--dataset", "ames", "--until", until, "--json"]);
    let pin = || scene.modelcast(&["pin", MODEL, "1", "--all", "--reason", "a story", "--json"]);
    assert_eq!(train("2006").json()["generation"], 1);

    runtime.block_on(write(&scene, Some(&of_old().encode().unwrap())));
    for refused in [pin(), train("2007")] {
        refused.must_end_with(4).must_say(&["history lost", INSTANCE, "generation 900"]);
    }

    runtime.block_on(write(&scene, None));
    assert_eq!(pin().json()["generation"], 2, "a refusal took a generation");
    let published = train("2007").json();
    assert_eq!((&published["outcome"], &published["generation"]), (&json!("committed"), &json!(3)));
}
