//! Artifacts of every version of every format that was ever released still decode and predict what they did.
//!
//! The files were written, and the predictions computed, by another program in another language.

use std::{fs, path::PathBuf, sync::Arc};

use modelcast_models::{GeneralizedLinearModel, RowEncoder, recompute};
use modelcast_protocol::{golden::GoldenRows, schema::FeatureSchema};
use serde::Deserialize;

use crate::cases::decode;

/// Each has an artifact, `.msgpack`, and beside it the schema and expected predictions, `.json`.
const NAMES: [&str; 1] = ["glm-v1"];

#[derive(Deserialize)]
struct Expected {
    schema: Arc<FeatureSchema>,
    golden: GoldenRows,
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden"].iter().collect()
}

#[test]
fn the_list_of_golden_files_is_complete() {
    let mut found: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let listed: Vec<_> =
        NAMES.iter().flat_map(|name| [format!("{name}.json"), format!("{name}.msgpack")]).collect();
    assert_eq!(found, listed);
}

#[test]
fn every_golden_artifact_still_predicts_what_it_did() {
    for name in NAMES {
        let expected = fs::read(folder().join(format!("{name}.json"))).unwrap();
        let Expected { schema, golden } = serde_json::from_slice(&expected).unwrap();
        schema.validate().unwrap();
        golden.validate(&schema).unwrap();
        let artifact = fs::read(folder().join(format!("{name}.msgpack"))).unwrap();
        let model = decode(&artifact, &schema).unwrap();
        recompute(&*model, &RowEncoder::new(schema), &golden).unwrap();
    }
}

#[test]
fn the_encoder_writes_the_bytes_that_the_format_says() {
    let artifact = fs::read(folder().join("glm-v1.msgpack")).unwrap();
    assert_eq!(GeneralizedLinearModel::decode(&artifact).unwrap().encode().unwrap(), artifact);
}
