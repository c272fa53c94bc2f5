//! Schemas with models and rows that fit them: made up by proptest, and one by hand.

use std::sync::Arc;

use modelcast_models::{
    DecodeContext, DecodeError, Decoder, GeneralizedLinearModel, GlmDecoder, Link, Model,
};
use modelcast_protocol::schema::{
    Categorical, Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind,
};
use proptest::{collection::vec, prelude::*};

/// A model that fits a schema, with encoded rows.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) schema: Arc<FeatureSchema>,
    pub(crate) model: GeneralizedLinearModel,
    pub(crate) rows: Vec<Vec<f64>>,
}

pub(crate) fn numeric(name: &str, range: Option<(f64, f64)>) -> Feature {
    let kind = FeatureKind::Numeric(Numeric { range, ..Numeric::default() });
    Feature { name: name.into(), title: None, kind }
}

pub(crate) fn categorical(name: &str, categories: &[&str], other: bool) -> Feature {
    let categories = categories.iter().map(|&category| category.into()).collect();
    let kind = FeatureKind::Categorical(Categorical { categories, other, typical: None });
    Feature { name: name.into(), title: None, kind }
}

pub(crate) fn output(link: Link) -> Output {
    let kind = match link {
        Link::Logit => {
            OutputKind::Probability { positive: "yes".into(), negative: "no".into(), threshold: 0.5 }
        }
        Link::Identity | Link::Exp => OutputKind::Numeric { unit: None },
    };
    Output { name: "answer".into(), title: None, kind }
}

/// `area` (30 to 500), `zone` (town, village), `baths`, `air` (no, yes, other) -> `answer`.
pub(crate) fn house(link: Link) -> Case {
    let features = vec![
        numeric("area", Some((30.0, 500.0))),
        categorical("zone", &["town", "village"], false),
        numeric("baths", None),
        categorical("air", &["no", "yes"], true),
    ];
    let schema = FeatureSchema { features, outputs: vec![output(link)] };
    schema.validate().unwrap();
    let model = GeneralizedLinearModel {
        link,
        intercept: 0.5,
        numeric: vec![("area".into(), 0.25), ("baths".into(), -2.0)],
        categorical: vec![("zone".into(), vec![1.0, 2.0]), ("air".into(), vec![0.0, 4.0, 8.0])],
    };
    Case { schema: Arc::new(schema), model, rows: vec![vec![8.0, 1.0, 3.0, 2.0], vec![4.0, 0.0, 1.0, 0.0]] }
}

pub(crate) fn link() -> impl Strategy<Value = Link> {
    prop_oneof![Just(Link::Identity), Just(Link::Logit), Just(Link::Exp)]
}

/// None is numeric; else how many categories, and whether there is `other`.
type Shape = Option<(usize, bool)>;

/// Up to 40 features: more than one turn of the eight lanes that ndarray sums in.
fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    vec(prop_oneof![2 => Just(None), 1 => (1..5_usize, any::<bool>()).prop_map(Some)], 1..40)
}

/// Any case whose weights come from `weight`; values of rows lie between -4 and 4.
pub(crate) fn case<W: Strategy<Value = f64> + Clone>(weight: W) -> impl Strategy<Value = Case> {
    let parts = shapes().prop_flat_map(move |shapes| {
        let weights: Vec<_> = shapes.iter().map(|shape| vec(weight.clone(), levels(*shape))).collect();
        let row: Vec<_> = shapes.iter().map(|shape| value(*shape)).collect();
        (Just(shapes), weights, vec(row, 0..6), weight.clone(), link())
    });
    parts.prop_map(|(shapes, weights, rows, intercept, link)| {
        let names = (0..shapes.len()).map(|index| format!("f{index}"));
        let features = names.clone().zip(&shapes).map(|(name, shape)| feature(&name, *shape)).collect();
        let schema = Arc::new(FeatureSchema { features, outputs: vec![output(link)] });
        schema.validate().unwrap();
        let mut model = GeneralizedLinearModel { link, intercept, numeric: vec![], categorical: vec![] };
        for ((name, shape), weights) in names.zip(&shapes).zip(weights) {
            match shape {
                None => model.numeric.push((name, weights[0])),
                Some(_) => model.categorical.push((name, weights)),
            }
        }
        Case { schema, model, rows }
    })
}

fn levels(shape: Shape) -> usize {
    shape.map_or(1, |(categories, other)| categories + usize::from(other))
}

fn value(shape: Shape) -> BoxedStrategy<f64> {
    match shape {
        None => (-4.0..4.0).boxed(),
        Some(_) => (0..u32::try_from(levels(shape)).unwrap()).prop_map(f64::from).boxed(),
    }
}

fn feature(name: &str, shape: Shape) -> Feature {
    let texts = ["a", "b", "c", "d"];
    shape.map_or_else(|| numeric(name, None), |(count, other)| categorical(name, &texts[..count], other))
}

/// Decodes bytes as an application does.
pub(crate) fn decode(bytes: &[u8], schema: &Arc<FeatureSchema>) -> Result<Box<dyn Model>, DecodeError> {
    let size_bytes = bytes.len() as u64;
    let context = DecodeContext { schema, size_bytes, required_features: &[] };
    let mut artifact = bytes;
    GlmDecoder.decode(&mut artifact, &context)
}

/// The one output of a row.
pub(crate) fn predict(model: &dyn Model, row: &[f64]) -> f64 {
    let mut outputs = [f64::NAN];
    model.predict(row, &mut outputs).unwrap();
    outputs[0]
}
