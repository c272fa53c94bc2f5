//! Testing a service that predicts, without Kafka: the same handle, with a model made by hand.

use std::sync::Arc;

use modelcast::{
    LiveModel, LoadedModel,
    models::{GeneralizedLinearModel, Link},
    protocol::{
        Version,
        schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
    },
};

/// The service under test: what a house of this area is worth.
fn value_of(live: &LiveModel, area: f64) -> Option<f64> {
    let model = live.load()?;
    let mut outputs = [0.0];
    model.predict(&[area], &mut outputs).ok()?;
    Some(outputs[0])
}

/// A version that gives `weight` for each square metre.
fn version(number: u64, weight: f64) -> anyhow::Result<LoadedModel> {
    let kind = FeatureKind::Numeric(Numeric::default());
    let schema = FeatureSchema {
        features: vec![Feature { name: "area".into(), title: None, kind }],
        outputs: vec![Output {
            name: "price".into(),
            title: None,
            kind: OutputKind::Numeric { unit: Some("USD".into()) },
        }],
    };
    let numeric = vec![("area".to_owned(), weight)];
    let model = GeneralizedLinearModel { link: Link::Identity, intercept: 0.0, numeric, categorical: vec![] }
        .bind(&Arc::new(schema.clone()))?;
    let number = Version::new(number).expect("a version starts at 1");
    Ok(LoadedModel::fixed("property-value".parse()?, number, schema, Box::new(model))?)
}

fn main() -> anyhow::Result<()> {
    let live = LiveModel::fixed(version(1, 1_000.0)?)?;
    assert_eq!(value_of(&live, 100.0), Some(100_000.0));
    assert!(live.replace_fixed(version(2, 2_000.0)?).is_ok());
    assert_eq!(value_of(&live, 100.0), Some(200_000.0));
    Ok(())
}

#[test]
fn the_service_answers_with_the_version_that_is_live() {
    main().unwrap();
}
