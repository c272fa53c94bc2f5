//! Acknowledgements that never arrive: what became of an announcement is read from the log, and it is one announcement
//! however often it lands.
//!
//! The publishers go through a proxy; rivals and looks go around it.

use std::fs::{self, File};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use modelcast::protocol::change::Change;
use modelcast::protocol::desired::PinTarget;
use modelcast::protocol::fold::InForce;
use modelcast::protocol::{Generation, Version, topic};
use modelcast::settings::KafkaSettings;
use modelcast::{PublishError, PublishRequest, Published, Publisher};
use modelcast_testcontainers::{Ability, Faults, Kafka, LoseAcks, Proxy, offers};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::held::{Held, before_announcing, committed};
use crate::support::programs::{Running, command};
use crate::support::scene::{Scene, model};
use crate::support::{linear, records, runtime, toy, wait_for};

const MODEL: &str = "price";
const OTHER: &str = "other";
/// Of two chunks at least.
const LARGE_BYTES: usize = 3_000_000;
/// How long librdkafka goes on sending by itself: 20 s unless set.
const GIVE_UP: &str = "message.timeout.ms";
const LOSE_ALL: Faults = faults(LoseAcks::All, false);
const BLACK_HOLE: Faults = faults(LoseAcks::No, true);

const fn faults(lose_acks: LoseAcks, black_hole: bool) -> Faults {
    Faults {
        delay: Duration::ZERO,
        bytes_per_second: None,
        cut_after_response_bytes: None,
        black_hole,
        lose_acks,
    }
}

/// A publisher behind the proxy, with a version in force, and a rival beside it.
struct Ground {
    runtime: Runtime,
    scene: Scene,
    direct: KafkaSettings,
    publisher: Publisher,
    rival: Publisher,
    proxy: &'static Proxy,
    _turn: MutexGuard<'static, ()>,
}

impl Ground {
    /// The tests of this file take turns at one Kafka.
    fn new(stem: &str, give_up_ms: &str) -> Self {
        static KAFKA: OnceLock<Kafka> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let kafka = KAFKA.get_or_init(|| Kafka::builder().proxied().start().unwrap());
        let proxy = kafka.proxy().unwrap();
        proxy.heal();
        let models = [MODEL, OTHER];
        let mut scene = Scene::at(kafka.bootstrap_servers(), &kafka.namespace(stem), &models);
        scene.kafka.properties.insert(GIVE_UP.to_owned(), give_up_ms.to_owned());
        let (runtime, direct) = (runtime(), scene.kafka_at(kafka.direct_servers()));
        let (publisher, rival) = runtime.block_on(async {
            let keys = scene.trusted();
            let rival = Publisher::connect(&direct, &keys, scene.signing()).await.unwrap();
            for model in models {
                linear::publish(&rival, linear::request(model, 1.0)).await;
            }
            let publisher = Publisher::connect(&scene.kafka, &keys, scene.signing()).await.unwrap();
            (publisher, rival)
        });
        Self { runtime, scene, direct, publisher, rival, proxy, _turn: turn }
    }

    fn lost_acks(&self) -> u64 {
        self.proxy.counts().lost_acks
    }

    fn wait_for_a_lost_ack(&self, before: u64) {
        wait_for("an acknowledgement to be lost", || (self.lost_acks() > before).then_some(()));
    }

    /// A publish whose next record is the announcement.
    fn held(&self, publisher: &Publisher, request: PublishRequest) -> Held {
        Held::at(&self.runtime, publisher, request, before_announcing)
    }

    /// Somebody else pins version 1, around the proxy.
    fn rival_pins(&self, of: &str) {
        let change = Change::Pin { target: PinTarget::All, version: Version::FIRST };
        let (model, stamp) = (model(of), linear::stamp("rival"));
        let pinned = self.runtime.block_on(self.rival.change(&model, &change, &stamp)).unwrap();
        assert!(pinned.conflicts.is_empty());
    }

    fn in_force(&self, of: &str) -> InForce {
        self.runtime.block_on(self.rival.catalog().in_force(&model(of))).unwrap().unwrap()
    }

    /// The announcements of a generation, of all models, each as often as it landed.
    fn announcing(&self, generation: u64) -> Vec<Vec<u8>> {
        records::announcing(&self.direct, &self.scene.trusted(), Generation::new(generation))
    }
}

#[test]
fn lost_acknowledgements_leave_one_record_each_and_the_outcome_committed() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let ground = Ground::new("acks-lost", "20000");
    let before = ground.lost_acks();
    let faults = faults(LoseAcks::Next(3), false);
    ground.proxy.set(faults);
    let large = toy::large(MODEL, 2.0, LARGE_BYTES);
    let large = ground.runtime.block_on(linear::publish(&ground.publisher, large));
    assert_eq!(ground.lost_acks() - before, 3, "of chunks");
    assert!(large.chunks_sent > 1);

    let held = ground.held(&ground.publisher, toy::large(MODEL, 3.0, 0));
    ground.proxy.set(faults);
    held.release();
    let published = committed(held.outcome(&ground.runtime));
    assert_eq!(ground.lost_acks() - before, 6, "of the announcement");
    assert_eq!((published.generation.get(), published.conflicts.len()), (3, 0));
    assert_eq!(ground.announcing(3).len(), 1);
    let blobs = topic::blobs(&ground.direct.namespace, &model(MODEL)).name;
    let mut blobs = records::values(&ground.direct, &blobs);
    let count = blobs.len();
    blobs.sort();
    blobs.dedup();
    assert_eq!(blobs.len(), count, "a chunk landed twice");
}

