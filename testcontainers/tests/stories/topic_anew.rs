//! Topics deleted and created anew under readers that run, that hang and that are down: none follows an older state, and
//! each says `history lost` until `modelcast recover` brings the log back above what they have seen.

use modelcast::protocol::topic::{self, TopicSpec};
use modelcast::settings::KafkaSettings;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::support::app::App;
use crate::support::scene::Scene;
use crate::support::{DEADLINE, linear, runtime, wait_for};

const MODEL: &str = "price";
const OTHER: &str = "other";

/// Deletes topics and creates them empty, with their settings.
fn anew(scene: &Scene, topics: &[TopicSpec]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.kafka.bootstrap_servers).set("allow.auto.create.topics", "false");
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let names: Vec<_> = topics.iter().map(|spec| spec.name.as_str()).collect();
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    runtime().block_on(admin.delete_topics(&names, &options)).unwrap();
    wait_for("the topics to be gone", || {
        let looker: BaseConsumer = config.create().unwrap();
        let gone = |name: &&str| {
            looker.fetch_metadata(Some(name), DEADLINE).unwrap().topics()[0].partitions().is_empty()
        };
        names.iter().all(gone).then_some(())
    });
    scene.modelcast(&["topics", "create", "--model", MODEL, "--model", OTHER]).must_end_with(0);
}

fn announcements(kafka: &KafkaSettings) -> TopicSpec {
    topic::announcements(&kafka.namespace)
}

fn warns(app: &App, of: &str) -> bool {
    app.model(MODEL)["warnings"].to_string().contains(of)
}

#[test]
fn a_hanging_reader_notices_a_log_that_was_created_anew_and_grew_past_its_offset() {
    let (runtime, scene) = (runtime(), Scene::new("anew-refilled", &[MODEL, OTHER]));
    let publisher = runtime.block_on(scene.publisher());
    let app = scene.app("app-1", &[MODEL]);
    let published = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    app.wait_until_live(MODEL, 1, published.generation.get());

    app.running.freeze();
    anew(&scene, &[announcements(&scene.kafka)]);
    for weight in 1..=5_u32 {
        runtime.block_on(linear::publish(&publisher, linear::request(OTHER, f64::from(weight))));
    }
    app.running.thaw();
    wait_for("the reader to notice", || {
        warns(&app, "history lost: generation 1 was seen, the log has 0").then_some(())
    });
}
