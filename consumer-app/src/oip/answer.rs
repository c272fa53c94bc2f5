//! The answer to an inference request: which outputs, in which form.
//!
//! # Invariants
//! * All that an answer says comes from the one snapshot that it was predicted with.
//! * Numbers are written in the shortest form that reads back to the same bits.

use std::borrow::Cow;

use modelcast::LoadedModel;
use modelcast_models::label;
use modelcast_protocol::{
    Digest, Generation, ModelName,
    schema::{FeatureSchema, Output, OutputKind},
};
use serde::{Serialize, Serializer};

use super::{
    raw,
    request::{List, WantedOutput},
};
use crate::refusal::{Refusal, shortened};

/// What is after an output's name in the name of its label.
pub const LABEL_SUFFIX: &str = "_label";

/// What a request is answered with, before it is written in the form that its caller reads.
#[derive(Debug)]
pub(crate) struct Prediction<'m> {
    /// The snapshot that predicted.
    pub(crate) model: &'m LoadedModel,
    /// All outputs of all rows, row after row.
    pub(crate) values: Vec<f64>,
    /// How many rows.
    pub(crate) count: usize,
    /// The tensors to answer with.
    pub(crate) wanted: Vec<Wanted>,
    /// What a caller should know about single rows.
    pub(crate) warnings: Vec<String>,
}

/// One output tensor: a view into a prediction.
#[derive(Debug)]
pub(crate) struct OutputTensor<'p> {
    /// Its name.
    pub(crate) name: Cow<'p, str>,
    /// `FP64` or `BYTES`.
    pub(crate) datatype: &'static str,
    /// Its values.
    pub(crate) data: Data<'p>,
}

/// One output of all rows, written without a copy.
#[derive(Debug)]
pub(crate) struct Data<'p> {
    predictions: &'p [f64],
    width: usize,
    place: usize,
    kind: Option<&'p OutputKind>,
}

/// The JSON of an answer.
#[derive(Debug, Serialize)]
struct Answer<'p> {
    model_name: &'p ModelName,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'p str>,
    parameters: Parameters<'p>,
    outputs: Vec<WrittenTensor<'p>>,
}

#[derive(Debug, Serialize)]
struct Parameters<'p> {
    digest: Digest,
    generation: Generation,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'p [String],
}

#[derive(Debug, Serialize)]
struct WrittenTensor<'p> {
    name: Cow<'p, str>,
    shape: [usize; 2],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'p>>,
}

#[derive(Debug, Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// The body of an answer over REST.
#[derive(Debug)]
pub(super) struct Written {
    /// JSON, and behind it the outputs that were wanted as bytes.
    pub(super) bytes: Vec<u8>,
    /// How much of it is JSON; none when all is.
    pub(super) json_len: Option<usize>,
}

/// Which of a model's tensors are wanted: places among its outputs, each as a value or as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The value of that output.
    Value(usize),
    /// The label of that output.
    Label(usize),
}

/// The tensors to answer with: those asked for in their order, else all.
///
/// # Errors
/// [`Refusal::Output`] for one that the model does not have or that is asked for twice.
pub fn wanted(
    asked: Option<&List<WantedOutput<'_>>>,
    schema: &FeatureSchema,
) -> Result<Vec<Wanted>, Refusal> {
    let all: Vec<(Cow<'_, str>, Wanted)> = tensors(schema).map(|(name, _, wanted)| (name, wanted)).collect();
    let asked = asked.map(|list| list.0.as_slice()).unwrap_or_default();
    if asked.is_empty() {
        return Ok(all.into_iter().map(|(_, wanted)| wanted).collect());
    }
    let mut found = Vec::with_capacity(asked.len().min(all.len()));
    for output in asked {
        let refuse = |cause| Refusal::Output { name: shortened(&output.name), cause };
        let (_, wanted) = all.iter().find(|(name, _)| *name == output.name).ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|(name, _)| name.as_ref()).collect();
            refuse(format!("is not there; there is {}", shortened(&known.join(", "))))
        })?;
        if found.contains(wanted) {
            return Err(refuse("is asked for twice".to_owned()));
        }
        found.push(*wanted);
    }
    Ok(found)
}

