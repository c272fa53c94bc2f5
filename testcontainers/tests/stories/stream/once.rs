//! Each record comes out once, whatever becomes of the members.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use modelcast_testcontainers::{Ability, Faults, Kafka, TinyModel, offers};

use crate::support::flow::{Flow, Got, Sent, Streaming};
use crate::support::wait_within;

const MODEL: &str = "price";
const WEIGHT: f64 = 0.1;
const PARTITIONS: i32 = 8;
/// Longer than a killed member can hold up the others, so often as it is killed.
const PATIENCE: Duration = Duration::from_secs(400);
/// Every so many records one that cannot be scored.
const PLANTED_EVERY: usize = 997;
/// So often a member joins.
const JOINS: usize = 3;
/// Small transactions, so that a kill strikes the midst of one.
const SMALL: &str = "batch_records_max = 500\nbatch_linger_ms = 5\ntransaction_timeout_seconds = 10";

fn is_planted(number: usize) -> bool {
    number % PLANTED_EVERY == PLANTED_EVERY - 1
}

fn area(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap()) * 0.37 + 0.01
}

/// Records whose key is their number.
fn records(from: usize, to: usize) -> Vec<Sent> {
    let value = |number: usize| match is_planted(number) {
        true => format!("{{\"area\": \"{number} acres\"}}"),
        false => format!("{{\"area\": {}}}", area(number)),
    };
    let record = |number: usize| Sent {
        partition: i32::try_from(number % usize::try_from(PARTITIONS).unwrap()).unwrap(),
        key: Some(number.to_string()),
        value: Some(value(number).into_bytes()),
        at_unix_ms: 1_700_000_000_000 + i64::try_from(number).unwrap(),
        ..Sent::default()
    };
    (from..to).map(record).collect()
}

fn flow(stem: &str) -> Flow {
    let flow = Flow::new(stem, MODEL, PARTITIONS);
    flow.publish(WEIGHT);
    flow
}

/// Each of them is there once, with what the model makes of it; those that were planted are dead letters.
fn check(flow: &Flow, count: usize) {
    let by_key = |got: Vec<Got>| {
        let mut by_key: BTreeMap<usize, Vec<Got>> = BTreeMap::new();
        for one in got {
            by_key.entry(one.key.as_ref().unwrap().parse().unwrap()).or_default().push(one);
        }
        by_key
    };
    let out = by_key(flow.reader("out").into_all());
    let dead = by_key(flow.reader("dead").into_all());
    let (mut missing, mut doubled) = (Vec::new(), Vec::new());
    for number in 0..count {
        let (right, wrong) = if is_planted(number) { (&dead, &out) } else { (&out, &dead) };
        assert!(!wrong.contains_key(&number), "{number} is in the wrong topic");
        match right.get(&number).map_or(0, Vec::len) {
            0 => missing.push(number),
            1 => {}
            _ => doubled.push(number),
        }
    }
    assert!(
        missing.is_empty() && doubled.is_empty(),
        "{} missing, such as {:?}; {} doubled, such as {:?}",
        missing.len(),
        missing.first(),
        doubled.len(),
        doubled.first().map(|number| (out.get(number), dead.get(number)))
    );
    assert_eq!(out.len() + dead.len(), count, "records that nobody sent");
    let model = TinyModel { weight: WEIGHT };
    for (number, got) in &out {
        let price = got[0].json()["outputs"]["price"].as_f64().unwrap();
        assert_eq!(price.to_bits(), model.price(area(*number)).to_bits(), "{number}");
        assert_eq!(got[0].at_unix_ms, 1_700_000_000_000 + i64::try_from(*number).unwrap());
        assert_eq!(got[0].header("modelcast-version"), "1");
    }
    for (number, got) in &dead {
        assert_eq!(got[0].value.as_deref(), Some(format!("{{\"area\": \"{number} acres\"}}").as_bytes()));
        assert!(got[0].header("modelcast-dead-cause").contains("area"), "{got:?}");
    }
}

/// Random enough, and the same again where it is asked for by this seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn each_of_100_000_records_comes_out_once_though_members_are_killed() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let count = 100_000;
    let flow = flow("killed");
    // One keeps its partitions over a restart, the other comes back as somebody new.
    flow.configure("member-1", &format!("{SMALL}\nstatic_membership = true"));
    flow.configure("member-2", SMALL);
    let mut members = ["member-1", "member-2"].map(|name| (name, flow.start(name)));
    let seed = rand::random::<u64>() | 1;
    let mut dice = Dice(seed);
    println!("seed {seed}");

    let started = Instant::now();
    let (mut out, mut dead) = (flow.reader("out"), flow.reader("dead"));
    let (mut sent, mut kills) = (0, 0);
    let mut next_kill = Instant::now() + Duration::from_secs(3);
    while out.look() + dead.look() < count {
        if sent < count {
            flow.send(&records(sent, sent + 5_000));
            sent += 5_000;
        }
        if Instant::now() >= next_kill {
            let (name, member) = &mut members[usize::try_from(dice.below(2)).unwrap()];
            member.running.kill();
            *member = flow.start(name);
            kills += 1;
            next_kill = Instant::now() + Duration::from_millis(500 + dice.below(2_500));
        }
        assert!(started.elapsed() < PATIENCE, "{} of {count} after {kills} kills", out.got.len());
    }
    println!("{count} records, {kills} kills, {:?}", started.elapsed());
    assert!(kills >= 5, "only {kills} kills: it went too fast to say anything");
    members.into_iter().for_each(|(_, member)| drop(member.stop()));
    assert_eq!(flow.committed(), i64::try_from(count).unwrap());
    check(&flow, count);
}

