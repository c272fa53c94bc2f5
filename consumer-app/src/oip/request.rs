//! An inference request as it was sent: JSON read under caps, with the place of what is wrong.
//!
//! Does not know the model (see `rows` for that).

use std::{borrow::Cow, fmt};

use modelcast_protocol::limits::{FEATURE_COUNT_MAX, OUTPUT_COUNT_MAX};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

use super::column::{Column, at};
use crate::refusal::{Refusal, clipped};

/// Most dimensions of a shape that are read; two are the most that fit a model.
pub(crate) const DIMENSIONS_MAX: usize = 8;
/// Most tensors of a request.
pub(crate) const INPUTS_MAX: usize = FEATURE_COUNT_MAX;
/// Most outputs that a request may name: each may have a label.
pub(crate) const OUTPUTS_MAX: usize = 2 * OUTPUT_COUNT_MAX;
/// Why a tensor in shared memory is refused.
pub(crate) const NO_SHARED_MEMORY: &str = "shared memory is not served: send the values in the request";
/// Why an output that is to be ranked is refused.
pub(crate) const NO_CLASSIFICATION: &str =
    "`classification` is not served: a probability has its label in an output of its own";

/// Longest `id`, which comes back in the answer: some digits, a UUID, or a path of a trace.
const ID_MAX_BYTES: usize = 1024;

/// The body of an inference request. Parameters that change no answer and fields of other versions of the protocol
/// are passed over; one that would change the answer and is not served is refused.
#[derive(Debug, Deserialize)]
pub struct InferRequest<'a> {
    /// Comes back in the answer.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// One tensor a feature, or one for all of them.
    #[serde(borrow)]
    pub inputs: List<Tensor<'a>>,
    /// The outputs wanted; all when there is no list or an empty one.
    #[serde(borrow, default)]
    pub outputs: Option<List<WantedOutput<'a>>>,
    /// What holds for all outputs.
    #[serde(default)]
    pub parameters: Option<RequestParameters>,
}

/// The parameters of a request that are read.
#[derive(Debug, Default, Deserialize)]
pub struct RequestParameters {
    /// Whether outputs that do not say otherwise are wanted as bytes behind the JSON.
    #[serde(default)]
    pub binary_data_output: bool,
}

/// One input tensor.
#[derive(Debug)]
pub struct Tensor<'a> {
    /// The feature's name.
    pub name: Cow<'a, str>,
    /// What it claims to be: trusted with no allocation.
    pub shape: Shape,
    /// Such as `FP64`.
    pub datatype: Cow<'a, str>,
    /// The values; none yet where they are bytes outside of the JSON.
    pub data: Column<'a>,
    /// How many bytes of values stand behind the JSON in place of `data`.
    pub binary_data_size: Option<usize>,
}

/// A tensor as JSON has it.
#[derive(Deserialize)]
struct WrittenTensor<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    shape: Shape,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Column<'a>>,
    #[serde(default)]
    parameters: Option<TensorParameters>,
}

#[derive(Default, Deserialize)]
struct TensorParameters {
    #[serde(default)]
    binary_data_size: Option<usize>,
    #[serde(default)]
    shared_memory_region: Option<IgnoredAny>,
}

/// One requested output.
#[derive(Debug, Deserialize)]
pub struct WantedOutput<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// In which form.
    #[serde(default)]
    pub parameters: Option<OutputParameters>,
}

/// The parameters of a requested output that are read.
#[derive(Debug, Default)]
pub struct OutputParameters {
    /// Whether it is wanted as bytes behind the JSON; if not said, as the whole request says.
    pub binary_data: Option<bool>,
}

#[derive(Deserialize)]
struct WrittenOutputParameters {
    #[serde(default)]
    binary_data: Option<bool>,
    #[serde(default)]
    classification: Option<IgnoredAny>,
    #[serde(default)]
    shared_memory_region: Option<IgnoredAny>,
}

/// The dimensions of a tensor.
#[derive(Debug)]
pub struct Shape(pub Vec<u64>);

/// A list of bounded length whose errors name the place.
#[derive(Debug)]
pub struct List<T>(pub Vec<T>);

/// What a list holds.
trait Listed {
    /// Where it stands, for errors.
    const FIELD: &'static str;
    /// The most of it.
    const MAX: usize;
}

impl Listed for Tensor<'_> {
    const FIELD: &'static str = "inputs";
    const MAX: usize = INPUTS_MAX;
}

impl Listed for WantedOutput<'_> {
    const FIELD: &'static str = "outputs";
    const MAX: usize = OUTPUTS_MAX;
}

impl<'a> InferRequest<'a> {
    /// Reads a request; copies no value that stands in the body as it is.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] with the place, the line and the column.
    pub fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Refusal::Malformed { cause: "it is empty".into() });
        }
        let request: Self = serde_json::from_slice(body).map_err(|error| Refusal::Malformed {
            cause: format!("{}{}", clipped(&error.to_string()), hint(body, &error)),
        })?;
        check_id(request.id.as_deref().unwrap_or_default())?;
        Ok(request)
    }
}

