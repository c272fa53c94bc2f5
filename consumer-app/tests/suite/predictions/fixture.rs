//! Stores to test with, and runs to put into them.

use consumer_app::{
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
