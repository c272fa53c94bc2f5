//! A publisher process that is killed after every record that it writes, each time after one more.
//!
//! Readers never see a part of a version, the next publisher goes on, and the same publish, run again, ends as if it
//! had not been killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use modelcast::protocol::change::Change;
use modelcast::protocol::chunking::{ChunkSizes, cut};
use modelcast::protocol::desired::PinTarget;
use modelcast::protocol::fold::InForce;
use modelcast::protocol::resolve::Identity;
use modelcast::protocol::status::Phase;
use modelcast::protocol::{Digest, Version, topic};
use modelcast::settings::KafkaSettings;
use modelcast::{LiveModel, Published, Publisher, Subscriber};
use modelcast_testcontainers::{Ability, Faults, Kafka, LoseAcks, Proxy, offers};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::support::part::{self, Actor, Place, say};
use crate::support::scene::{Scene, model};
use crate::support::{DEADLINE, bulk, linear, runtime, wait_for};

const MODEL: &str = "price";
/// A few chunks.
const SIZE_BYTES: u64 = 700_000;
/// Besides the chunks: manifest, announcement, and its copy for the audit.
const OTHER_RECORDS: u32 = 3;

const ARTIFACT: &str = "STORY_ARTIFACT";
const SUM: &str = "STORY_SUM";

/// A reader and a publisher that no fault reaches.
struct Others {
    kafka: KafkaSettings,
    publisher: Publisher,
    live: LiveModel,
}

impl Others {
    fn in_force(&self) -> Option<InForce> {
        runtime().block_on(self.publisher.catalog().in_force(&model(MODEL))).unwrap()
    }

    /// All records of a publish that there are.
    fn records(&self) -> i64 {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.bootstrap_servers);
        let consumer: BaseConsumer = config.create().unwrap();
        let namespace = &self.kafka.namespace;
        let topics = [
            topic::blobs(namespace, &model(MODEL)),
            topic::announcements(namespace),
            topic::audit(namespace),
        ];
        topics.iter().map(|topic| consumer.fetch_watermarks(&topic.name, 0, DEADLINE).unwrap().1).sum()
    }

    /// Announces something that concerns nobody, and waits until the reader has seen it; gives its generation.
    fn go_on(&self, round: u32) -> u64 {
        let target = PinTarget::Instance(format!("nobody-{round}").parse().unwrap());
        let pin = Change::Pin { target, version: Version::FIRST };
        let done = runtime().block_on(self.publisher.change(&model(MODEL), &pin, &linear::stamp("ada")));
        let done = done.unwrap();
        assert_eq!(done.conflicts.len(), 0, "nobody else is there any more");
        wait_for("the reader to see it and be live", || {
            let state = self.live.state();
            (state.generation_seen == done.generation && state.phase == Phase::Live).then_some(())
        });
        done.generation.get()
    }

    /// The reader serves a whole version, this one, and has met no other.
    fn must_serve(&self, version: Version, sum: f64) {
        let loaded = wait_for("the version to serve", || {
            self.live.load().filter(|loaded| loaded.version() == version)
        });
        let mut outputs = [0.0];
        loaded.predict(&[3.0], &mut outputs).unwrap();
        assert_eq!(outputs, [3.0 * sum]);
        assert!(self.live.state().rejections.is_empty(), "{:?}", self.live.state().rejections);
    }

    fn publish(&self, path: &Path, sum: f64) -> Published {
        let request = bulk::request(MODEL, path, sum);
        let published = self.publisher.publish(request, std::sync::Arc::new(|_| {}));
        runtime().block_on(published).unwrap()
    }
}

/// Publishes in another process, which is killed once it has written so many records; `false` when it never did.
fn is_killed_after(records: u32, proxy: &Proxy, command: Command) -> bool {
    let before = proxy.counts().lost_acks;
    // It sends one record after the other, so with one that is never acknowledged it is stuck.
    proxy.set(Faults { lose_acks: LoseAcks::After(records - 1), ..Faults::default() });
    let mut actor = Actor::start(command);
    let killed = wait_for("the publisher to have written them", || {
        if actor.next_line().is_some() {
            Some(false)
        } else {
            (proxy.counts().lost_acks > before).then_some(true)
        }
    });
    actor.running.kill();
    proxy.heal();
    killed
}