#[test]
fn an_outcome_is_not_unknown_where_the_log_has_the_announcement() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let ground = Ground::new("acks-never", "1000");
    let before = ground.lost_acks();
    let publisher = ground.publisher.clone().with_announce_deadline(Duration::ZERO);
    let held = ground.held(&publisher, linear::request(MODEL, 2.0));
    ground.proxy.set(LOSE_ALL);
    held.release();
    assert_eq!(committed(held.outcome(&ground.runtime)).generation.get(), 2);
    assert!(ground.lost_acks() > before);
    assert_eq!(ground.announcing(2).len(), 1);
}

#[test]
fn the_same_bytes_are_sent_again_until_the_log_can_be_read() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let ground = Ground::new("acks-resent", "20000");
    let before = ground.lost_acks();
    let config = fs::read_to_string(ground.scene.path("operator.toml")).unwrap();
    let config = config.replace("[keys]", &format!("[kafka.properties]\n\"{GIVE_UP}\" = \"5000\"\n[keys]"));
    let config = ground.scene.write("impatient.toml", &config);
    let (out, log) = (ground.scene.path("pin.out"), ground.scene.path("pin.log"));

    ground.proxy.set(LOSE_ALL);
    let mut pin = command("modelcast");
    pin.args(["pin", MODEL, "1", "--all", "--reason", "a story", "--json", "--config"]).arg(config);
    pin.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap());
    let mut pin = Running::start(&mut pin);
    ground.wait_for_a_lost_ack(before);
    ground.proxy.set(BLACK_HOLE);
    wait_for("the announcement to be sent again", || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains("sending the same announcement again").then_some(())
    });
    ground.proxy.heal();
    wait_for("the command to end", || (!pin.runs()).then_some(()));

    let log = fs::read_to_string(&log).unwrap();
    assert!(pin.child().wait().unwrap().success(), "{log}");
    let pinned: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(pinned["generation"], 2);
    let mut landed: Vec<_> = ground.announcing(2);
    assert!(landed.len() > 1, "it landed once: {log}");
    landed.dedup();
    assert_eq!(landed.len(), 1, "other bytes were sent");
    assert_eq!(ground.in_force(MODEL).generation().get(), 2);
}

#[test]
fn a_rival_that_was_first_meanwhile_is_a_conflict_and_stays() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let ground = Ground::new("acks-rival", "20000");
    let held = ground.held(&ground.publisher, linear::request(MODEL, 2.0));
    ground.proxy.set(BLACK_HOLE);
    held.release();
    ground.rival_pins(MODEL);
    ground.proxy.heal();
    let published = committed(held.outcome(&ground.runtime));
    assert_eq!(published.generation.get(), 3);
    let lost: Vec<_> =
        published.conflicts.iter().map(|lost| (lost.generation.get(), lost.by.as_str())).collect();
    assert_eq!(lost, [(2, "rival")]);
    let pins = ground.in_force(MODEL).announcement.body.unwrap().pins;
    assert_eq!(pins.len(), 1, "the rival's pin was overwritten");
}

#[test]
fn an_announcement_that_landed_stays_committed_when_a_rival_goes_on_from_it() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let ground = Ground::new("acks-passed", "20000");
    let before = ground.lost_acks();
    let held = ground.held(&ground.publisher, linear::request(MODEL, 2.0));
    ground.proxy.set(LOSE_ALL);
    held.release();
    ground.wait_for_a_lost_ack(before);
    ground.proxy.set(BLACK_HOLE);
    ground.rival_pins(MODEL);
    ground.proxy.heal();
    let published = committed(held.outcome(&ground.runtime));
    assert_eq!((published.generation.get(), published.conflicts.len()), (2, 0));
    assert_eq!(ground.in_force(MODEL).generation().get(), 3);
}

/// Runs the command that an unknown outcome names; gives the exit code and what it printed.
fn settle(ground: &Ground, outcome: Result<Published, PublishError>) -> (Option<i32>, Value) {
    let error = outcome.unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error:?}");
    let text = error.to_string();
    let (_, command) = text.split_once("`modelcast ").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    let direct = &ground.direct.bootstrap_servers;
    let args = command.split(' ').chain(["--json", "--kafka", direct]).collect::<Vec<_>>();
    let ended = ground.scene.modelcast(&args);
    (ended.code, ended.any_json()["outcome"].clone())
}

#[test]
fn an_unknown_outcome_names_the_command_that_tells_the_truth_later() {
    if !offers(&[Ability::Settings]) {
        return;
    }
    let ground = Ground::new("acks-unknown", "2000");
    let before = ground.lost_acks();
    let publisher = ground.publisher.clone().with_announce_deadline(Duration::ZERO);
    let [landed, lost] = [MODEL, OTHER].map(|model| ground.held(&publisher, linear::request(model, 2.0)));
    ground.proxy.set(LOSE_ALL);
    landed.release();
    ground.wait_for_a_lost_ack(before);
    ground.proxy.set(BLACK_HOLE);
    lost.release();
    let (landed, lost) = (landed.outcome(&ground.runtime), lost.outcome(&ground.runtime));

    assert_eq!(settle(&ground, landed), (Some(0), json!("committed")));
    let PublishError::Unknown { generation, digest, .. } = *lost.as_ref().unwrap_err() else {
        panic!("{lost:?}")
    };
    assert_eq!(settle(&ground, lost), (Some(5), json!("undecided")));
    ground.rival_pins(OTHER);
    let digest = digest.to_string();
    let ended = ground.scene.modelcast(&[
        "settle",
        OTHER,
        &generation.to_string(),
        &digest,
        "--kafka",
        &ground.direct.bootstrap_servers,
    ]);
    ended.must_end_with(3);
}
