//! A service that carries its model with it: compiled in, admitted at the start, no Kafka anywhere.
//!
//! `modelcast pull MODEL --out FILE` writes the file. The one here is test data, signed by a test key.

use std::io::Write as _;

use modelcast::{
    LoadedModel,
    admission::Policy,
    models::Value,
    protocol::{
        key::{PublicKey, TrustedKeys},
        schema::FeatureKind,
    },
};

static MODEL: &[u8] = include_bytes!("../testdata/property-value.modelcast");
static KEY: &str = include_str!("../testdata/test-only.pub.pem");

/// Signatures, digests and golden rows are checked here; a file that is not good never predicts.
fn load() -> anyhow::Result<LoadedModel> {
    let keys = TrustedKeys::new([PublicKey::from_pem(KEY)?])?;
    Ok(LoadedModel::embedded(MODEL, &keys, &Policy::standard())?)
}

/// What a typical house would be worth with this living area.
fn value_of(model: &LoadedModel, area: f64) -> anyhow::Result<f64> {
    let values = model.schema().features.iter().map(|feature| {
        let value = match &feature.kind {
            FeatureKind::Numeric(_) if feature.name == "Gr_Liv_Area" => Value::Number(area),
            FeatureKind::Numeric(numeric) => Value::Number(numeric.typical.unwrap_or(0.0)),
            FeatureKind::Categorical(categorical) => {
                Value::Category(categorical.typical.as_deref().unwrap_or("other"))
            }
        };
        (feature.name.as_str(), value)
    });
    let (mut row, mut outputs) = (Vec::new(), [0.0]);
    model.encoder().encode_row(values, &mut row)?;
    model.predict(&row, &mut outputs)?;
    Ok(outputs[0])
}

fn main() -> anyhow::Result<()> {
    let model = load()?;
    let (name, version, digest) = (model.name(), model.version(), model.digest());
    let value = value_of(&model, 1500.0)?;
    writeln!(std::io::stdout(), "{value:.0} USD, says {name} version {version} ({digest})")?;
    Ok(())
}

#[test]
fn the_service_answers_with_the_model_that_it_carries() {
    let model = load().unwrap();
    assert_eq!((model.name().as_str(), model.version().get()), ("property-value", 1));
    let (small, large) = (value_of(&model, 1000.0).unwrap(), value_of(&model, 2000.0).unwrap());
    assert!(50_000.0 < small && small < large && large < 500_000.0, "{small} and {large}");
    main().unwrap();
}
