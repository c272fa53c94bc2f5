//! A model whose artifact takes several chunks: `price = weight * area + effect of the zone`, with 2,000 zones.
//!
//! # Invariants
//! * No two versions have a chunk in common: an instance must fetch each of them, and cannot take it from its disk.
//! * The zone of [`request`] has no effect, so an answer tells the weight.

use modelcast::models::{GeneralizedLinearModel, Link};
use modelcast::protocol::golden::{Column, GoldenRows};
use modelcast::protocol::key::SigningKey;
use modelcast::protocol::schema::{Categorical, Feature, FeatureKind};
use modelcast_testcontainers::hostile::Package;
use serde_json::{Value, json};

use super::linear;
use super::scene::model;

const ZONES: u32 = 2_000;
const CHUNKS: usize = 6;

/// A version of this weight.
pub(crate) fn package(name: &str, weight: f64, signing: &SigningKey) -> Package {
    let effects: Vec<_> = (0..ZONES).map(|zone| effect(zone, weight)).collect();
    let seventh = effects[7];
    let glm = GeneralizedLinearModel {
        link: Link::Identity,
        intercept: 0.0,
        numeric: vec![("area".to_owned(), weight)],
        categorical: vec![("zone".to_owned(), effects)],
    };
    let artifact = glm.encode().unwrap();
    let pieces: Vec<_> = artifact.chunks(artifact.len().div_ceil(CHUNKS)).collect();
    let mut schema = linear::schema();
    let categories = (0..ZONES).map(zone_name).collect();
    let zone = FeatureKind::Categorical(Categorical { categories, other: false, typical: None });
    schema.features.push(Feature { name: "zone".into(), title: None, kind: zone });
    let golden = GoldenRows {
        inputs: vec![Column::Numbers(vec![2.0, 1.0]), Column::Categories(vec![zone_name(0), zone_name(7)])],
        outputs: vec![vec![2.0 * weight, weight + seventh]],
        relative_tolerance: 1e-9,
    };
    Package::of(&model(name), "glm", &pieces, schema, golden, signing)
}

/// A request whose answer is the weight of the version that answers.
pub(crate) fn request() -> Value {
    let area = json!({ "name": "area", "datatype": "FP64", "shape": [1, 1], "data": [1.0] });
    let zone = json!({ "name": "zone", "datatype": "BYTES", "shape": [1, 1], "data": [zone_name(0)] });
    json!({ "inputs": [area, zone] })
}

fn zone_name(zone: u32) -> String {
    format!("zone-{zone}")
}

/// Half of the zones have effects that do not compress, the others such that do.
fn effect(zone: u32, weight: f64) -> f64 {
    match zone {
        0 => 0.0,
        zone if zone < ZONES / 2 => (f64::from(zone) * weight).sin(),
        _ => weight,
    }
}
