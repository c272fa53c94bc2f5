//! Which record comes again, and which does not, on mock brokers.

use std::time::Instant;

use super::*;
use crate::kafka::{
    mock::{self, Brokers},
    producer::Producer,
};

const TOPIC: &str = "in";

/// The offset of the next record.
fn next(member: &mut Member) -> i64 {
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "no record");
        if let Polled::Record(record) = member.poll(Duration::from_millis(100)).unwrap() {
            return record.offset;
        }
    }
}

/// The member of a topic with two records.
async fn joined(brokers: &Brokers) -> Member {
    let kafka = mock::settings(brokers);
    let producer = Producer::new(&kafka, Purpose::Publish).unwrap();
    for _ in 0..2 {
        producer.send(TOPIC, 0, "key", None).await.unwrap();
    }
    let membership = Membership {
        topic: TOPIC.to_owned(),
        group: "group".to_owned(),
        static_name: None,
        starts_at_end: false,
        session_timeout: Duration::from_secs(6),
        busy_max: Duration::from_secs(60),
    };
    Member::join(&kafka, membership).unwrap()
}

#[tokio::test]
async fn what_was_not_committed_comes_again() {
    let brokers = mock::brokers(TOPIC);
    let mut member = joined(&brokers).await;
    assert_eq!(next(&mut member), 0);
    member.rewind().unwrap();
    assert_eq!(next(&mut member), 0);

    // The partition goes, and comes back with nothing of it committed.
    let partition = member.consumer.assignment().unwrap();
    *member.rebalances().pending() = Some(partition.clone());
    assert!(member.settle().unwrap());
    member.consumer.incremental_assign(&partition).unwrap();
    assert_eq!(next(&mut member), 0);
}

#[tokio::test]
async fn what_librdkafka_goes_back_for_comes_once() {
    let brokers = mock::brokers(TOPIC);
    let mut member = joined(&brokers).await;
    assert_eq!(next(&mut member), 0);
    member.consumer.seek(TOPIC, 0, Offset::Offset(0), DEADLINE).unwrap();
    assert_eq!(next(&mut member), 1);
}

#[test]
fn only_the_record_that_came_last_comes_again() {
    let record = |partition, offset, at| Incoming {
        partition,
        offset,
        at_unix_ms: Some(at),
        key: None,
        value: None,
        headers: Headers::new(),
    };
    let mut newest = Newest::default();
    for new in [record(0, 0, 5), record(1, 0, 5), record(0, 1, 5), record(1, 1, 5)] {
        assert!(!newest.comes_again(&new), "{new:?}");
    }
    assert!(newest.comes_again(&record(0, 1, 5)));
    assert!(newest.comes_again(&record(1, 1, 5)));
    // Of a topic that was created anew.
    assert!(!newest.comes_again(&record(0, 1, 6)));
    assert!(!newest.comes_again(&record(0, 0, 7)));
}
