//! A leader that was just elected does not know how far its log is committed until its followers fetch from it, and shows
//! an end before what was acknowledged last (KIP-207): nobody takes that for the end of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use modelcast::Catalog;
use modelcast::protocol::{Digest, topic};
use modelcast::settings::KafkaSettings;
use modelcast_testcontainers::{Ability, Cluster, offers};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use crate::support::scene::{Scene, model};
use crate::support::{linear, runtime, topics, wait_for};

const MODEL: &str = "price";
const READERS: usize = 6;
/// Every second one or so meets a follower that knows already.
const KILLS: u32 = 12;
/// For readers that are at the new leader before its followers are.
const SWIFT: [(&str, &str); 4] = [
    ("reconnect.backoff.ms", "5"),
    ("reconnect.backoff.max.ms", "20"),
    ("topic.metadata.refresh.interval.ms", "50"),
    ("fetch.wait.max.ms", "5"),
];

#[test]
fn who_reads_by_a_new_leader_reads_what_was_committed() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    // A follower hears how far the log is committed with the next answer, for which it then waits.
    let cluster = Cluster::builder().setting("replica.fetch.wait.max.ms", "5000");
    let cluster = cluster.setting("broker.session.timeout.ms", "3000").start().unwrap();
    let runtime = runtime();
    let did_not_know = (1..=KILLS).find(|kill| {
        // Of new topics each: which followers know may be the same ones throughout.
        let mut scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("elected"), &[MODEL]);
        let publisher = runtime.block_on(scene.publisher());
        scene.kafka.properties.extend(SWIFT.map(|(property, value)| (property.to_owned(), value.to_owned())));
        let announcements = topic::announcements(&scene.kafka.namespace).name;
        let catalog = runtime.block_on(Catalog::connect(&scene.kafka, &scene.trusted())).unwrap();
        let leader = cluster.leader(&announcements, 0).unwrap();
        let request = linear::request(MODEL, f64::from(*kill));
        let published = runtime.block_on(linear::publish(&publisher, request));
        cluster.kill(leader).unwrap();

        let known = Arc::new(AtomicBool::new(false));
        let readers = [(); READERS].map(|()| runtime.spawn(read_until(Arc::clone(&known), catalog.clone())));
        let did_not_know = did_not_know_its_end(&scene.kafka, &announcements);
        known.store(true, Ordering::Relaxed);
        for reader in readers {
            let read = runtime.block_on(reader).unwrap();
            let early = read.iter().filter(|digest| **digest != Some(published.announcement)).count();
            assert_eq!(early, 0, "of {} reads by the leader after kill {kill}", read.len());
        }
        cluster.restart(leader).unwrap();
        did_not_know
    });
    assert!(did_not_know.is_some(), "all of {KILLS} new leaders knew their end at once");
}

/// Reads the log from its beginning again and again: what was in force.
async fn read_until(known: Arc<AtomicBool>, catalog: Catalog) -> Vec<Option<Digest>> {
    let mut read = Vec::new();
    loop {
        let is_last = known.load(Ordering::Relaxed);
        if let Ok(in_force) = catalog.in_force(&model(MODEL)).await {
            read.push(in_force.map(|in_force| in_force.announcement.digest));
        }
        if is_last && !read.is_empty() {
            return read;
        }
    }
}

/// Whether the leader says that it does not know yet, until it says where the end is.
fn did_not_know_its_end(kafka: &KafkaSettings, topic: &str) -> bool {
    let mut config = topics::config(kafka);
    config.extend(kafka.properties.clone());
    let consumer: BaseConsumer = config.create().unwrap();
    let mut did_not_know = false;
    wait_for("a leader that knows its end", || {
        let end = consumer.fetch_watermarks(topic, 0, Duration::from_millis(300));
        let code = end.as_ref().err().and_then(|error| error.rdkafka_error_code());
        did_not_know |= code == Some(RDKafkaErrorCode::OffsetNotAvailable);
        end.ok()
    });
    did_not_know
}
