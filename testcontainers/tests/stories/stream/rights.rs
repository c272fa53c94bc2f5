//! The rights of a stream are those that its documentation grants: with them it does all of its part, without it says
//! which is missing, and none is one too many.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use modelcast::{Publisher, topics};
use modelcast_testcontainers::security::{MTLS, Role, Security};
use modelcast_testcontainers::{Ability, Kafka, offers};

use crate::support::flow::{Flow, Sent};
use crate::support::programs::root;
use crate::support::scene::{Scene, model};
use crate::support::secured::{Decision, decisions, start};
use crate::support::{DEADLINE, linear, look_within, runtime, wait_for};

const MODEL: &str = "price";
const USER: &str = "stream";
const COUNT: usize = 200;

/// The `grant` lines of the documentation, with the names of this flow.
fn recipe(flow: &Flow) -> Vec<Vec<String>> {
    let namespace = &flow.scene.kafka.namespace;
    let ours = [
        ("property-value.features", flow.topic("in")),
        ("property-value.predictions", flow.topic("out")),
        ("property-value.dead-letters", flow.topic("dead")),
        ("modelcast.stream.property-value.", format!("{namespace}.stream.{}.", flow.topic("group"))),
        ("modelcast.audit", format!("{namespace}.audit")),
        ("property-value", flow.topic("group")),
    ];
    let word = |word: &str| {
        let named = ours.iter().find(|(documented, _)| *documented == word);
        named.map_or_else(|| word.to_owned(), |(_, ours)| ours.clone())
    };
    let text = fs::read_to_string(root().join("docs/stream.md")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("grant "));
    lines.map(|line| line.split(' ').map(word).collect()).collect()
}

/// Topics and a version, by the super user.
fn flow(kafka: &Kafka, security: &Security) -> Flow {
    let namespace = kafka.namespace("stream-rights");
    let mut scene = Scene::bare(&kafka.listener_servers(MTLS).unwrap(), &namespace);
    scene.kafka.properties = security.super_user();
    let runtime = runtime();
    runtime.block_on(topics::create(&scene.kafka, &[model(MODEL)], None)).unwrap();
    let flow = Flow::on(scene, MODEL, 2);
    runtime.block_on(async {
        let (kafka, trusted) = (&flow.scene.kafka, flow.scene.trusted());
        let publisher = Publisher::connect(kafka, &trusted, flow.scene.signing()).await.unwrap();
        linear::publish(&publisher, linear::request(MODEL, 2.0)).await;
    });
    flow
}

fn send(flow: &Flow, records: Range<usize>) {
    let record = |number: usize| Sent {
        partition: i32::try_from(number % 2).unwrap(),
        key: Some(number.to_string()),
        // Every tenth is a dead letter.
        value: Some(match number % 10 {
            0 => b"?".to_vec(),
            _ => format!("{{\"area\": {number}}}").into_bytes(),
        }),
        ..Sent::default()
    };
    flow.send(&records.map(record).collect::<Vec<_>>());
}

/// Starts a member that must end, since the right is missing.
fn must_miss(flow: &Flow, name: &str, more: &str, right: &str) {
    let mut member = flow.member(name, more);
    look_within(DEADLINE, || (!member.running.runs()).then_some(()));
    let log = member.log();
    let says_it = log.contains(&format!("Kafka grants this client no {right}"));
    assert!(says_it && !member.running.runs(), "no {right}: {log}");
}

#[test]
fn with_the_documented_rights_a_stream_does_its_part_and_no_right_is_one_too_many() {
    if !offers(&[Ability::Security, Ability::Transactions]) {
        return;
    }
    let (kafka, security) = start(&[USER]);
    let flow = flow(&kafka, &security);
    let namespace = flow.scene.kafka.namespace.to_string();
    security.grant(&kafka, Role::Subscriber, &[&namespace], &[USER]).unwrap();
    let recipe = recipe(&flow);
    let (replays, streams): (Vec<_>, Vec<_>) =
        recipe.iter().partition(|words| words.contains(&format!("{namespace}.audit")));
    assert_eq!((streams.len(), replays.len()), (4, 1));

    let properties = security.mtls(USER);
    let properties: String =
        properties.iter().map(|(key, value)| format!("\"{key}\" = \"{value}\"\n")).collect();
    let as_user = |more: &str| format!("{more}\n[kafka.properties]\n{properties}");
    must_miss(&flow, "bare", &as_user(""), "Describe on topic");
    streams.iter().for_each(|words| security.allow(&kafka, words).unwrap());
    let granted = kafka.log().unwrap().len();
    let member = flow.member("member-1", &as_user(""));
    send(&flow, 0..COUNT);
    let (mut out, mut dead) = (flow.reader("out"), flow.reader("dead"));
    wait_for("all records", || (out.look() + dead.look() == COUNT).then_some(()));
    assert_eq!(dead.got.len(), COUNT / 10);
    wait_for("its offsets", || (flow.committed() == i64::try_from(COUNT).unwrap()).then_some(()));
    member.stop();

    // The history is read once there is something to score.
    send(&flow, COUNT..2 * COUNT);
    let replay = as_user("model_at = \"event-time\"");
    must_miss(&flow, "early", &replay, &format!("Read on topic {namespace}.audit"));
    replays.iter().for_each(|words| security.allow(&kafka, words).unwrap());
    let member = flow.member("member-2", &replay);
    wait_for("the other records", || (out.look() + dead.look() == 2 * COUNT).then_some(()));
    member.stop();
    only_the_audit_was_denied(&kafka, granted, &namespace);
    each_was_used(&kafka, &recipe);
}

/// Of what it asked for since the stream's rights were granted.
fn only_the_audit_was_denied(kafka: &Kafka, granted: usize, namespace: &str) {
    let denied = decisions(&kafka.log().unwrap()[granted..], "Denied");
    let others: Vec<&Decision> = denied
        .iter()
        .filter(|(user, _, resource)| user == USER && *resource != format!("Topic:LITERAL:{namespace}.audit"))
        .collect();
    assert!(others.is_empty(), "rights that are missing: {others:#?}");
}

/// The log may be behind what it tells of.
fn each_was_used(kafka: &Kafka, recipe: &[Vec<String>]) {
    let mut unused = Vec::new();
    look_within(DEADLINE, || {
        let used = decisions(&kafka.log().unwrap(), "Allowed");
        unused =
            recipe.iter().flat_map(|words| rights(words)).filter(|right| !is_used(right, &used)).collect();
        unused.is_empty().then_some(())
    });
    assert!(unused.is_empty(), "rights that nobody needs: {unused:#?}");
}

/// Operation, and the start of the resource as the log names it.
fn rights(words: &[String]) -> Vec<(String, String)> {
    let values =
        |flag: &str| words.chunks(2).filter(|pair| pair[0] == flag).map(|pair| &pair[1]).collect::<Vec<_>>();
    let kinds = [("--topic", "Topic"), ("--group", "Group"), ("--transactional-id", "TransactionalId")];
    let mut rights = Vec::new();
    for operation in values("--operation") {
        for (flag, kind) in kinds {
            rights.extend(
                values(flag).iter().map(|name| (operation.clone(), format!("{kind}:LITERAL:{name}"))),
            );
        }
    }
    rights
}

fn is_used((operation, start): &(String, String), used: &BTreeSet<Decision>) -> bool {
    used.iter().any(|(user, what, resource)| {
        user == USER && what.eq_ignore_ascii_case(operation) && resource.starts_with(start)
    })
}