#[test]
fn members_that_join_and_leave_lose_nothing_and_double_nothing() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let flow = flow("rebalanced");
    let mut first = flow.member("member-1", SMALL);
    first.wait_until_ready();
    flow.configure("member-2", SMALL);
    let (mut out, mut dead) = (flow.reader("out"), flow.reader("dead"));
    let mut second: Option<Streaming> = None;
    let (mut sent, mut joins, mut received) = (0, 0, 0);
    let started = Instant::now();
    while sent < 30_000 || joins < JOINS || received < sent {
        let goes_on = sent < 30_000 || joins < JOINS;
        if goes_on {
            flow.send(&records(sent, sent + 1_000));
            sent += 1_000;
        }
        // In turn it joins, gets partitions, and leaves them.
        match second.take() {
            Some(mut member) => match has_partitions(&mut member) {
                true => drop(member.stop()),
                false => second = Some(member),
            },
            None if goes_on => {
                second = Some(flow.start("member-2"));
                joins += 1;
            }
            None => {}
        }
        received = out.look() + dead.look();
        assert!(started.elapsed() < PATIENCE, "{received} of {sent}");
    }
    second.into_iter().for_each(|member| drop(member.stop()));
    first.stop();
    check(&flow, sent);
}

fn has_partitions(member: &mut Streaming) -> bool {
    member.metric("modelcast_stream_batches_committed_total").is_some_and(|count| count > 0.0)
}

#[test]
fn a_member_that_was_frozen_past_its_time_doubles_nothing() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let count = 30_000;
    let flow = flow("frozen");
    let mut first = flow.member("member-1", SMALL);
    first.wait_until_ready();
    flow.send(&records(0, 10_000));
    let (mut out, mut dead) = (flow.reader("out"), flow.reader("dead"));
    wait_within(PATIENCE, "it to be at work", || (out.look() > 1_000).then_some(()));
    flow.send(&records(10_000, count));
    first.running.freeze();
    // Longer than its session and its transaction: its partitions are another's, its transaction is aborted.
    let mut second = flow.member("member-2", SMALL);
    second.wait_until_ready();
    wait_within(PATIENCE, "the other to do all", || (out.look() + dead.look() == count).then_some(()));
    first.running.thaw();
    flow.send(&records(count, count + 10_000));
    wait_within(PATIENCE, "both to do the rest", || {
        (out.look() + dead.look() >= count + 10_000).then_some(())
    });
    first.stop();
    second.stop();
    check(&flow, count + 10_000);
}

#[test]
fn a_transaction_that_the_broker_ended_is_gathered_again() {
    if !offers(&[Ability::Transactions, Ability::Settings]) {
        return;
    }
    let count = 40_000;
    let flow = flow("too-late");
    // It stays a member, so nobody else does its work; only its transaction is too late.
    let more = format!("{SMALL}\nsession_timeout_seconds = 120");
    let mut member = flow.member("member-1", &more);
    member.wait_until_ready();
    let (mut out, mut dead) = (flow.reader("out"), flow.reader("dead"));
    flow.send(&records(0, count));
    wait_within(PATIENCE, "it to be at work", || (out.look() > 0).then_some(()));
    let state = || {
        let servers = Kafka::shared().direct_servers();
        let words = ["--bootstrap-server", servers, "list"];
        let printed = Kafka::shared().run_tool("org.apache.kafka.tools.TransactionsCommand", &words).unwrap();
        let id = format!("{}.stream.{}.member-1", flow.scene.kafka.namespace, flow.topic("group"));
        let line = printed.lines().find(|line| line.starts_with(&id)).unwrap_or_default().to_owned();
        line.split_whitespace().last().unwrap_or_default().to_owned()
    };
    wait_within(PATIENCE, "it to be frozen in the midst of a transaction", || {
        member.running.freeze();
        let is_open = state() == "Ongoing";
        if !is_open {
            member.running.thaw();
        }
        is_open.then_some(())
    });
    wait_within(PATIENCE, "the broker to end the transaction", || (state() == "CompleteAbort").then_some(()));
    member.running.thaw();
    wait_within(PATIENCE, "the rest", || (out.look() + dead.look() >= count).then_some(()));
    assert!(member.metric("modelcast_stream_batches_aborted_total") >= Some(1.0), "{}", member.log());
    assert!(!member.log().contains("thrown out"), "{}", member.log());
    member.stop();
    check(&flow, count);
}

/// So often at least a connection breaks in the midst of a transaction.
const RENEWALS: usize = 3;

#[test]
fn after_a_transaction_whose_connection_broke_comes_a_new_producer() {
    if !offers(&[Ability::Transactions, Ability::Settings]) {
        return;
    }
    let count = 600;
    let kafka = Kafka::builder().proxied().start().unwrap();
    let flow = Flow::on_its_own(&kafka, "broken-line", MODEL, PARTITIONS);
    flow.publish(WEIGHT);
    flow.send(&records(0, count));
    let mut member = flow.member("member-1", &SMALL.replace("500", "50"));
    member.wait_until_ready();
    let proxy = kafka.proxy().unwrap();
    // So that most of the time a request is on its way.
    proxy.set(Faults { delay: Duration::from_millis(30), ..Faults::default() });
    let started = Instant::now();
    let (mut out, mut dead) = (flow.reader("out"), flow.reader("dead"));
    let renewed = |log: &str| log.matches("the next batch gets a new producer").count();
    while out.look() + dead.look() < count {
        // For ever, and on a busy machine no batch would come through.
        if renewed(&member.log()) < RENEWALS {
            proxy.cut();
        }
        assert!(started.elapsed() < PATIENCE, "{} of {count}", out.got.len());
    }
    proxy.heal();
    let log = member.stop();
    let renewed = renewed(&log);
    println!("{renewed} producers for a broken connection");
    assert!(renewed >= RENEWALS, "{log}");
    check(&flow, count);
}
