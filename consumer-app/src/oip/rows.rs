//! From the tensors of a request to the rows of one model, each value checked on the way.
//!
//! Does not predict (see `infer`).
//!
//! # Invariants
//! * Nothing is allocated by a declared shape: rows are made only after each tensor holds as many values as it says.
//! * Each error names the tensor or feature, and the row where there is one.

use std::{collections::HashMap, fmt};

use modelcast::LoadedModel;
use modelcast_models::{RowEncoder, Unusual};
use modelcast_protocol::schema::FeatureKind;

use super::{
    column::Values,
    datatype::Datatype,
    request::{Shape, Tensor},
};
use crate::{
    refusal::{Refusal, shortened},
    warnings::listed,
};

/// Rows of one model, row after row, with what there is to warn of.
#[derive(Debug)]
pub struct Rows {
    /// `count * width` values.
    pub values: Vec<f64>,
    /// How many rows.
    pub count: usize,
    /// What a caller should know about single rows.
    pub warnings: Vec<String>,
}

/// Encodes the tensors of a request for `model`.
///
/// # Errors
/// [`Refusal`] for the first thing that does not fit; more than `rows_max` rows are refused before anything else.
pub fn encode(tensors: &[Tensor<'_>], model: &LoadedModel, rows_max: usize) -> Result<Rows, Refusal> {
    let count = row_count(tensors, rows_max)?;
    let encoder = model.encoder();
    let values = match tensors {
        [tensor] if is_matrix(tensor, encoder) => encode_matrix(tensor, encoder, count)?,
        _ => encode_columns(tensors, encoder, count)?,
    };
    let warnings = warnings(&values, encoder);
    Ok(Rows { values, count, warnings })
}

/// The rows that all tensors agree on, by their shapes alone.
///
/// # Errors
/// [`Refusal`] for more than `rows_max`, none, or a tensor that has not as many as the others.
pub(crate) fn row_count(tensors: &[Tensor<'_>], rows_max: usize) -> Result<usize, Refusal> {
    let Some(first) = tensors.first() else {
        return Err(Refusal::Malformed { cause: "`inputs` is an empty list".into() });
    };
    let rows = leading(first)?;
    for tensor in tensors {
        let found = leading(tensor)?;
        if found > as_u64(rows_max) {
            return Err(Refusal::TooManyRows { rows: found, max: rows_max });
        }
        if found != rows {
            let cause = format!("has {found} rows and tensor {:?} has {rows}", shortened(&first.name));
            return Err(Refusal::tensor(&tensor.name, cause));
        }
    }
    match usize::try_from(rows) {
        Ok(0) | Err(_) => Err(Refusal::tensor(&first.name, "has no rows")),
        Ok(rows) => Ok(rows),
    }
}

fn leading(tensor: &Tensor<'_>) -> Result<u64, Refusal> {
    let rows = tensor.shape.0.first().copied();
    rows.ok_or_else(|| Refusal::tensor(&tensor.name, "has the shape [], and [rows, 1] is wanted"))
}

/// Whether a request's only tensor is all features side by side, not one feature by its name.
fn is_matrix(tensor: &Tensor<'_>, encoder: &RowEncoder) -> bool {
    encoder.schema().feature(&tensor.name).is_none() && tensor.shape.0.len() == 2
}

fn encode_matrix(tensor: &Tensor<'_>, encoder: &RowEncoder, count: usize) -> Result<Vec<f64>, Refusal> {
    let refuse = |cause| Err(Refusal::tensor(&tensor.name, cause));
    let features = &encoder.schema().features;
    if let Some(other) = features.iter().find(|feature| matches!(feature.kind, FeatureKind::Categorical(_))) {
        let cause = "is no feature, and cannot be all of them, since";
        return refuse(format!("{cause} feature {:?} is a category: send one tensor a feature", other.name));
    }
    let width = encoder.width();
    if tensor.shape.0.last() != Some(&as_u64(width)) {
        return refuse(format!("is no feature, and its shape {} is not [rows, {width}]", tensor.shape));
    }
    if tensor.data.inner_len.is_some_and(|len| len != width) {
        return refuse(format!("its inner lists are not of the {width} values that its shape says"));
    }
    let numbers = numbers(tensor, count.saturating_mul(width))?;
    let datatype = Datatype::of_numbers(tensor)?;
    let mut values = Vec::with_capacity(numbers.len());
    for (index, &value) in numbers.iter().enumerate() {
        let (row, feature) = (index / width, index % width); // a schema has at least one feature
        let value = datatype.check(value).map_err(|cause| {
            let name = features.get(feature).map(|feature| feature.name.as_str()).unwrap_or_default();
            Refusal::tensor(&tensor.name, format!("row {row}, feature {name:?}: {cause}"))
        })?;
        values.push(encoder.encode_number(feature, value).map_err(|source| Refusal::Value { row, source })?);
    }
    Ok(values)
}

fn encode_columns(tensors: &[Tensor<'_>], encoder: &RowEncoder, count: usize) -> Result<Vec<f64>, Refusal> {
    let by_feature = match_features(tensors, encoder)?;
    for tensor in &by_feature {
        check_column(tensor, count)?;
    }
    let width = encoder.width();
    let mut values = vec![0.0; count.saturating_mul(width)];
    for (feature, tensor) in by_feature.into_iter().enumerate() {
        let to = values.iter_mut().skip(feature).step_by(width);
        encode_column(tensor, feature, encoder, to)?;
    }
    Ok(values)
}

/// The tensors in the schema's order.
fn match_features<'t, 'a>(
    tensors: &'t [Tensor<'a>],
    encoder: &RowEncoder,
) -> Result<Vec<&'t Tensor<'a>>, Refusal> {
    let features = &encoder.schema().features;
    let mut by_name: HashMap<&str, &Tensor<'_>> = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        if by_name.insert(&tensor.name, tensor).is_some() {
            return Err(Refusal::tensor(&tensor.name, "stands there twice"));
        }
    }
    let found: Vec<_> = features.iter().filter_map(|feature| by_name.remove(feature.name.as_str())).collect();
    let stranger = tensors.iter().find(|tensor| by_name.contains_key(tensor.name.as_ref()));
    if let Some(stranger) = stranger {
        return Err(Refusal::tensor(&stranger.name, unknown_feature(&stranger.name, encoder)));
    }
    let given = |name: &str| found.iter().any(|tensor| tensor.name == name);
    if found.len() < features.len() {
        let mut missing = features.iter().filter(|feature| !given(&feature.name));
        let feature = missing.next().map(|feature| feature.name.clone()).unwrap_or_default();
        return Err(Refusal::Missing { feature, more: missing.count() });
    }
    Ok(found)
}

