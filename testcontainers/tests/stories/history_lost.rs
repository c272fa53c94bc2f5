//! A log that has less than the fleet has seen, as after a restore from an old backup: nobody announces over it, and
//! `modelcast recover` brings it above what was seen. And one that only seems to have less is never taken for that.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use modelcast::PublishError;
use modelcast::protocol::announcement::{self, Frame};
use modelcast::protocol::change::{Change, ChangeError};
use modelcast::protocol::desired::PinTarget;
use modelcast::protocol::fold::InForce;
use modelcast::protocol::status::{self, Phase, Status, Traffic};
use modelcast::protocol::{Generation, Version, codec::Record as _, desired::Labels, topic};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::scene::{Scene, model};
use crate::support::topics::{append, create_anew, records};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "property-value";
const SMALL: &str = "price";
const PAUSE: Duration = Duration::from_millis(60);
/// Of which nearly every one meets a status that is ahead of the log that was read beside it.
const LOOKS: u32 = 8;
const INSTANCE: &str = "app-of-old";
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// What an instance wrote that saw this generation, and gave no sign of life since.
fn of_old(generation: u64) -> Status {
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
        generation_seen: Generation::new(generation),
        announcement_seen: None,
        warnings: Vec::new(),
        traffic: Traffic::default(),
    }
}

/// Counts how often this thread's publisher found a report ahead of its log, which it says at level DEBUG.
#[derive(Clone, Default)]
struct Met(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Met {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let is_that = event.metadata().target() == "modelcast::publish::announce";
        let is_that = is_that && *event.metadata().level() == Level::DEBUG;
        self.0.fetch_add(usize::from(is_that), Relaxed);
    }
}

/// Writes statuses to the fleet topic.
struct Writer {
    producer: FutureProducer,
    topic: topic::TopicSpec,
}

impl Writer {
    fn of(scene: &Scene) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &scene.kafka.bootstrap_servers);
        config.set("allow.auto.create.topics", "false").set("acks", "all");
        Self { producer: config.create().unwrap(), topic: topic::fleet(&scene.kafka.namespace) }
    }

    /// Writes what the instance saw, or withdraws its status.
    async fn write(&self, generation: Option<u64>) {
        let value = generation.map(|generation| of_old(generation).encode().unwrap());
        let key = of_old(0).key();
        let partition = status::partition(&key, self.topic.partitions);
        let record =
            FutureRecord::<str, [u8]> { payload: value.as_deref(), ..FutureRecord::to(&self.topic.name) };
        self.producer.send(record.partition(partition).key(&key), SEND_DEADLINE).await.unwrap();
    }

    /// Puts so many reports of another instance before what is written next: reading the fleet takes its time.
    async fn fill(&self, count: usize) {
        let status = Status { instance: "filler".parse().unwrap(), ..of_old(0) };
        let (key, value) = (status.key(), status.encode().unwrap());
        let partition = status::partition(&of_old(0).key(), self.topic.partitions);
        let send = |_| {
            let record = FutureRecord::to(&self.topic.name).partition(partition).key(&key).payload(&value);
            self.producer.send_result(record).map_err(|(error, _)| error).unwrap()
        };
        for sent in (0..count).map(send).collect::<Vec<_>>() {
            sent.await.unwrap().unwrap();
        }
    }

    /// Announces a change right after an announcement, without looking at anything.
    async fn announce(&self, scene: &Scene, before: &InForce, change: &Change) -> InForce {
        let body = before.announcement.body.as_ref().unwrap();
        let state = change.apply(Some(body), &linear::stamp("racer"), rand::random()).unwrap();
        let generation = before.generation().next().unwrap();
        let frame =
            Frame { generation, recent: before.recent_for_next(), ..before.announcement.frame.clone() };
        let bytes = frame.seal(&state, &scene.signing()).unwrap().bytes;
        let topic = topic::announcements(&scene.kafka.namespace).name;
        let record = FutureRecord::to(&topic).partition(0).key(frame.model.as_str()).payload(&bytes);
        let offset = self.producer.send(record, SEND_DEADLINE).await.unwrap().offset;
        let announcement = announcement::open(&bytes, &scene.trusted()).unwrap();
        InForce { announcement, offset, bytes }
    }
}

#[test]
fn nobody_announces_over_a_lost_history_until_its_witness_is_withdrawn() {
    let (runtime, scene) = (runtime(), Scene::new("history-lost", &[MODEL]));
    let train = |until: &str| scene.trainer(&["run", "--dataset", "ames", "--until", until, "--json"]);
    let pin = || scene.modelcast(&["pin", MODEL, "1", "--all", "--reason", "a story", "--json"]);
    assert_eq!(train("2006").json()["generation"], 1);

    let writer = Writer::of(&scene);
    runtime.block_on(writer.write(Some(900)));
    for refused in [pin(), train("2007")] {
        refused.must_end_with(4).must_say(&["history lost", INSTANCE, "generation 900"]);
    }

    runtime.block_on(writer.write(None));
    assert_eq!(pin().json()["generation"], 2, "a refusal took a generation");
    let published = train("2007").json();
    assert_eq!((&published["outcome"], &published["generation"]), (&json!("committed"), &json!(3)));
}

