//! What a member makes of its topics: where it begins, how far behind it is, and what becomes of it when they change.

use std::process::ExitStatus;

use modelcast_testcontainers::{Ability, Kafka, offers};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::support::flow::{Flow, Sent, Streaming};
use crate::support::{runtime, wait_for};

const MODEL: &str = "price";
/// New partitions are seen soon.
const WATCHFUL: &str = "[kafka.properties]\n\"topic.metadata.refresh.interval.ms\" = \"500\"";

fn flow(stem: &str) -> Flow {
    let flow = Flow::new(stem, MODEL, 1);
    flow.publish(2.0);
    flow
}

fn records(from: usize, to: usize) -> Vec<Sent> {
    let record = |number: usize| Sent {
        key: Some(number.to_string()),
        value: Some(format!("{{\"area\": {number}}}").into_bytes()),
        ..Sent::default()
    };
    (from..to).map(record).collect()
}

fn end(member: &mut Streaming) -> ExitStatus {
    wait_for("it to end", || (!member.running.runs()).then_some(()));
    member.running.child().wait().unwrap()
}

#[test]
fn a_group_that_starts_at_the_end_starts_there_once() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let flow = flow("at-the-end");
    flow.send(&records(0, 10));
    let mut first = flow.member("member-1", "start = \"latest\"");
    first.wait_until_ready();
    wait_for("the end to be its start", || (flow.committed() == 10).then_some(()));
    // It goes before anything came, and what comes meanwhile is for the next.
    first.running.kill();
    flow.send(&records(10, 15));
    let mut second = flow.member("member-2", "start = \"latest\"");
    let mut out = flow.reader("out");
    wait_for("what came meanwhile", || (out.look() >= 5).then_some(()));
    let keys: Vec<_> = out.got.iter().filter_map(|got| got.key.as_deref()).collect();
    assert_eq!(keys, ["10", "11", "12", "13", "14"]);
    let lag = "modelcast_stream_lag{partition=\"0\"}";
    wait_for("no lag", || (second.metric(lag) == Some(0.0)).then_some(()));
    second.stop();
}

#[test]
fn partitions_that_are_added_to_the_input_are_read_and_go_by_their_keys() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let flow = flow("more-partitions");
    let mut member = flow.member("member-1", WATCHFUL);
    member.wait_until_ready();
    let admin: AdminClient<DefaultClientContext> = flow.config().create().unwrap();
    let input = flow.topic("in");
    let new = [NewPartitions::new(&input, 2)];
    let added = runtime().block_on(admin.create_partitions(&new, &AdminOptions::new()));
    added.unwrap().into_iter().for_each(|result| drop(result.unwrap()));
    let on_new = records(0, 5).into_iter().map(|record| Sent { partition: 1, ..record });
    let on_new: Vec<_> = on_new.collect();
    flow.send(&on_new);
    let mut out = flow.reader("out");
    wait_for("the records of the new partition", || (out.look() >= 5).then_some(()));
    let log = member.stop();
    assert!(log.contains("partitions were added: restart all members"), "{log}");
    assert_eq!(flow.reader("out").into_all().len(), 5);
}

#[test]
fn a_topic_that_takes_no_such_record_ends_the_stream_and_is_named() {
    if !offers(&[Ability::Transactions, Ability::TopicSettings]) {
        return;
    }
    let flow = flow("refusing");
    let admin: AdminClient<DefaultClientContext> = flow.config().create().unwrap();
    let output = flow.topic("out");
    let compact = AlterConfig::new(ResourceSpecifier::Topic(&output)).set("cleanup.policy", "compact");
    let altered = runtime().block_on(admin.alter_configs([&compact], &AdminOptions::new())).unwrap();
    altered.into_iter().for_each(|result| drop(result.unwrap()));
    flow.send(&[Sent { key: None, ..records(0, 1).remove(0) }]);
    let mut member = flow.member("member-1", "");
    assert!(!end(&mut member).success());
    assert!(
        member.log().contains("a compacted one (cleanup.policy) takes none without a key"),
        "{}",
        member.log()
    );
    assert_eq!(flow.committed(), 0);
}

#[test]
fn a_member_whose_name_another_takes_ends_and_says_so() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let flow = flow("one-name");
    flow.configure("member-1", "static_membership = true");
    let mut first = flow.start("member-1");
    first.wait_until_ready();
    // As a second process of one configuration, but for where it keeps its state.
    let path = flow.configure("member-2", "static_membership = true");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("name = \"member-2\"", "name = \"member-1\"")).unwrap();
    let second = flow.start("member-2");
    assert!(!end(&mut first).success());
    assert!(first.log().contains("another process is the member of this name"), "{}", first.log());
    second.stop();
}

#[test]
fn a_member_says_that_its_broker_is_away_and_goes_on_when_it_is_back() {
    if !offers(&[Ability::Transactions, Ability::Restart]) {
        return;
    }
    let kafka = Kafka::start().unwrap();
    let flow = Flow::on_its_own(&kafka, "away", MODEL, 1);
    flow.publish(2.0);
    let mut member = flow.member("member-1", "");
    member.wait_until_ready();
    kafka.kill().unwrap();
    wait_for("it to say so", || {
        member
            .log()
            .contains("WARN modelcast::kafka::group: reading goes on as soon as Kafka answers")
            .then_some(())
    });
    kafka.start_again().unwrap();
    flow.send(&records(0, 5));
    let mut out = flow.reader("out");
    wait_for("the records", || (out.look() >= 5).then_some(()));
    member.stop();
}
