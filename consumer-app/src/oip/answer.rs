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

use super::request::{List, WantedOutput};
use crate::refusal::{Refusal, shortened};

/// What is after an output's name in the name of its label.
pub const LABEL_SUFFIX: &str = "_label";

/// The body of an answer.
#[derive(Debug, Serialize)]
pub struct Answer<'m> {
    model_name: &'m ModelName,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'m, str>>,
    parameters: Parameters,
    outputs: Vec<OutputTensor<'m>>,
}

/// Which of a model's tensors are wanted: places among its outputs, each as a value or as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The value of that output.
    Value(usize),
    /// The label of that output.
    Label(usize),
}

#[derive(Debug, Serialize)]
struct Parameters {
    digest: Digest,
    generation: Generation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct OutputTensor<'m> {
    name: Cow<'m, str>,
    shape: [usize; 2],
    datatype: &'static str,
    data: Data<'m>,
}

/// One output of all rows, written without a copy.
#[derive(Debug)]
struct Data<'m> {
    predictions: &'m [f64],
    width: usize,
    place: usize,
    kind: Option<&'m OutputKind>,
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

impl<'m> Answer<'m> {
    /// An answer of `count` rows whose `predictions` are row after row.
    #[must_use]
    pub fn new(
        model: &'m LoadedModel,
        id: Option<Cow<'m, str>>,
        (predictions, count): (&'m [f64], usize),
        wanted: &[Wanted],
        warnings: Vec<String>,
    ) -> Self {
        let outputs = &model.schema().outputs;
        let tensor = |wanted: &Wanted| {
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
            let data = Data { predictions, width: outputs.len(), place, kind };
            Some(OutputTensor { name, shape: [count, 1], datatype, data })
        };
        Self {
            model_name: model.name(),
            model_version: model.version().to_string(),
            id,
            parameters: Parameters { digest: model.digest(), generation: model.generation(), warnings },
            outputs: wanted.iter().filter_map(tensor).collect(),
        }
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.predictions.iter().skip(self.place).step_by(self.width.max(1));
        match self.kind {
            None => serializer.collect_seq(values),
            Some(kind) => serializer.collect_seq(values.map(|&value| label(kind, value))),
        }
    }
}

fn label_name(output: &Output) -> String {
    format!("{}{LABEL_SUFFIX}", output.name)
}