/// Whether an `id` may come back in the answer.
///
/// # Errors
/// [`Refusal::Malformed`].
pub(crate) fn check_id(id: &str) -> Result<(), Refusal> {
    if id.len() <= ID_MAX_BYTES {
        return Ok(());
    }
    Err(Refusal::Malformed { cause: format!("its `id` is longer than {ID_MAX_BYTES} bytes") })
}

impl<'de: 'a, 'a> Deserialize<'de> for Tensor<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WrittenTensor { name, shape, datatype, data, parameters } =
            WrittenTensor::deserialize(deserializer)?;
        let TensorParameters { binary_data_size, shared_memory_region } = parameters.unwrap_or_default();
        if shared_memory_region.is_some() {
            return Err(D::Error::custom(NO_SHARED_MEMORY));
        }
        let data = match (data, binary_data_size) {
            (Some(data), None) => data,
            (None, Some(_)) => Column::default(),
            (None, None) => return Err(D::Error::missing_field("data")),
            (Some(_), Some(_)) => return Err(D::Error::custom("has `data` and `binary_data_size` at once")),
        };
        Ok(Self { name, shape, datatype, data, binary_data_size })
    }
}

impl<'de> Deserialize<'de> for OutputParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = WrittenOutputParameters::deserialize(deserializer)?;
        if written.classification.is_some() {
            return Err(D::Error::custom(NO_CLASSIFICATION));
        }
        if written.shared_memory_region.is_some() {
            return Err(D::Error::custom(NO_SHARED_MEMORY));
        }
        Ok(Self { binary_data: written.binary_data })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ListVisitor::<u64> { field: "shape", max: DIMENSIONS_MAX, items: Vec::new() };
        deserializer.deserialize_seq(visitor).map(Self)
    }
}

impl<'de, T: Deserialize<'de> + Listed> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ListVisitor::<T> { field: T::FIELD, max: T::MAX, items: Vec::new() };
        deserializer.deserialize_seq(visitor).map(Self)
    }
}

struct ListVisitor<T> {
    field: &'static str,
    max: usize,
    items: Vec<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the list `{}`", self.field)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Vec<T>, A::Error> {
        loop {
            let index = self.items.len();
            let item =
                list.next_element().map_err(|error| at(format_args!("{}[{index}]", self.field), &error));
            let Some(item) = item? else { return Ok(self.items) };
            if index >= self.max {
                return Err(A::Error::custom(format_args!(
                    "`{}` has more than {} items",
                    self.field, self.max
                )));
            }
            self.items.push(item);
        }
    }
}

/// What Python writes for numbers that JSON does not have.
fn hint(body: &[u8], error: &serde_json::Error) -> &'static str {
    let line = body.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let rest = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    let found =
        [&b"NaN"[..], b"Infinity", b"-Infinity", b"nfinity", b"I"].iter().any(|word| rest.starts_with(word));
    if found { " (JSON has no NaN and no Infinity: values must be finite)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(rest: &str) -> String {
        format!(r#"{{"inputs": [{{"name": "x", {rest}}}]}}"#)
    }

    fn cause(json: &str) -> String {
        InferRequest::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_request_is_read_and_fields_of_other_versions_are_passed_over() {
        let json = r#"{"id": "7", "parameters": {"a": [1]}, "inputs":
            [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1], "parameters": {}, "later": 1}],
            "outputs": [{"name": "y", "parameters": {"binary_data": false}}]}"#;
        let request = InferRequest::parse(json.as_bytes()).unwrap();
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.inputs.0[0].shape.to_string(), "[1, 1]");
        assert_eq!(request.outputs.unwrap().0[0].name, "y");
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_place() {
        let good = r#""shape": [1], "datatype": "FP64", "data": "#;
        let long = format!("[{}]", ["1"; 9].join(","));
        let rows = [
            (String::new(), "it is empty"),
            ("  \n".into(), "it is empty"),
            ("area=3".into(), "line 1 column 1"),
            ("{\n\"inputs\": [,]}".into(), "line 2"),
            ("{}".into(), "missing field `inputs`"),
            (r#"{"inputs": 3}"#.into(), "the list `inputs`"),
            (tensor(r#""shape": [1], "datatype": "FP64""#), "inputs[0]: missing field `data`"),
            (tensor(r#""shape": [-1], "datatype": "FP64", "data": [1]"#), "inputs[0]: shape[0]"),
            (tensor(&format!(r#""shape": {long}, "datatype": "FP64", "data": [1]"#)), "more than 8 items"),
            (tensor(&format!("{good}[1, 1e999]")), "inputs[0]: data[1]: number out of range"),
            (tensor(&format!("{good}[1, NaN]")), "JSON has no NaN"),
            (tensor(&format!("{good}[1, Infinity]")), "JSON has no NaN and no Infinity"),
            (tensor(&format!("{good}[1, -Infinity]")), "JSON has no NaN and no Infinity"),
            (tensor(&format!("{good}[null]")), "data[0]: null"),
            (tensor(&format!("{good}[1], {good}[1]")), "duplicate field `shape`"),
        ];
        for (json, words) in rows {
            let cause = cause(&json);
            assert!(cause.contains(words), "{json}: {cause}");
        }
        let many = format!(r#"{{"inputs": [], "outputs": [{}]}}"#, vec![r#"{"name":"y"}"#; 600].join(","));
        assert!(cause(&many).contains("more than 512 items"), "{}", cause(&many));
    }
}
