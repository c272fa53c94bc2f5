//! A log with late, repeated, foreign and copied records: what is in force from every start, and every outcome.

use modelcast_protocol::{
    Digest, Generation, ModelName, announcement,
    desired::DesiredState,
    fold::{Fold, InForce, LogRecord},
    key::SigningKey,
    outcome::{Verdict, judge},
};
use serde_json::{Map, Value, json};

use crate::{
    folder::{Vector, read},
    scene::{Scene, frame, namespace, trusted},
};

struct Line {
    key: String,
    file: String,
    bytes: Vec<u8>,
}

pub(crate) fn make(scene: &Scene) -> Vec<Vector> {
    let founding = scene.told("announcement-founding");
    let late = |name: &'static str, before: usize, key: &SigningKey| {
        let recent: Vec<_> = scene.line[..before].iter().map(|told| told.sealed.digest).collect();
        let state = DesiredState { nonce: [0xee; 16], ..founding.state.clone() };
        (name, frame("price", &recent).seal(&state, key).unwrap().bytes)
    };
    let extra = [late("log-late-2", 1, &scene.operator), late("log-late-4", 3, &scene.publisher)];
    let told = |name: &str| scene.told(name).sealed.bytes.clone();
    let by_name = |name: &str| {
        let found = extra.iter().find(|(extra, _)| *extra == name).map(|(_, bytes)| bytes.clone());
        found.unwrap_or_else(|| told(name))
    };
    let mut made: Vec<_> = extra.iter().map(|(name, bytes)| Vector::binary(name, bytes)).collect();
    let stranger = scene.told("announcement-inline").state.clone();
    let stranger = frame("price", &[founding.sealed.digest]).seal(&stranger, &scene.stranger).unwrap().bytes;
    made.push(Vector::binary("log-stranger-2", &stranger));
    let order = [
        "announcement-founding",
        "log-stranger-2",
        "announcement-inline",
        "log-late-2",
        "announcement-challenger",
        "announcement-inline",
        "announcement-pinned",
        "log-late-4",
        "announcement-label",
        "announcement-rollback",
        "announcement-pinned",
        "announcement-all",
        "announcement-all",
        "log-late-2",
    ];
    let records = order.iter().map(|&name| {
        let bytes = if name == "log-stranger-2" { stranger.clone() } else { by_name(name) };
        Line { key: "price".into(), file: format!("{name}.bin"), bytes }
    });
    let records: Vec<_> = records.collect();
    made.push(Vector::json("log", &description(&records)));
    made
}

fn description(records: &[Line]) -> Value {
    let listed = records.iter().enumerate().map(|(offset, record)| {
        json!({
            "offset": offset,
            "key": record.key,
            "file": record.file,
            "value_digest": Digest::of(&record.bytes).to_string(),
            "claims": announcement::claimed_frame(&record.bytes).map(|frame| frame.generation),
        })
    });
    json!({
        "kind": "log",
        "topic": "modelcast.announcements",
        "records": listed.collect::<Vec<_>>(),
        "folds": folds(records),
        "outcomes": outcomes(records),
    })
}

/// What is in force at the end, for a reader that starts at each offset, and whether the log may be cut there.
fn folds(records: &[Line]) -> Value {
    let whole = in_force(records, 0);
    let fold = |start: usize| {
        let found = in_force(records, start);
        json!({ "start": start, "in_force": found, "may_cut": found == whole })
    };
    (0..=records.len()).map(fold).collect()
}

/// The verdict at the end of the log on everything that was sent.
fn outcomes(records: &[Line]) -> Value {
    let fold = folded(records, 0);
    let price = ModelName::parse("price").unwrap();
    let mut judged = Map::new();
    for record in records {
        let Ok(sent) = announcement::open(&record.bytes, &trusted()) else { continue };
        let verdict = match judge(sent.digest, sent.frame.generation, fold.in_force(&price)) {
            Verdict::Committed => json!("committed"),
            Verdict::Conflict { by } => json!({ "conflict": by.to_string() }),
            Verdict::Undecided => json!("undecided"),
        };
        judged.insert(record.file.clone(), verdict);
    }
    let ahead = judge(Digest::of(b"not sent"), Generation::new(99), fold.in_force(&price));
    assert_eq!(ahead, Verdict::Undecided);
    judged.into()
}

fn folded(records: &[Line], start: usize) -> Fold {
    let mut fold = Fold::new(namespace());
    for (offset, record) in (0_i64..).zip(records).skip(start) {
        fold.apply(LogRecord { offset, key: record.key.as_bytes(), value: &record.bytes }, &trusted());
    }
    fold
}

fn in_force(records: &[Line], start: usize) -> Value {
    let describe = |(model, now): (&ModelName, &InForce)| {
        let state = json!({
            "generation": now.generation(),
            "digest": now.held().digest.to_string(),
            "offset": now.offset,
        });
        (model.to_string(), state)
    };
    let mut found: Map<_, _> = folded(records, start).models().map(describe).collect();
    // Where it stands is no part of the state: a copy is the same announcement.
    found.values_mut().for_each(|state| drop(state.as_object_mut().unwrap().remove("offset")));
    found.into()
}

/// Reads the log of the folder and folds it as its description says.
pub(crate) fn check(description: &Value) {
    let records = description["records"].as_array().unwrap().iter().map(|record| {
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        let bytes = read(&text("file"));
        Line { key: text("key"), file: text("file"), bytes }
    });
    let records: Vec<_> = records.collect();
    assert_eq!(*description, self::description(&records));
    let legal = description["folds"].as_array().unwrap().iter().filter(|fold| fold["may_cut"] == true);
    assert!(legal.count() > 2, "a log without a place to cut shows little");
}
