//! Versions made up for a benchmark: linear models of a chosen width, each with other weights.

use std::sync::Arc;

use anyhow::Context as _;
use modelcast::{Artifact, PublishRequest, clock};
use modelcast_models::{Decoders, GeneralizedLinearModel, Link};
use modelcast_protocol::{
    ModelName,
    change::NewRole,
    desired::Stamp,
    golden::{Column, GoldenRows, RELATIVE_TOLERANCE},
    manifest::Lineage,
    schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
};

/// A linear model of `width` features that gives `number` times their sum.
pub(crate) fn version(model: &ModelName, width: usize, number: u32) -> anyhow::Result<PublishRequest> {
    let names: Vec<String> = (0..width).map(|place| format!("feature_{place}")).collect();
    let kind = FeatureKind::Numeric(Numeric::default());
    let schema = FeatureSchema {
        features: names
            .iter()
            .map(|name| Feature { name: name.clone(), title: None, kind: kind.clone() })
            .collect(),
        outputs: vec![Output { name: "sum".into(), title: None, kind: OutputKind::Numeric { unit: None } }],
    };
    let numeric = names.into_iter().map(|name| (name, f64::from(number))).collect();
    let glm =
        GeneralizedLinearModel { link: Link::Identity, intercept: 0.0, numeric, categorical: Vec::new() };
    let sum = f64::from(number) * f64::from(u32::try_from(width)?);
    Ok(PublishRequest {
        model: model.clone(),
        artifact: Artifact::Memory(glm.encode().context("the model made up")?),
        format: "glm".into(),
        required_features: Vec::new(),
        schema,
        golden: GoldenRows {
            inputs: vec![Column::Numbers(vec![1.0]); width],
            outputs: vec![vec![sum]],
            relative_tolerance: RELATIVE_TOLERANCE,
        },
        lineage: Lineage::default(),
        metrics: [].into(),
        gates: modelcast::publish::GatePolicy::default(),
        overrides: [].into(),
        score_champion: None,
        decoders: Arc::new(Decoders::standard()),
        role: NewRole::Champion,
        stamp: Stamp { author: "bench".into(), reason: "measure".into(), at_unix_ms: clock::unix_ms() },
        dry_run: false,
    })
}

/// A record of the fields of such a model, each another number.
pub(crate) fn record(width: usize, number: usize) -> Vec<u8> {
    let fields = (0..width).map(|place| format!("\"feature_{place}\":{}.{place}", (number + place) % 1_000));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(",")).into_bytes()
}

/// A request of one row of ones for such a model.
pub(crate) fn request(width: usize) -> serde_json::Value {
    let data = vec![1.0; width];
    serde_json::json!({ "inputs": [{ "name": "features", "shape": [1, width], "datatype": "FP64", "data": data }] })
}
