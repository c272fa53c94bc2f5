//! Where the broker takes no transactions a stream says so, and what to do; or goes on at least once, as the settings say.

use modelcast_testcontainers::{Ability, Kafka, offers};

use crate::support::flow::{Flow, Sent};
use crate::support::wait_for;

const MODEL: &str = "price";

#[test]
fn wrong_topics_end_a_stream_with_the_command_that_mends_it() {
    let flow = Flow::new("wrong-topics", MODEL, 1);
    flow.publish(2.0);
    let namespace = flow.scene.kafka.namespace.to_string();
    let rows = [
        (
            flow.topic("out"),
            "nowhere".to_owned(),
            "topic nowhere is missing; create it with `kafka-topics.sh",
        ),
        (flow.topic("out"), flow.topic("in"), "stream.output"),
        (flow.topic("in"), format!("{namespace}.announcements"), "it is an internal topic"),
    ];
    for (place, (was, is, word)) in rows.iter().enumerate() {
        let name = format!("member-{place}");
        let config = flow.configure(&name, "");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace(&format!("\"{was}\""), &format!("\"{is}\""))).unwrap();
        let mut member = flow.start(&name);
        wait_for("it to end", || (!member.running.runs()).then_some(()));
        assert_eq!(member.running.child().wait().unwrap().code(), Some(64), "{}", member.log());
        assert!(member.log().contains(word), "{word:?} is not in: {}", member.log());
    }
}

#[test]
fn at_least_once_is_said_and_does_without_transactions() {
    let flow = Flow::on_its_own(Kafka::shared(), "at-least-once", MODEL, 2);
    flow.publish(2.0);
    let record = |number: usize| Sent {
        partition: i32::try_from(number % 2).unwrap(),
        key: Some(number.to_string()),
        value: Some(format!("{{\"area\": {number}}}").into_bytes()),
        ..Sent::default()
    };
    flow.send(&(0..1_000).map(record).collect::<Vec<_>>());
    let member = flow.member("member-1", "delivery = \"at-least-once\"");
    let mut out = flow.reader("out");
    wait_for("all predictions", || (out.look() == 1_000).then_some(()));
    wait_for("its offsets", || (flow.committed() == 1_000).then_some(()));
    assert!(member.log().contains("delivery=\"at-least-once\""), "{}", member.log());
    member.stop();
    // Whoever comes next goes on behind it.
    let member = flow.member("member-2", "delivery = \"at-least-once\"");
    flow.send(&[record(1_000)]);
    wait_for("the next prediction", || (out.look() == 1_001).then_some(()));
    member.stop();
}

#[test]
fn a_broker_that_refuses_transactions_is_named_with_the_remedy() {
    if !offers(&[Ability::Security]) {
        return;
    }
    // As a cluster refuses who has no right, and the embedded broker everybody.
    let kafka = Kafka::builder()
        .setting("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .setting("allow.everyone.if.no.acl.found", "true")
        .start()
        .unwrap();
    let denied = ["--add", "--deny-principal", "User:*", "--operation", "All", "--transactional-id", "*"];
    let to = ["--bootstrap-server", kafka.direct_servers()];
    kafka.run_tool("org.apache.kafka.tools.AclCommand", &[&to[..], &denied].concat()).unwrap();

    let flow = Flow::on_its_own(&kafka, "refused", MODEL, 1);
    flow.publish(2.0);
    let mut member = flow.member("member-1", "");
    wait_for("it to end", || (!member.running.runs()).then_some(()));
    assert_eq!(member.running.child().wait().unwrap().code(), Some(64), "{}", member.log());
    for word in
        ["takes no transactions", "docs/stream.md", "\"at-least-once\"", "no Write on transactional-id"]
    {
        assert!(member.log().contains(word), "{word:?} is not in: {}", member.log());
    }

    let member = flow.member("member-2", "delivery = \"best\"");
    let value = Some(b"{\"area\": 3}".to_vec());
    flow.send(&[Sent { key: Some("one".into()), value, ..Sent::default() }]);
    let mut out = flow.reader("out");
    wait_for("the prediction", || (out.look() == 1).then_some(()));
    let log = member.log();
    assert!(log.contains("records come out at least once"), "{log}");
    assert!(log.contains("the stream runs delivery=\"at-least-once\""), "{log}");
    member.stop();
}