/// What the encoder says of a name that it does not know: with the names near it.
fn unknown_feature(name: &str, encoder: &RowEncoder) -> String {
    let value = modelcast_models::Value::Number(0.0);
    match encoder.encode_row([(name, value)], &mut Vec::new()) {
        Err(error) => error.to_string(),
        Ok(()) => "is no feature".to_owned(),
    }
}

/// Whether a tensor is one column of `count` values.
fn check_column(tensor: &Tensor<'_>, count: usize) -> Result<(), Refusal> {
    let Shape(shape) = &tensor.shape;
    let one_column = matches!(shape.as_slice(), [_] | [_, 1]);
    if !one_column {
        let cause = format!("has the shape {}, and [rows, 1] is wanted", tensor.shape);
        return Err(Refusal::tensor(&tensor.name, cause));
    }
    if tensor.data.inner_len.is_some_and(|len| len != 1 || shape.len() == 1) {
        return Err(Refusal::tensor(
            &tensor.name,
            "its inner lists do not have the length that its shape says",
        ));
    }
    check_len(tensor, count)
}

fn check_len(tensor: &Tensor<'_>, expected: usize) -> Result<(), Refusal> {
    let found = tensor.data.values.count();
    if found == expected {
        Ok(())
    } else {
        let cause = format!("has {found} values, and its shape {} says {expected}", tensor.shape);
        Err(Refusal::tensor(&tensor.name, cause))
    }
}

fn numbers<'t>(tensor: &'t Tensor<'_>, expected: usize) -> Result<&'t [f64], Refusal> {
    check_len(tensor, expected)?;
    match &tensor.data.values {
        Values::Numbers(values) => Ok(values),
        Values::Empty | Values::Texts(_) => {
            Err(Refusal::tensor(&tensor.name, "holds texts, and numbers are wanted"))
        }
    }
}

fn encode_column<'v>(
    tensor: &Tensor<'_>,
    feature: usize,
    encoder: &RowEncoder,
    to: impl Iterator<Item = &'v mut f64>,
) -> Result<(), Refusal> {
    let kind = encoder.schema().features.get(feature).map(|feature| &feature.kind);
    match (kind, &tensor.data.values) {
        (Some(FeatureKind::Numeric(_)), Values::Numbers(values)) => {
            let datatype = Datatype::of_numbers(tensor)?;
            for (row, (to, &value)) in to.zip(values).enumerate() {
                let value = datatype
                    .check(value)
                    .map_err(|cause| Refusal::tensor(&tensor.name, format!("row {row}: {cause}")))?;
                *to =
                    encoder.encode_number(feature, value).map_err(|source| Refusal::Value { row, source })?;
            }
            Ok(())
        }
        (Some(FeatureKind::Categorical(_)), Values::Texts(values)) => {
            Datatype::of_texts(tensor)?;
            for (row, (to, value)) in to.zip(values).enumerate() {
                *to = encoder
                    .encode_category(feature, value)
                    .map_err(|source| Refusal::Value { row, source })?;
            }
            Ok(())
        }
        (Some(FeatureKind::Numeric(_)), _) => {
            Datatype::of_numbers(tensor)?;
            Err(Refusal::tensor(&tensor.name, "the feature takes numbers, and row 0 is a text"))
        }
        (Some(FeatureKind::Categorical(_)), _) => {
            Datatype::of_texts(tensor)?;
            Err(Refusal::tensor(&tensor.name, "the feature takes texts, and row 0 is a number"))
        }
        (None, _) => Err(Refusal::tensor(&tensor.name, "is no feature")),
    }
}

/// Values outside the range seen in training, and categories that were not seen in it: answered, and named.
fn warnings(values: &[f64], encoder: &RowEncoder) -> Vec<String> {
    let rows = values.chunks_exact(encoder.width().max(1)).enumerate();
    let of_row = |(row, values)| encoder.unusual(values).map(move |unusual| (row, unusual));
    // Told apart from its words, which are made only for those that are listed.
    let in_words = |(row, unusual)| InRow { row, unusual };
    listed(rows.flat_map(of_row).map(in_words))
}

struct InRow<'s> {
    row: usize,
    unusual: Unusual<'s>,
}

impl fmt::Display for InRow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: {}", self.row, self.unusual)
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
