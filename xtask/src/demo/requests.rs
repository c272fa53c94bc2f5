//! Requests that a model takes, made from its feature schema.
//!
//! Values go through the range seen in training and through all categories, so that answers differ.

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// Different requests for each model.
const COUNT: u32 = 16;

/// Bodies of Open Inference Protocol requests, one row each.
///
/// # Errors
/// When the schema is not one.
pub(super) fn requests(schema: &Value) -> anyhow::Result<Vec<Value>> {
    let features = schema.get("features").and_then(Value::as_array).context("the schema has no features")?;
    (0..COUNT).map(|n| request(features, n)).collect()
}

fn request(features: &[Value], n: u32) -> anyhow::Result<Value> {
    let inputs: anyhow::Result<Vec<Value>> = features.iter().map(|feature| input(feature, n)).collect();
    Ok(json!({ "inputs": inputs? }))
}

fn input(feature: &Value, n: u32) -> anyhow::Result<Value> {
    let name = feature.get("name").and_then(Value::as_str).context("a feature has no name")?;
    let (datatype, value) = if let Some(numeric) = feature.pointer("/kind/numeric") {
        ("FP64", number(numeric, n))
    } else if let Some(categorical) = feature.pointer("/kind/categorical") {
        ("BYTES", category(categorical, n).with_context(|| format!("{name} has no categories"))?)
    } else {
        bail!("{name} is neither a number nor a category");
    };
    Ok(json!({ "name": name, "datatype": datatype, "shape": [1, 1], "data": [value] }))
}

/// The typical value first, then steps through the range.
fn number(numeric: &Value, n: u32) -> Value {
    let end = |index: usize| numeric.get("range").and_then(|range| range.get(index)?.as_f64());
    let (low, high) = (end(0).unwrap_or(0.0), end(1).unwrap_or(1.0));
    let middle = low + (high - low) / 2.0;
    let typical = numeric.get("typical").and_then(Value::as_f64).unwrap_or(middle);
    let step = low + (high - low) * f64::from(n) / f64::from(COUNT);
    let value = if n == 0 { typical } else { step };
    let is_whole = numeric.get("whole").and_then(Value::as_bool) == Some(true);
    json!(if is_whole { value.round() } else { value })
}

fn category(categorical: &Value, n: u32) -> Option<Value> {
    let categories = categorical.get("categories")?.as_array()?;
    categories.iter().cycle().nth(usize::try_from(n).ok()?).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_differ_and_stay_within_the_schema() {
        let schema = json!({ "features": [
            { "name": "area", "kind": { "numeric": { "range": [10.0, 20.0], "typical": 12.5, "whole": false } } },
            { "name": "rooms", "kind": { "numeric": { "range": [1.0, 4.0], "whole": true } } },
            { "name": "zone", "kind": { "categorical": { "categories": ["a", "b"] } } },
        ]});
        let requests = requests(&schema).unwrap();
        let data = |request: usize, input: usize| &requests[request]["inputs"][input]["data"][0];
        assert_eq!(requests.len(), 16);
        assert_eq!((data(0, 0), data(0, 2)), (&json!(12.5), &json!("a")));
        assert_eq!((data(8, 0), data(1, 2)), (&json!(15.0), &json!("b")));
        for n in 0..16 {
            assert!((10.0..=20.0).contains(&data(n, 0).as_f64().unwrap()));
            assert_eq!(data(n, 1).as_f64().unwrap().fract(), 0.0);
        }
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        for schema in [json!({}), json!({"features": [{"name": "x", "kind": {}}]})] {
            assert!(requests(&schema).is_err(), "{schema}");
        }
    }
}
