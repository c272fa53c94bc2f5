//! Between the messages of gRPC and what all forms of a request have in common.
//!
//! Values are checked where those of REST are (see `oip::rows`).

use std::{borrow::Cow, collections::BTreeMap};

use modelcast::LoadedModel;
use prost::bytes::Bytes;

use super::proto::{
    DataType, InferParameter, InferTensorContents, ModelConfig, ModelInferRequest, ModelInferResponse,
    ModelInput, ModelMetadataResponse, ModelOutput, infer_parameter::ParameterChoice,
    model_infer_request::InferInputTensor, model_infer_response::InferOutputTensor,
    model_metadata_response::TensorMetadata, repository_index_response::ModelIndex,
};
use crate::{
    oip::{
        self,
        answer::{Data, Prediction},
        column::{Column, Values},
        raw,
        repository::Entry,
        request::{
            DIMENSIONS_MAX, InferRequest, List, NO_CLASSIFICATION, NO_SHARED_MEMORY, Shape, Tensor,
            WantedOutput, check_id,
        },
        rows,
    },
    refusal::Refusal,
};

/// A request as REST would have read it; texts stay where they are.
pub(super) fn request(message: &ModelInferRequest, rows_max: usize) -> Result<InferRequest<'_>, Refusal> {
    let raw = &message.raw_input_contents;
    if !raw.is_empty() && raw.len() != message.inputs.len() {
        let (raw, inputs) = (raw.len(), message.inputs.len());
        let cause = format!("`raw_input_contents` has {raw} items and `inputs` {inputs}");
        return Err(Refusal::Malformed { cause });
    }
    let mut tensors = message.inputs.iter().map(empty).collect::<Result<Vec<_>, _>>()?;
    check_id(&message.id)?;
    // Before values are read: bytes take up to eight times their size as numbers.
    rows::row_count(&tensors, rows_max)?;
    for (place, (tensor, input)) in tensors.iter_mut().zip(&message.inputs).enumerate() {
        tensor.data = match (raw.get(place), &input.contents) {
            (Some(bytes), None) => raw::column(tensor, bytes)?,
            (None, Some(contents)) => typed(tensor, contents)?,
            (None, None) => Column::default(),
            (Some(_), Some(_)) => {
                return Err(Refusal::tensor(&input.name, "has `contents` beside `raw_input_contents`"));
            }
        };
    }
    let outputs = message.outputs.iter().map(|output| {
        let refuse = |cause: &str| {
            Err(Refusal::Output {
                name: crate::refusal::shortened(&output.name),
                cause: format!("cannot be so: {cause}"),
            })
        };
        if output.parameters.contains_key("classification") {
            return refuse(NO_CLASSIFICATION);
        }
        if output.parameters.contains_key("shared_memory_region") {
            return refuse(NO_SHARED_MEMORY);
        }
        Ok(WantedOutput { name: Cow::Borrowed(&output.name), parameters: None })
    });
    let outputs = outputs.collect::<Result<_, _>>()?;
    Ok(InferRequest { id: None, inputs: List(tensors), outputs: Some(List(outputs)), parameters: None })
}

/// The tensor before its values.
fn empty(input: &InferInputTensor) -> Result<Tensor<'_>, Refusal> {
    if input.parameters.contains_key("shared_memory_region") {
        return Err(Refusal::tensor(&input.name, NO_SHARED_MEMORY));
    }
    if input.shape.len() > DIMENSIONS_MAX {
        let cause = format!("`shape` has more than {DIMENSIONS_MAX} items");
        return Err(Refusal::tensor(&input.name, cause));
    }
    let dimension = |&len: &i64| {
        u64::try_from(len).map_err(|_| Refusal::tensor(&input.name, format!("has a dimension of {len}")))
    };
    let shape = input.shape.iter().map(dimension).collect::<Result<_, _>>()?;
    Ok(Tensor {
        name: Cow::Borrowed(&input.name),
        shape: Shape(shape),
        datatype: Cow::Borrowed(&input.datatype),
        data: Column::default(),
        binary_data_size: None,
    })
}