/// The output tensors of a model: name, datatype and what it holds.
pub fn tensors(schema: &FeatureSchema) -> impl Iterator<Item = (Cow<'_, str>, &'static str, Wanted)> {
    schema.outputs.iter().enumerate().flat_map(|(place, output)| {
        let value = (Cow::Borrowed(output.name.as_str()), "FP64", Wanted::Value(place));
        let label = matches!(output.kind, OutputKind::Probability { .. })
            .then(|| (Cow::Owned(label_name(output)), "BYTES", Wanted::Label(place)));
        std::iter::once(value).chain(label)
    })
}

impl Prediction<'_> {
    /// The tensors to answer with, in their order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = OutputTensor<'_>> {
        let outputs = &self.model.schema().outputs;
        self.wanted.iter().filter_map(|wanted| {
            let (place, is_label) = match *wanted {
                Wanted::Value(place) => (place, false),
                Wanted::Label(place) => (place, true),
            };
            let output = outputs.get(place)?;
            let (name, datatype) = if is_label {
                (Cow::Owned(label_name(output)), "BYTES")
            } else {
                (Cow::Borrowed(output.name.as_str()), "FP64")
            };
            let kind = is_label.then_some(&output.kind);
            let data = Data { predictions: &self.values, width: outputs.len(), place, kind };
            Some(OutputTensor { name, datatype, data })
        })
    }

    /// Writes the body of an answer over REST; `binary` says of each tensor whether it goes behind the JSON.
    ///
    /// # Errors
    /// [`Refusal::Lost`], which does not come: an answer holds nothing that JSON cannot say.
    pub(super) fn write(&self, id: Option<&str>, binary: &[bool]) -> Result<Written, Refusal> {
        let mut behind = Vec::new();
        let mut is_binary = binary.iter().copied();
        let tensor = |OutputTensor { name, datatype, data }| {
            let before = behind.len();
            let (parameters, data) = if is_binary.next().unwrap_or(false) {
                data.put(&mut behind);
                (Some(BinarySize { binary_data_size: behind.len().saturating_sub(before) }), None)
            } else {
                (None, Some(data))
            };
            WrittenTensor { name, shape: [self.count, 1], datatype, parameters, data }
        };
        let outputs = self.tensors().map(tensor).collect();
        let (digest, generation) = (self.model.digest(), self.model.generation());
        let answer = Answer {
            model_name: self.model.name(),
            model_version: self.model.version().to_string(),
            id,
            parameters: Parameters { digest, generation, warnings: &self.warnings },
            outputs,
        };
        let mut bytes = serde_json::to_vec(&answer).map_err(|_| Refusal::Lost)?;
        let json_len = binary.contains(&true).then_some(bytes.len());
        bytes.append(&mut behind);
        Ok(Written { bytes, json_len })
    }
}

impl<'p> Data<'p> {
    /// The values, where this is no label.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = f64> {
        self.predictions.iter().copied().skip(self.place).step_by(self.width.max(1))
    }

    /// The labels; none where this is a value.
    pub(crate) fn labels(&self) -> Option<impl Iterator<Item = &'p str>> {
        let kind = self.kind?;
        Some(self.numbers().map(move |value| label(kind, value).unwrap_or_default()))
    }

    /// Writes all as bytes.
    pub(crate) fn put(&self, to: &mut Vec<u8>) {
        match self.labels() {
            None => self.numbers().for_each(|value| raw::put_number(to, value)),
            Some(labels) => labels.for_each(|label| raw::put_text(to, label)),
        }
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.kind {
            None => serializer.collect_seq(self.numbers()),
            Some(kind) => serializer.collect_seq(self.numbers().map(|value| label(kind, value))),
        }
    }
}

fn label_name(output: &Output) -> String {
    format!("{}{LABEL_SUFFIX}", output.name)
}
