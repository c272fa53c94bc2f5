//! The kit's tiny model, as the stories say it, and requests for it.

use modelcast::protocol::desired::Stamp;
use modelcast::protocol::golden::GoldenRows;
use modelcast::protocol::schema::FeatureSchema;
use modelcast::publish::PublishedVersion;
use modelcast::{PublishRequest, Publisher};
use modelcast_testcontainers::TinyModel;
use serde_json::{Value, json};

use super::scene::model;

pub(crate) fn schema() -> FeatureSchema {
    TinyModel::schema()
}

/// The artifact's bytes.
pub(crate) fn artifact(weight: f64) -> Vec<u8> {
    TinyModel { weight }.artifact().unwrap()
}

/// An area of 2, with what a model makes of it.
pub(crate) fn golden(output: f64) -> GoldenRows {
    TinyModel { weight: output / 2.0 }.golden_rows()
}

pub(crate) fn request(name: &str, weight: f64) -> PublishRequest {
    TinyModel { weight }.request(model(name), "trainer").unwrap()
}

pub(crate) fn stamp(author: &str) -> Stamp {
    Stamp { author: author.to_owned(), reason: "a story".to_owned(), at_unix_ms: 0 }
}

/// Publishes, which must bring a new version into force.
pub(crate) async fn publish(publisher: &Publisher, request: PublishRequest) -> PublishedVersion {
    modelcast_testcontainers::publish(publisher, request).await.unwrap()
}

/// An inference request for these areas.
pub(crate) fn areas(areas: &[f64]) -> Value {
    let tensor = json!({ "name": "area", "datatype": "FP64", "shape": [areas.len(), 1], "data": areas });
    json!({ "inputs": [tensor] })
}
