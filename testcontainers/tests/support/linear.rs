//! The smallest model there is, `price = weight * area`, and how a test publishes one.

use std::sync::Arc;

use modelcast::models::{Decoders, GeneralizedLinearModel, Link};
use modelcast::protocol::change::NewRole;
use modelcast::protocol::desired::Stamp;
use modelcast::protocol::golden::{Column, GoldenRows};
use modelcast::protocol::manifest::Lineage;
use modelcast::protocol::schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind};
use modelcast::publish::PublishedVersion;
use modelcast::{Artifact, PublishRequest, Published, Publisher};
use serde_json::{Value, json};

use super::scene::model;

pub(crate) fn schema() -> FeatureSchema {
    FeatureSchema {
        features: vec![Feature {
            name: "area".into(),
            title: None,
            kind: FeatureKind::Numeric(Numeric::default()),
        }],
        outputs: vec![Output { name: "price".into(), title: None, kind: OutputKind::Numeric { unit: None } }],
    }
}

/// The artifact's bytes.
pub(crate) fn artifact(weight: f64) -> Vec<u8> {
    let numeric = vec![("area".to_owned(), weight)];
    let glm = GeneralizedLinearModel { link: Link::Identity, intercept: 0.0, numeric, categorical: vec![] };
    glm.encode().unwrap()
}

/// An area of 2, with what the model makes of it.
pub(crate) fn golden(output: f64) -> GoldenRows {
    GoldenRows {
        inputs: vec![Column::Numbers(vec![2.0])],
        outputs: vec![vec![output]],
        relative_tolerance: 1e-9,
    }
}

pub(crate) fn request(name: &str, weight: f64) -> PublishRequest {
    PublishRequest {
        model: model(name),
        artifact: Artifact::Memory(artifact(weight)),
        format: "glm".into(),
        required_features: vec![],
        schema: schema(),
        golden: golden(2.0 * weight),
        lineage: Lineage::default(),
        metrics: [].into(),
        gates: Default::default(),
        overrides: [].into(),
        score_champion: None,
        decoders: Arc::new(Decoders::standard()),
        role: NewRole::Champion,
        stamp: stamp("trainer"),
        dry_run: false,
    }
}

pub(crate) fn stamp(author: &str) -> Stamp {
    Stamp { author: author.to_owned(), reason: "a story".to_owned(), at_unix_ms: 0 }
}

/// Publishes, which must bring a new version into force.
pub(crate) async fn publish(publisher: &Publisher, request: PublishRequest) -> PublishedVersion {
    match publisher.publish(request, Arc::new(|_| {})).await.unwrap() {
        Published::Committed(published) => *published,
        other => panic!("not committed: {other:?}"),
    }
}

/// An inference request for these areas.
pub(crate) fn areas(areas: &[f64]) -> Value {
    let tensor = json!({ "name": "area", "datatype": "FP64", "shape": [areas.len(), 1], "data": areas });
    json!({ "inputs": [tensor] })
}