/// The values of the one field that belongs to the tensor's datatype.
fn typed<'m>(tensor: &Tensor<'_>, contents: &'m InferTensorContents) -> Result<Column<'m>, Refusal> {
    let numbers = |values: Vec<f64>| Values::Numbers(values);
    let values = match tensor.datatype.as_ref() {
        "FP64" => numbers(contents.fp64_contents.clone()),
        "FP32" => numbers(contents.fp32_contents.iter().copied().map(f64::from).collect()),
        "INT8" | "INT16" | "INT32" => numbers(contents.int_contents.iter().copied().map(f64::from).collect()),
        "UINT8" | "UINT16" | "UINT32" => {
            numbers(contents.uint_contents.iter().copied().map(f64::from).collect())
        }
        // Above 2^53 a whole number rounds, and `rows` refuses it.
        "INT64" => numbers(contents.int64_contents.iter().map(|&value| value as f64).collect()),
        "UINT64" => numbers(contents.uint64_contents.iter().map(|&value| value as f64).collect()),
        "BYTES" => {
            let text = |(row, bytes): (usize, &'m Bytes)| {
                let text = std::str::from_utf8(bytes).map(Cow::Borrowed);
                text.map_err(|_| Refusal::tensor(&tensor.name, format!("row {row}: the text is no UTF-8")))
            };
            Values::Texts(contents.bytes_contents.iter().enumerate().map(text).collect::<Result<_, _>>()?)
        }
        _ => Values::Empty, // whoever knows the feature says which datatype it takes
    };
    Ok(Column { values, inner_len: None })
}

/// The answer, in raw form where the request had it.
pub(super) fn response(prediction: &Prediction<'_>, request: &ModelInferRequest) -> ModelInferResponse {
    let is_raw = !request.raw_input_contents.is_empty();
    let model = prediction.model;
    let rows = as_i64(prediction.count);
    let mut raw_output_contents = Vec::new();
    let mut outputs = Vec::new();
    for tensor in prediction.tensors() {
        let contents = if is_raw {
            let mut bytes = Vec::new();
            tensor.data.put(&mut bytes);
            raw_output_contents.push(bytes.into());
            None
        } else {
            Some(contents(&tensor.data))
        };
        outputs.push(InferOutputTensor {
            name: tensor.name.into_owned(),
            datatype: tensor.datatype.to_owned(),
            shape: vec![rows, 1],
            parameters: BTreeMap::new(),
            contents,
        });
    }
    let mut parameters = BTreeMap::from([
        ("digest".to_owned(), text(model.digest().to_string())),
        ("generation".to_owned(), whole(model.generation().get())),
    ]);
    if !prediction.warnings.is_empty() {
        parameters.insert("warnings".to_owned(), text(prediction.warnings.join("\n")));
    }
    ModelInferResponse {
        model_name: model.name().to_string(),
        model_version: model.version().to_string(),
        id: request.id.clone(),
        parameters,
        outputs,
        raw_output_contents,
    }
}

fn contents(data: &Data<'_>) -> InferTensorContents {
    match data.labels() {
        None => {
            InferTensorContents { fp64_contents: data.numbers().collect(), ..InferTensorContents::default() }
        }
        Some(labels) => {
            let bytes_contents = labels.map(|label| Bytes::copy_from_slice(label.as_bytes())).collect();
            InferTensorContents { bytes_contents, ..InferTensorContents::default() }
        }
    }
}

/// The tensors of a model, as its metadata has them.
pub(super) fn metadata(model: &LoadedModel) -> ModelMetadataResponse {
    let tensor = |(name, datatype): (Cow<'_, str>, &str)| TensorMetadata {
        name: name.into_owned(),
        datatype: datatype.to_owned(),
        shape: vec![-1, 1],
    };
    ModelMetadataResponse {
        name: model.name().to_string(),
        versions: vec![model.version().to_string()],
        platform: oip::platform(model),
        inputs: oip::inputs(model.schema()).map(tensor).collect(),
        outputs: oip::outputs(model.schema()).map(tensor).collect(),
        properties: BTreeMap::from([
            ("digest".to_owned(), model.digest().to_string()),
            ("generation".to_owned(), model.generation().to_string()),
        ]),
    }
}

/// The configuration of a model, which says dimensions without the rows.
pub(super) fn config(model: &LoadedModel, rows_max: usize) -> ModelConfig {
    let data_type =
        |datatype: &str| if datatype == "BYTES" { DataType::TypeString } else { DataType::TypeFp64 };
    let input = |(name, datatype): (Cow<'_, str>, &str)| ModelInput {
        name: name.into_owned(),
        data_type: data_type(datatype).into(),
        dims: vec![1],
    };
    let output = |(name, datatype): (Cow<'_, str>, &str)| ModelOutput {
        name: name.into_owned(),
        data_type: data_type(datatype).into(),
        dims: vec![1],
    };
    ModelConfig {
        name: model.name().to_string(),
        platform: oip::platform(model),
        max_batch_size: i32::try_from(rows_max).unwrap_or(i32::MAX),
        input: oip::inputs(model.schema()).map(input).collect(),
        output: oip::outputs(model.schema()).map(output).collect(),
        backend: oip::SERVER_NAME.to_owned(),
    }
}

/// One model of the index.
pub(super) fn index_entry(entry: Entry) -> ModelIndex {
    let Entry { name, version, state, reason } = entry;
    ModelIndex { name, version, state: state.to_owned(), reason }
}

fn text(text: String) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(text)) }
}

fn whole(number: u64) -> InferParameter {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(number)) }
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
