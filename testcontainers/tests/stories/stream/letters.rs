//! What cannot be scored is a dead letter with its cause; what can be warned of is answered; a tombstone goes through.

use modelcast_testcontainers::{Ability, offers};
use serde_json::json;

use crate::support::flow::{Flow, Sent};
use crate::support::wait_for;

const MODEL: &str = "price";
const JSON: Option<&str> = Some("application/json");
const MSGPACK: Option<&str> = Some("application/x-msgpack");

fn sent(key: &str, value: &[u8], content_type: Option<&'static str>) -> Sent {
    let (key, value) = (Some(key.to_owned()), Some(value.to_vec()));
    Sent { key, value, at_unix_ms: 1_700_000_000_000, content_type, ..Sent::default() }
}

#[test]
fn what_cannot_be_scored_is_a_dead_letter_and_the_stream_goes_on() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let flow = Flow::new("letters", MODEL, 1);
    flow.publish(2.0);

    // {"area": 1.5}, and a number that only an integer's form holds.
    let (half, whole) = (b"\x81\xa4area\xcb\x3f\xf8\0\0\0\0\0\0", b"\x81\xa4area\x07");
    let large = [b"{\"area\": 1", &[b' '; 1_000][..], b"}"].concat();
    let bad: [(Sent, &str); 10] = [
        (sent("not json", b"area = 1", None), "not a JSON object"),
        (sent("text", b"{\"area\": \"large\"}", None), "\"area\""),
        (sent("unknown", b"{\"area\": 1, \"aera\": 2}", None), "\"aera\""),
        (sent("missing", b"{}", None), "\"area\" is missing"),
        (sent("twice", b"{\"area\": 1, \"area\": 2}", None), "twice"),
        (sent("nested", b"{\"area\": {\"m2\": 1}}", None), "\"area\""),
        (sent("large", &large, None), "larger than 1000"),
        (sent("beyond", b"{\"area\": 1e308}", None), "too large to be a number"),
        (sent("csv", b"1.5", Some("text/csv")), "text/csv"),
        (sent("no msgpack", b"{\"area\": 1}", MSGPACK), "not a MessagePack map"),
    ];
    let good = [
        (sent("json", b"{\"area\": 1.5}", None), 3.0),
        (sent("said", b"{\"area\": 2}", JSON), 4.0),
        (sent("msgpack", half, MSGPACK), 3.0),
        (sent("integer", whole, MSGPACK), 14.0),
    ];
    let tombstone =
        Sent { key: Some("gone".into()), value: None, at_unix_ms: 1_700_000_000_000, ..Sent::default() };
    let mut all: Vec<Sent> = bad.iter().map(|(sent, _)| sent.clone()).collect();
    all.push(tombstone);
    all.extend(good.iter().map(|(sent, _)| sent.clone()));
    flow.send(&all);
    let mut member = flow.member("member-1", "record_max_bytes = 1000");
    let mut out = flow.reader("out");
    wait_for("the last record", || (out.look() == good.len() + 1).then_some(()));
    assert_eq!(member.metric("modelcast_stream_dead_letters_total"), Some(10.0));
    assert_eq!(member.metric("modelcast_stream_records_total"), Some(15.0));
    assert_eq!(member.metric("modelcast_stream_tombstones_total"), Some(1.0));
    member.stop();

    let dead = flow.reader("dead").into_all();
    assert_eq!(dead.len(), bad.len());
    for (place, (letter, (sent, word))) in dead.iter().zip(&bad).enumerate() {
        assert_eq!((&letter.key, &letter.value), (&sent.key, &sent.value));
        assert_eq!(letter.at_unix_ms, sent.at_unix_ms);
        let cause = letter.header("modelcast-dead-cause");
        assert!(cause.contains(word), "{:?}: {cause:?} lacks {word:?}", sent.key);
        assert_eq!(letter.header("modelcast-dead-topic"), flow.topic("in"));
        assert_eq!(letter.header("modelcast-dead-partition"), "0");
        assert_eq!(letter.header("modelcast-dead-offset"), place.to_string());
    }
    let out = flow.reader("out").into_all();
    assert_eq!((out[0].key.as_deref(), &out[0].value), (Some("gone"), &None));
    assert_eq!(out[0].header("modelcast-version"), "1");
    for (got, (sent, price)) in out[1..].iter().zip(&good) {
        assert_eq!(got.key, sent.key);
        assert_eq!(got.json(), json!({ "outputs": { "price": price } }));
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.at_unix_ms, sent.at_unix_ms);
        assert!(got.header("modelcast-digest").starts_with("blake3:"));
    }
}
