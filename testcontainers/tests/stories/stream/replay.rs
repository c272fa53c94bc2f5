//! A replay scores each record with the version that was champion at its timestamp.

use std::collections::BTreeMap;

use modelcast::Catalog;
use modelcast::protocol::topic;
use modelcast_testcontainers::{Ability, TinyModel, offers};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::flow::{Flow, Sent};
use crate::support::scene::model;
use crate::support::{DEADLINE, linear, runtime, wait_for};

const MODEL: &str = "price";
const WEIGHTS: [f64; 3] = [1.0, 10.0, 100.0];
/// Which version reigned, by generation: at last the first one again.
const REIGNS: [usize; 4] = [1, 2, 3, 1];

#[test]
fn a_replay_takes_the_champion_of_each_records_time() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let flow = Flow::new("replay", MODEL, 1);
    let runtime = runtime();
    let publisher = runtime.block_on(flow.scene.publisher());
    for weight in WEIGHTS {
        runtime.block_on(linear::publish(&publisher, linear::request(MODEL, weight)));
    }
    flow.scene.modelcast(&["rollback", MODEL, "--to", "1", "--reason", "as it was"]).must_end_with(0);
    let catalog = runtime.block_on(Catalog::connect(&flow.scene.kafka, &flow.scene.trusted())).unwrap();
    let champions = runtime.block_on(catalog.champions(&model(MODEL))).unwrap();
    let since: Vec<i64> = champions.iter().map(|champion| champion.since_unix_ms).collect();
    assert_eq!(since.len(), REIGNS.len());
    assert!(since.is_sorted());

    let mut expected: BTreeMap<String, Option<usize>> = BTreeMap::new();
    let mut records = Vec::new();
    for (place, at) in since.iter().enumerate() {
        for (offset, reign) in [(-1, place.checked_sub(1)), (0, Some(place)), (1, Some(place))] {
            // The next one may have come within a millisecond.
            if since.get(place + 1).is_some_and(|next| at + offset >= *next) {
                continue;
            }
            let key = format!("{place}{offset:+}");
            records.push(Sent {
                key: Some(key.clone()),
                value: Some(b"{\"area\": 3}".to_vec()),
                at_unix_ms: at + offset,
                ..Sent::default()
            });
            expected.insert(key, reign);
        }
    }
    assert!(expected.values().flatten().count() >= 8);
    flow.send(&records);

    let replay = |name: &str| {
        let end = records.len();
        let member = flow.member(name, "model_at = \"event-time\"");
        let (mut out, mut dead) = (flow.reader("out"), flow.reader("dead"));
        wait_for("the replay", || (out.look() + dead.look() >= end).then_some(()));
        member.stop();
        for got in &out.got {
            let reign = expected[got.key.as_ref().unwrap()].expect("a record of before is no prediction");
            assert_eq!(got.header("modelcast-version"), REIGNS[reign].to_string(), "{got:?}");
            assert_eq!(got.header("modelcast-generation"), (reign + 1).to_string(), "{got:?}");
            let price = TinyModel { weight: WEIGHTS[REIGNS[reign] - 1] }.price(3.0);
            assert_eq!(got.json()["outputs"]["price"].as_f64(), Some(price));
        }
        assert_eq!(dead.got.len(), expected.values().filter(|reign| reign.is_none()).count());
        assert!(dead.got[0].header("modelcast-dead-cause").contains("no champion yet"));
    };
    replay("whole");

    // Where announcements were cut the audit topic still has them.
    let admin: AdminClient<DefaultClientContext> = flow.config().create().unwrap();
    let mut before = TopicPartitionList::new();
    let announcements = topic::announcements(&flow.scene.kafka.namespace).name;
    before.add_partition_offset(&announcements, 0, Offset::Offset(2)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE));
    let cut = runtime.block_on(admin.delete_records(&before, &options)).unwrap();
    assert_eq!(cut.elements()[0].offset(), Offset::Offset(2));
    let after = runtime.block_on(catalog.champions(&model(MODEL))).unwrap();
    let versions = after.iter().map(|one| one.version.as_ref().unwrap().version.to_string());
    assert_eq!(versions.collect::<Vec<_>>(), REIGNS.map(|version| version.to_string()));
    // The copies were written a moment after the announcements.
    for (before, after) in since.iter().zip(&after) {
        assert!((0..5_000).contains(&(after.since_unix_ms - before)), "{since:?} {after:?}");
    }
}
