//! A model that does not fit, and a row that no model can take, are refused by name.

use std::sync::Arc;

use modelcast_models::{GeneralizedLinearModel, GlmError, Link, Model, PredictError};
use modelcast_protocol::{
    codec::{self, Record},
    schema::FeatureSchema,
};
use serde::{Deserialize, Serialize};

use crate::cases::{Case, decode, house, output};

/// The fields of the format, without any check on what they hold.
#[derive(Serialize, Deserialize)]
struct Unchecked {
    v: u16,
    link: String,
    intercept: f64,
    numeric: Vec<(String, f64)>,
    categorical: Vec<(String, Vec<f64>)>,
}

impl Record for Unchecked {
    const VERSION: u16 = u16::MAX;
    const NOUN: &'static str = "test";
}

fn house_bytes(change: impl FnOnce(&mut Unchecked)) -> Vec<u8> {
    let GeneralizedLinearModel { intercept, numeric, categorical, .. } = house(Link::Identity).model;
    let mut model = Unchecked { v: 1, link: "identity".into(), intercept, numeric, categorical };
    change(&mut model);
    codec::encode(&model).unwrap()
}

fn refusal(change: impl FnOnce(&mut Unchecked)) -> String {
    let error = decode(&house_bytes(change), &house(Link::Identity).schema).err().expect("was taken");
    assert!(!error.is_transient());
    error.to_string()
}

#[test]
fn an_unchanged_model_is_taken() {
    assert!(decode(&house_bytes(|_| ()), &house(Link::Identity).schema).is_ok());
    assert_eq!(house_bytes(|_| ()), house(Link::Identity).model.encode().unwrap());
}

#[test]
fn what_does_not_fit_the_schema_is_refused_by_name() {
    let refusals = [
        (refusal(|model| drop(model.numeric.remove(1))), "no weight for feature \"baths\""),
        (refusal(|model| drop(model.categorical.remove(0))), "no weight for feature \"zone\""),
        (refusal(|model| model.numeric.push(("moat".into(), 1.0))), "weight for \"moat\""),
        (refusal(|model| model.numeric.push(("area".into(), 1.0))), "\"area\" twice"),
        (refusal(|model| model.categorical.push(("area".into(), vec![1.0]))), "\"area\" twice"),
        (refusal(|model| model.categorical.push(("zone".into(), vec![1.0, 2.0]))), "\"zone\" twice"),
        (refusal(|model| model.categorical[0].1.truncate(1)), "\"zone\" has 1 weights for 2 levels"),
        (refusal(|model| model.categorical[1].1.truncate(2)), "\"air\" has 2 weights for 3 levels"),
        (refusal(|model| model.categorical[0].1.push(0.0)), "\"zone\" has 3 weights for 2 levels"),
        (
            refusal(|model| {
                model.categorical.remove(0);
                model.numeric.push(("zone".into(), 1.0));
            }),
            "\"zone\" is categorical",
        ),
        (
            refusal(|model| {
                model.numeric.remove(0);
                model.categorical.push(("area".into(), vec![1.0]));
            }),
            "\"area\" is numeric",
        ),
    ];
    for (error, words) in refusals {
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}

#[test]
fn a_weight_that_is_not_finite_is_refused_by_name() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refusals = [
            (refusal(|model| model.intercept = value), "the intercept"),
            (refusal(|model| model.numeric[1].1 = value), "\"baths\""),
            (refusal(|model| model.categorical[1].1[2] = value), "\"air\""),
        ];
        for (error, words) in refusals {
            assert!(error.contains(words) && error.contains("not finite"), "{error:?} lacks {words:?}");
        }
        // Each way in checks for itself.
        let Case { schema, mut model, .. } = house(Link::Identity);
        model.numeric[0].1 = value;
        let not_finite = GlmError::NotFinite { feature: "area".into() };
        assert_eq!(model.encode(), Err(not_finite.clone()));
        assert_eq!(model.bind(&schema).err(), Some(not_finite.clone()));
        let bytes = house_bytes(|model| model.numeric[0].1 = value);
        assert_eq!(GeneralizedLinearModel::decode(&bytes), Err(not_finite));
    }
}

#[test]
fn another_version_or_an_unknown_link_is_refused_by_name() {
    let refusals = [
        (refusal(|model| model.v = 2), "version 2"),
        (refusal(|model| model.link = "probit".into()), "probit"),
    ];
    for (error, words) in refusals {
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}

#[test]
fn a_link_that_does_not_give_the_output_is_refused_by_name() {
    for (link, other) in [
        (Link::Identity, Link::Logit),
        (Link::Exp, Link::Logit),
        (Link::Logit, Link::Exp),
        (Link::Logit, Link::Identity),
    ] {
        let bytes = house(link).model.encode().unwrap();
        assert!(decode(&bytes, &house(link).schema).is_ok());
        let error = decode(&bytes, &house(other).schema).err().unwrap().to_string();
        assert!(error.contains("\"answer\"") && error.contains(&format!("{link:?}")), "{error}");
    }
    let Case { schema, model, .. } = house(Link::Identity);
    for outputs in [vec![], vec![output(Link::Identity), output(Link::Identity)]] {
        let words = format!("{} outputs", outputs.len());
        let schema = Arc::new(FeatureSchema { outputs, ..(*schema).clone() });
        let error = decode(&model.encode().unwrap(), &schema).err().unwrap().to_string();
        assert!(error.contains(&words), "{error}");
    }
}

#[test]
fn a_row_that_cannot_be_predicted_names_the_feature() {
    let Case { schema, model, .. } = house(Link::Logit);
    let model = model.bind(&schema).unwrap();
    let error = |row: &[f64]| model.predict(row, &mut [0.0]).unwrap_err();
    assert!(matches!(error(&[1.0, 0.0, 1.0]), PredictError::RowWidth { found: 3, expected: 4 }));
    for level in [2.0, -1.0, 0.5, f64::NAN, f64::INFINITY, 1e300] {
        let found = error(&[1.0, level, 1.0, 0.0]);
        assert!(matches!(found, PredictError::Category { feature: 1, levels: 2, .. }), "{found}");
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        // An infinite sum would have a finite probability.
        let found = error(&[1.0, 0.0, value, 0.0]);
        assert!(matches!(found, PredictError::NotFinite { feature: 2, .. }), "{found}");
    }
    assert!(matches!(error(&[f64::MAX, 0.0, -f64::MAX, 0.0]), PredictError::Overflow { output: 0 }));
    for room in [0, 2] {
        let found = model.predict(&[1.0, 0.0, 1.0, 0.0], &mut vec![0.0; room]).unwrap_err();
        assert!(matches!(found, PredictError::OutputWidth { expected: 1, .. }), "{found}");
    }
}

#[test]
fn an_amount_too_large_for_a_number_is_an_error() {
    let Case { schema, model, .. } = house(Link::Exp);
    let model = model.bind(&schema).unwrap();
    let found = model.predict(&[1e6, 0.0, 0.0, 0.0], &mut [0.0]).unwrap_err();
    assert!(matches!(found, PredictError::Overflow { output: 0 }), "{found}");
}
