//! Stores to test with, and runs to put into them.

use consumer_app::{
    batch::summary::{FeatureRows, OutputSummary, Summary},
    predictions::{
        run::{FailureRow, Input, NewRun, PredictionRow, RunId},
        store::Store,
    },
    settings::StoreSettings,
};
use modelcast_protocol::{
    Digest, Generation, ModelName,
    schema::{Output, OutputKind},
};

use crate::{
    fixture::{name, version},
    postgres::Postgres,
};

/// Does the same on a new store of SQLite, and on one of PostgreSQL where that is installed.
pub(crate) fn on_each(check: impl Fn(&StoreSettings)) {
    let folder = tempfile::tempdir().unwrap();
    check(&sqlite(folder.path()));
    if let Some(server) = Postgres::shared() {
        check(&server.store());
    }
}

pub(crate) fn sqlite(folder: &std::path::Path) -> StoreSettings {
    StoreSettings {
        store: folder.join("predictions.sqlite").display().to_string(),
        ..StoreSettings::default()
    }
}

pub(crate) fn open(settings: &StoreSettings) -> Store {
    Store::open(settings).unwrap()
}

pub(crate) fn id(run: &str) -> RunId {
    RunId::parse(run).unwrap()
}

pub(crate) fn house() -> ModelName {
    name("property-value")
}

/// A run of `property-value` at version 4 with one output, `price`.
pub(crate) fn new_run(run: &str) -> NewRun {
    let kind = OutputKind::Numeric { unit: Some("USD".to_owned()) };
    NewRun {
        run: id(run),
        model: house(),
        version: version(4),
        digest: Digest::of(b"manifest"),
        generation: Generation::new(7),
        input: Input {
            name: "houses.csv".to_owned(),
            size_bytes: 1_000,
            modified_at_unix_ms: 1_700_000_000_000,
            digest: Digest::of(b"input"),
        },
        outputs: vec![Output { name: "price".into(), title: Some("Estimated price".into()), kind }],
        started_at_unix_ms: 1_700_000_000_000,
    }
}

pub(crate) fn rows(rows: std::ops::Range<u64>, value: impl Fn(u64) -> f64) -> Vec<PredictionRow> {
    rows.map(|row| PredictionRow { row, key: key(row), values: vec![value(row)] }).collect()
}

pub(crate) fn key(row: u64) -> String {
    format!("house-{row:06}")
}

pub(crate) fn failure(row: u64, cause: &str) -> FailureRow {
    FailureRow { row, key: Some(key(row)), cause: cause.to_owned() }
}

/// A finished run of `count` rows that waits.
pub(crate) fn waiting(store: &mut Store, run: &str, count: u64, value: impl Fn(u64) -> f64) {
    store.begin(&new_run(run)).unwrap();
    store.append(&id(run), &rows(0..count, value), &[], count).unwrap();
    store.finish(&id(run), "{}", 1_700_000_060_000).unwrap();
}

/// The values that the approved run has for a key.
pub(crate) fn served(store: &mut Store, key: &str) -> Option<(String, Vec<f64>)> {
    let approved = store.predictions(&house(), &[key.to_owned()]).ok()?;
    let found = approved.found.into_iter().next()?;
    Some((approved.run.run.to_string(), found.values))
}

/// A summary as the batch job makes it, over some values of `price`.
pub(crate) fn summary(values: &[f64], failures: u64) -> String {
    let edges: Vec<f64> = (0..16).map(|edge| 40_000.0 + 20_000.0 * f64::from(edge)).collect();
    let mut counts = vec![0_u64; edges.len() + 1];
    for value in values {
        counts[edges.iter().filter(|edge| *edge <= value).count()] += 1;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let sd = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let (min, max) = values.iter().fold((f64::MAX, f64::MIN), |(min, max), v| (min.min(*v), max.max(*v)));
    let feature = |feature: &str, rows: u64| FeatureRows { feature: feature.to_owned(), rows };
    let scored = u64::try_from(values.len()).unwrap();
    let output = OutputSummary { name: "price".into(), count: scored, min, max, mean, sd, edges, counts };
    let summary = Summary {
        rows: scored + failures,
        scored,
        failures,
        first_failures: vec![],
        outputs: vec![output],
        out_of_range: vec![feature("lot", 31), feature("area", 4)],
        unseen: vec![feature("zone", 12)],
    };
    serde_json::to_string(&summary).unwrap()
}

/// Prices of some houses, spread as real ones are: the same for the same seed.
pub(crate) fn prices(count: u64, seed: u64, shift: f64) -> Vec<f64> {
    let mut state = seed;
    let mut unit = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count)
        .map(|_| {
            let bell = (0..6).map(|_| unit()).sum::<f64>() - 3.0;
            165_000.0 * (bell * 0.5).exp() * shift
        })
        .collect()
}

/// Two runs of many houses, the first approved, the second waiting with failures: what a person has to look at.
pub(crate) fn two_runs(store: &mut Store) {
    let before = prices(2_000, 1, 1.0);
    let now: Vec<_> = prices(2_000, 1, 1.0)
        .iter()
        .zip(prices(2_000, 2, 1.0))
        .map(|(price, other)| price * 1.04 + (other - 165_000.0) * 0.05)
        .collect();
    for (run, values, version) in [("night-1", &before, 4), ("night-2", &now, 5)] {
        let new = NewRun { version: crate::fixture::version(version), ..new_run(run) };
        store.begin(&new).unwrap();
        let rows: Vec<_> = (0..)
            .zip(values)
            .map(|(row, price)| PredictionRow { row, key: key(row), values: vec![*price] })
            .collect();
        let failures = [
            FailureRow {
                row: 2_001,
                key: Some("lost-1".into()),
                cause: "feature \"area\" is missing".into(),
            },
            FailureRow { row: 2_002, key: None, cause: "<b>the key is empty</b>".into() },
        ];
        store.append(&id(run), &rows, &failures, 2_002).unwrap();
        store.finish(&id(run), &summary(values, 2), 1_764_000_000_000).unwrap();
    }
    store.approve(&id("night-1"), "Ada Lovelace", "as last month", 1_764_000_500_000).unwrap();
}
