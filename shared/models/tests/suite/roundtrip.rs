//! An artifact gives back the model that was encoded, and a row has one prediction, however it is asked for.

use std::sync::Arc;

use modelcast_models::{GeneralizedLinearModel, Link};
use modelcast_protocol::{
    codec::{self, Record},
    limits::CATEGORY_COUNT_MAX,
    schema::FeatureSchema,
};
use ndarray::{Array2, Axis, ShapeBuilder};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cases::{Case, case, categorical, decode, house, output, predict};

fn any_finite() -> impl Strategy<Value = f64> + Clone {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
}

/// What a later writer of the same major version may add.
#[derive(Serialize, Deserialize)]
struct Later {
    v: u16,
    link: Link,
    intercept: f64,
    dispersion: Vec<f64>,
    numeric: Vec<(String, f64)>,
    categorical: Vec<(String, Vec<f64>)>,
}

impl Record for Later {
    const VERSION: u16 = 1;
    const NOUN: &'static str = "test";
}

#[test]
fn a_field_that_a_later_writer_adds_is_skipped() {
    let Case { model, .. } = house(Link::Exp);
    let GeneralizedLinearModel { link, intercept, numeric, categorical } = model.clone();
    let later = Later { v: 1, link, intercept, dispersion: vec![1.0], numeric, categorical };
    assert_eq!(GeneralizedLinearModel::decode(&codec::encode(&later).unwrap()), Ok(model));
}

#[test]
fn the_cap_leaves_room_for_every_level_of_a_wide_schema() {
    let texts: Vec<_> = (0..CATEGORY_COUNT_MAX).map(|index| format!("category {index}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let names: Vec<_> = (0..16).map(|index| format!("feature {index}")).collect();
    let features = names.iter().map(|name| categorical(name, &texts, true)).collect();
    let schema = Arc::new(FeatureSchema { features, outputs: vec![output(Link::Exp)] });
    let levels = names.into_iter().map(|name| (name, vec![0.1; CATEGORY_COUNT_MAX + 1])).collect();
    let model =
        GeneralizedLinearModel { link: Link::Exp, intercept: 0.0, numeric: vec![], categorical: levels };
    assert!(decode(&model.encode().unwrap(), &schema).is_ok());
}

proptest! {
    #[test]
    fn any_finite_model_reads_back_bit_for_bit(case in case(any_finite())) {
        let bytes = case.model.encode().unwrap();
        let decoded = GeneralizedLinearModel::decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &case.model);
        // Equal bytes say more than equal values: the sign of a zero counts too.
        prop_assert_eq!(decoded.encode().unwrap(), bytes.clone());
        prop_assert!(decode(&bytes, &case.schema).is_ok(), "the cap refuses what was encoded");
    }

    #[test]
    fn a_decoded_model_predicts_the_bits_of_the_encoded_one(case in case(-4.0..4.0)) {
        let bound = case.model.bind(&case.schema).unwrap();
        let decoded = decode(&case.model.encode().unwrap(), &case.schema).unwrap();
        for row in &case.rows {
            prop_assert_eq!(predict(&bound, row).to_bits(), predict(&*decoded, row).to_bits());
        }
    }

    #[test]
    fn the_order_in_which_weights_are_written_does_not_matter(case in case(-4.0..4.0)) {
        let mut reversed = case.model.clone();
        reversed.numeric.reverse();
        reversed.categorical.reverse();
        let (one, other) = (case.model.bind(&case.schema).unwrap(), reversed.bind(&case.schema).unwrap());
        for row in &case.rows {
            prop_assert_eq!(predict(&one, row).to_bits(), predict(&other, row).to_bits());
        }
    }

    #[test]
    fn single_and_batch_agree_bit_for_bit_in_any_layout(case in case(-4.0..4.0)) {
        let model = decode(&case.model.encode().unwrap(), &case.schema).unwrap();
        let shape = (case.rows.len(), case.schema.features.len());
        let by_row = Array2::from_shape_vec(shape, case.rows.concat()).unwrap();
        let mut by_column = Array2::zeros(shape.f());
        by_column.assign(&by_row);
        let mut backwards = by_row.clone();
        backwards.invert_axis(Axis(1));
        let mut mirrored = backwards.as_standard_layout().into_owned();
        mirrored.invert_axis(Axis(1));
        let single: Vec<_> = case.rows.iter().map(|row| predict(&*model, row).to_bits()).collect();
        for rows in [by_row, by_column, mirrored] {
            let mut outputs = Array2::from_elem((shape.0, 1), f64::NAN);
            model.predict_batch(rows.view(), outputs.view_mut()).unwrap();
            let batch: Vec<_> = outputs.iter().map(|output| output.to_bits()).collect();
            prop_assert_eq!(&single, &batch);
        }
    }

    #[test]
    fn a_prediction_is_the_link_of_the_sum_of_weights(case in case(-1.0..1.0)) {
        let model = case.model.bind(&case.schema).unwrap();
        for row in &case.rows {
            let mut sum = case.model.intercept;
            for (feature, weight) in &case.model.numeric {
                sum += weight * row[case.schema.feature(feature).unwrap().0];
            }
            for (feature, weights) in &case.model.categorical {
                let level = row[case.schema.feature(feature).unwrap().0];
                sum += weights.iter().zip(0_u32..).find(|(_, index)| f64::from(*index) == level).unwrap().0;
            }
            let expected = case.model.link.mean(sum);
            let found = predict(&model, row);
            prop_assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{} {}", found, expected);
        }
    }
}