#[test]
fn a_log_from_an_old_backup_is_brought_above_what_the_fleet_has_seen() {
    let (runtime, scene) = (runtime(), Scene::new("old-backup", &[SMALL]));
    let publisher = runtime.block_on(scene.publisher());
    let publish = |weight: u32| {
        runtime
            .block_on(linear::publish(&publisher, linear::request(SMALL, f64::from(weight))))
            .generation
            .get()
    };
    let app = scene.app("app-1", &[SMALL]);
    publish(1);
    publish(2);
    let announcements = topic::announcements(&scene.kafka.namespace);
    let backup = records(&scene.kafka, &announcements.name);
    app.wait_until_live(SMALL, 3, publish(3));
    scene.modelcast(&["pin", SMALL, "1", "--instance", "nobody", "--reason", "x"]).must_end_with(0);
    wait_for("the pin", || (app.model(SMALL)["generation_seen"] == 4).then_some(()));

    runtime
        .block_on(create_anew(&scene.kafka, &[announcements.clone(), topic::audit(&scene.kafka.namespace)]));
    runtime.block_on(append(&scene.kafka, &announcements.name, &backup));
    let warns = |of: &str| app.model(SMALL)["warnings"].to_string().contains(of).then_some(());
    wait_for("the loss to be noticed", || warns("history lost: generation 4 was seen, the log has 2"));

    let recover = |more: &[&str]| {
        scene.modelcast(&[&["recover", SMALL, "--reason", "a story", "--yes", "--json"], more].concat())
    };
    recover(&[]).must_end_with(4).must_say(&[
        "instances serve version 3",
        "generation 2, champion 2",
        "--version 3 keeps what they serve, --version 2 goes back",
    ]);
    recover(&["--version", "7"]).must_end_with(4).must_say(&["nothing is known of version 7", "1, 2, 3"]);
    let done = recover(&["--version", "3"]).json();
    assert_eq!((&done["generation"], &done["plan"]["announced"]), (&json!(5), &json!([3, 5])), "{done:#}");
    wait_for("the fork to be said", || warns("history forked"));
    app.wait_until_live(SMALL, 3, 5);

    let new = scene.app("app-2", &[SMALL]);
    new.wait_until_live(SMALL, 3, 5);
    let published = runtime.block_on(linear::publish(&publisher, linear::request(SMALL, 4.0)));
    assert_eq!((published.version.get(), published.generation.get()), (4, 6));
    for app in [&app, &new] {
        app.wait_until_live(SMALL, 4, 6);
    }
    wait_for("the operator to see all well", || (scene.status(SMALL).1 == Some(0)).then_some(()));
    assert_eq!(recover(&[]).json()["outcome"], "unchanged");
}

#[test]
fn a_report_far_ahead_is_passed_generation_by_generation() {
    let (runtime, scene) = (runtime(), Scene::new("far-ahead", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    // Further than an announcement remembers its predecessors.
    runtime.block_on(Writer::of(&scene).write(Some(150)));
    let recover = |more: &[&str]| {
        scene.modelcast(&[&["recover", MODEL, "--reason", "a story", "--json"], more].concat())
    };
    let done = recover(&["--yes"]);
    assert_eq!(
        (&done.json()["generation"], &done.json()["plan"]["announced"]),
        (&json!(151), &json!([2, 151]))
    );
    let audited = records(&scene.kafka, &topic::audit(&scene.kafka.namespace).name);
    assert_eq!(audited.len(), 151, "each is in the audit topic");

    let published = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 2.0)));
    assert_eq!((published.version.get(), published.generation.get()), (2, 152));
    runtime.block_on(Writer::of(&scene).write(Some(1_000_000)));
    recover(&["--dry-run"])
        .must_end_with(4)
        .must_say(&["generations 153 to 1000001 would have to be announced"]);
    runtime.block_on(Writer::of(&scene).write(Some(u64::MAX)));
    recover(&["--dry-run"]).must_end_with(4).must_say(&["is reported, which no model reaches"]);
}

#[test]
fn a_publisher_that_races_with_the_fleet_never_takes_history_for_lost() {
    let (runtime, scene) = (runtime(), Scene::new("racing", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    let (name, looks, writer) = (model(MODEL), Cell::new(0), Writer::of(&scene));
    let met = Met::default();
    let listening = tracing_subscriber::registry().with(met.clone()).set_default();
    let mut before = runtime.block_on(publisher.catalog().in_force(&name)).unwrap().unwrap();
    runtime.block_on(writer.fill(30_000));

    // Somebody announces on and on, and the fleet reports each generation the moment it is in the log.
    let announces = async {
        let nobody = || PinTarget::Instance("nobody".parse().unwrap());
        while looks.get() < LOOKS {
            let is_pinned = !before.announcement.body.as_ref().unwrap().pins.is_empty();
            let change = match is_pinned {
                true => Change::Unpin { target: nobody() },
                false => Change::Pin { target: nobody(), version: Version::FIRST },
            };
            before = writer.announce(&scene, &before, &change).await;
            writer.write(Some(before.generation().get())).await;
            // A look at the log ends only where it does not grow.
            tokio::time::sleep(PAUSE).await;
        }
    };
    // A publisher looks all the while whether it is safe to announce, for a change that changes nothing.
    let looker = async {
        while looks.get() < LOOKS {
            let nothing = Change::Unpin { target: PinTarget::All };
            let error = publisher.change(&name, &nothing, &linear::stamp("looker")).await.unwrap_err();
            assert!(matches!(error, PublishError::Change(ChangeError::AlreadySo { .. })), "{error}");
            looks.set(looks.get() + 1);
        }
    };
    runtime.block_on(async { tokio::join!(announces, looker) });
    drop(listening);
    let met = met.0.load(Relaxed);
    assert!(met > 0, "no look met a report that was ahead of the log");
    println!("{met} times a report was ahead in {LOOKS} looks");
}
