//! A model with standardisation folded in agrees with the computation on standardised columns.

use modelcast_models::{GeneralizedLinearModel, GlmBuilder, Link, glm::Scaled};
use modelcast_protocol::schema::FeatureSchema;
use proptest::{collection::vec, prelude::*};

use crate::cases::{categorical, link, numeric, output, predict};

/// Weight, deviation, mean in deviations, and the value of a row in deviations from the mean.
type Column = (f64, f64, f64, f64);

fn columns() -> impl Strategy<Value = Vec<Column>> {
    vec((-1.0..1.0, 1e-3..1e3, -10.0..10.0, -5.0..5.0), 1..31)
}

fn scaled(&(weight, deviation, mean, _): &Column) -> Scaled {
    Scaled { weight, mean: mean * deviation, deviation }
}

fn value(column: &Column) -> f64 {
    let Scaled { mean, deviation, .. } = scaled(column);
    mean + column.3 * deviation
}

/// The same row's part of the sum, computed the trainer's way.
fn unfolded(column: &Column) -> f64 {
    let Scaled { weight, mean, deviation } = scaled(column);
    weight * ((value(column) - mean) / deviation)
}

proptest! {
    #[test]
    fn a_folded_model_agrees_with_the_unfolded_computation(
        columns in columns(), intercept in -10.0..10.0, link in link()
    ) {
        let names: Vec<_> = (0..columns.len()).map(|index| format!("f{index}")).collect();
        let features = names.iter().map(|name| numeric(name, None)).collect();
        let schema = FeatureSchema { features, outputs: vec![output(link)] };
        let named = names.into_iter().zip(columns.iter().map(scaled));
        let model = GeneralizedLinearModel::from_standardized(link, intercept, named, []).unwrap();
        let row: Vec<_> = columns.iter().map(value).collect();
        let expected = link.mean(intercept + columns.iter().map(unfolded).sum::<f64>());
        let found = predict(&model.bind(&schema).unwrap(), &row);
        prop_assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{} {}", found, expected);
    }

    #[test]
    fn scaled_one_hot_columns_fold_into_the_levels(
        columns in vec((-1.0..1.0, 0.1..0.5, 0.01..0.99), 2..6), level in 0..2_usize
    ) {
        // The first level is the reference and has no column.
        let columns: Vec<_> =
            columns.into_iter().map(|(weight, deviation, mean)| Scaled { weight, mean, deviation }).collect();
        let texts = ["a", "b", "c", "d", "e", "f"];
        let schema = FeatureSchema {
            features: vec![categorical("c", &texts[..=columns.len()], false)],
            outputs: vec![output(Link::Identity)],
        };
        let levels = std::iter::once(None).chain(columns.iter().copied().map(Some));
        let model = GlmBuilder::new(Link::Identity, 1.0).standardized_category("c", levels).build().unwrap();
        let hot = |index: usize| if index + 1 == level { 1.0 } else { 0.0 };
        let terms = columns.iter().enumerate().map(|(index, column)| {
            column.weight * ((hot(index) - column.mean) / column.deviation)
        });
        let expected = 1.0 + terms.sum::<f64>();
        let place = f64::from(u32::try_from(level).unwrap());
        let found = predict(&model.bind(&schema).unwrap(), &[place]);
        prop_assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{} {}", found, expected);
    }
}