#[test]
fn a_publisher_that_is_killed_after_any_record_leaves_nothing_by_halves() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let kafka = Kafka::builder().proxied().start().unwrap();
    let scene = Scene::on(&kafka, "killed", &[MODEL]);
    let runtime = runtime();
    let direct =
        KafkaSettings { bootstrap_servers: kafka.direct_servers().to_owned(), ..scene.kafka.clone() };
    let identity = Identity { instance: "reader".parse().unwrap(), labels: [].into() };
    let reader = Subscriber::builder(&direct, &scene.trusted(), identity, &scene.path("reader"));
    let reader = runtime.block_on(reader.model(model(MODEL), bulk::policy()).start()).unwrap();
    let publisher = runtime.block_on(Publisher::connect(&direct, &scene.trusted(), scene.signing())).unwrap();
    let live = reader.model(&model(MODEL)).unwrap().clone();
    let others = Others { kafka: direct, publisher, live };

    let path = scene.path("artifact");
    let mut sum = bulk::write_artifact(&path, 0, SIZE_BYTES);
    let Published::Committed(mut serves) = others.publish(&path, sum) else { panic!("the first one") };
    for records in 1.. {
        let (old, before, written) = (sum, others.in_force().unwrap(), others.records());
        sum = bulk::write_artifact(&path, records.into(), SIZE_BYTES);
        let chunks = cut(File::open(&path).unwrap(), ChunkSizes::for_artifact(SIZE_BYTES)).count();
        let chunks = u32::try_from(chunks).unwrap();
        assert!(chunks > 1, "another size, for parts of an artifact");
        let mut command = part::command(&scene, "publisher_killed::a_publisher_process");
        command.env(ARTIFACT, &path).env(SUM, sum.to_string());
        if !is_killed_after(records, kafka.proxy().unwrap(), command) {
            assert_eq!(records, chunks + OTHER_RECORDS + 1);
            break;
        }
        assert_eq!(others.records() - written, i64::from(records));

        let artifact = Digest::of(&std::fs::read(&path).unwrap());
        let after = others.in_force().unwrap();
        let is_announced = records >= chunks + 2;
        let generation = before.generation().get() + u64::from(is_announced);
        assert_eq!(after.generation().get(), generation, "after {records} records of {chunks} chunks");
        let state = after.announcement.body.as_ref().unwrap();
        assert_eq!(state.entry(state.champion).unwrap().artifact == artifact, is_announced);

        assert_eq!(others.go_on(records), generation + 1);
        others.must_serve(state.champion, if is_announced { sum } else { old });
        match others.publish(&path, sum) {
            Published::Committed(published) if !is_announced => {
                assert_eq!(published.version.get(), serves.version.get() + 1);
                serves = published;
            }
            Published::Unchanged { version, .. } if is_announced => {
                assert_eq!(version.get(), serves.version.get() + 1);
                serves.version = version;
            }
            other => panic!("after {records} records of {chunks} chunks: {other:?}"),
        }
        others.must_serve(serves.version, sum);
    }
    runtime.block_on(reader.shutdown());
}

#[test]
#[ignore = "is the process that a_publisher_that_is_killed_after_any_record_leaves_nothing_by_halves starts"]
fn a_publisher_process() {
    let (Some(place), Ok(path), Ok(sum)) =
        (Place::of_this_process(), std::env::var(ARTIFACT), std::env::var(SUM))
    else {
        return;
    };
    let Place { mut kafka, keys, .. } = place;
    // One request a record, and the next only when it is acknowledged.
    for property in ["max.in.flight.requests.per.connection", "batch.num.messages"] {
        kafka.properties.insert(property.to_owned(), "1".to_owned());
    }
    let (trusted, signing) = (keys.trusted().unwrap(), keys.signing().unwrap());
    let request = bulk::request(MODEL, &PathBuf::from(path), sum.parse().unwrap());
    runtime().block_on(async {
        let publisher = Publisher::connect(&kafka, &trusted, signing).await.unwrap();
        linear::publish(&publisher, request).await;
    });
    say("published");
}
