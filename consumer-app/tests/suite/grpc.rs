//! The Open Inference Protocol over gRPC, on REST's port: the same answers, and every wrong call we could think of.

use std::{collections::BTreeMap, time::Duration};

use axum::body::Bytes;
use consumer_app::{
    grpc::proto::{
        InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
        ModelReadyRequest, RepositoryIndexRequest, ServerLiveRequest, ServerMetadataRequest,
        ServerReadyRequest,
        grpc_inference_service_client::GrpcInferenceServiceClient,
        infer_parameter::ParameterChoice,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    },
    settings::HttpSettings,
};
use futures::{StreamExt as _, stream};
use modelcast::LiveModel;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::fixture::{Server, fixed, house, name, superstitious, tumour};

type Client = GrpcInferenceServiceClient<Channel>;

/// A client on a runtime of its own.
struct Caller {
    runtime: Runtime,
    client: Client,
}

impl Caller {
    fn of(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::new(channel(&runtime, server)).max_decoding_message_size(100 << 20);
        Self { runtime, client }
    }

    fn infer(&self, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
        let mut client = self.client.clone();
        self.runtime
            .block_on(async move { client.model_infer(request).await.map(tonic::Response::into_inner) })
    }
}

pub(crate) fn channel(runtime: &Runtime, server: &Server) -> Channel {
    let endpoint = Channel::from_shared(server.url("")).unwrap().timeout(Duration::from_secs(60));
    runtime.block_on(async { endpoint.connect().await.unwrap() })
}

pub(crate) fn houses() -> Server {
    Server::start([fixed(house(4)), fixed(tumour(1))])
}

fn tensor(
    name: &str,
    datatype: &str,
    shape: &[i64],
    contents: Option<InferTensorContents>,
) -> InferInputTensor {
    let (name, datatype, shape) = (name.into(), datatype.into(), shape.to_vec());
    InferInputTensor { name, datatype, shape, contents, ..InferInputTensor::default() }
}

fn numbers(values: &[f64]) -> InferTensorContents {
    InferTensorContents { fp64_contents: values.to_vec(), ..InferTensorContents::default() }
}

fn raw_numbers(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn raw_texts(values: &[&str]) -> Vec<u8> {
    let len = |text: &str| u32::try_from(text.len()).unwrap().to_le_bytes();
    values.iter().flat_map(|text| [&len(text)[..], text.as_bytes()].concat()).collect()
}

/// Rows that differ in each feature: what a request has of each.
pub(crate) struct Rows {
    numeric: [(&'static str, Vec<f64>); 4],
    categorical: [(&'static str, Vec<&'static str>); 2],
    count: usize,
}

pub(crate) fn rows(count: usize) -> Rows {
    let column = |of: fn(f64) -> f64| (0..count).map(|row| of(row as f64)).collect::<Vec<_>>();
    let pick = |from: &[&'static str]| (0..count).map(|row| from[row % from.len()]).collect::<Vec<_>>();
    Rows {
        numeric: [
            ("area", column(|row| 334.0 + row * 0.1)),
            ("lot", column(|row| 1_300.3 + row / 3.0)),
            ("built", column(|row| 1_900.0 + row % 100.0)),
            ("baths", column(|row| row % 4.0)),
        ],
        categorical: [
            ("zone", pick(&["North_Ames", "Old_Town", "Stone_Brook", "Ätlantis"])),
            ("heating", pick(&["Poor", "Fair", "Good"])),
        ],
        count,
    }
}

impl Rows {
    fn json(&self) -> Value {
        let shape = [self.count, 1];
        let numeric = self
            .numeric
            .iter()
            .map(|(name, data)| json!({ "name": name, "shape": shape, "datatype": "FP64", "data": data }));
        let categorical = self
            .categorical
            .iter()
            .map(|(name, data)| json!({ "name": name, "shape": shape, "datatype": "BYTES", "data": data }));
        numeric.chain(categorical).collect()
    }

    /// JSON, values behind it, and how much is JSON.
    pub(crate) fn binary(&self) -> (Vec<u8>, usize) {
        let mut behind = Vec::new();
        let mut inputs = Vec::new();
        let mut put = |name: &str, datatype: &str, bytes: Vec<u8>| {
            inputs.push(json!({ "name": name, "shape": [self.count, 1], "datatype": datatype,
                "parameters": { "binary_data_size": bytes.len() } }));
            behind.extend(bytes);
        };
        self.numeric.iter().for_each(|(name, data)| put(name, "FP64", raw_numbers(data)));
        self.categorical.iter().for_each(|(name, data)| put(name, "BYTES", raw_texts(data)));
        let json = json!({ "inputs": inputs, "parameters": { "binary_data_output": true } }).to_string();
        ([json.as_bytes(), &behind].concat(), json.len())
    }

    pub(crate) fn message(&self, is_raw: bool) -> ModelInferRequest {
        let shape = [i64::try_from(self.count).unwrap(), 1];
        let (mut inputs, mut raw_input_contents) = (Vec::new(), Vec::new());
        for (name, data) in &self.numeric {
            inputs.push(tensor(name, "FP64", &shape, (!is_raw).then(|| numbers(data))));
            raw_input_contents.push(Bytes::from(raw_numbers(data)));
        }
        for (name, data) in &self.categorical {
            let bytes_contents = data.iter().map(|text| Bytes::from(text.as_bytes())).collect();
            let contents = InferTensorContents { bytes_contents, ..InferTensorContents::default() };
            inputs.push(tensor(name, "BYTES", &shape, (!is_raw).then_some(contents)));
            raw_input_contents.push(Bytes::from(raw_texts(data)));
        }
        if !is_raw {
            raw_input_contents.clear();
        }
        let model_name = "property-value".into();
        ModelInferRequest { model_name, inputs, raw_input_contents, ..ModelInferRequest::default() }
    }
}

fn from_raw(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes).to_bits()).collect()
}

fn text_parameter<'a>(parameters: &'a BTreeMap<String, InferParameter>, name: &str) -> &'a str {
    match &parameters[name].parameter_choice {
        Some(ParameterChoice::StringParam(text)) => text,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn json_binary_and_grpc_answer_the_same_bits() {
    let server = houses();
    let caller = Caller::of(&server);
    for count in [1, 7, 5_000] {
        let rows = rows(count);
        let json = server.infer("property-value", &rows.json()).json();
        let expected: Vec<u64> = json["outputs"][0]["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap().to_bits())
            .collect();
        assert_eq!(expected.len(), count);

        let (body, json_len) = rows.binary();
        let answer = server.post_binary("/v2/models/property-value/infer", &body, json_len);
        assert_eq!(answer.status, 200, "{:?}", answer.json);
        assert_eq!(answer.json["outputs"][0]["parameters"]["binary_data_size"], count * 8);
        assert_eq!(from_raw(&answer.behind), expected);

        let raw = caller.infer(rows.message(true)).unwrap();
        assert_eq!(from_raw(&raw.raw_output_contents[0]), expected);
        assert_eq!(raw.outputs[0].contents, None);
        let typed = caller.infer(rows.message(false)).unwrap();
        let values = &typed.outputs[0].contents.as_ref().unwrap().fp64_contents;
        assert_eq!(values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), expected);
        assert!(typed.raw_output_contents.is_empty());

        for answer in [raw, typed] {
            assert_eq!((answer.model_name.as_str(), answer.model_version.as_str()), ("property-value", "4"));
            assert_eq!(text_parameter(&answer.parameters, "digest"), house(4).digest().to_string());
            let generation = answer.parameters["generation"].parameter_choice.clone();
            assert_eq!(generation, Some(ParameterChoice::Int64Param(4)));
            if count > 3 {
                assert!(
                    text_parameter(&answer.parameters, "warnings").contains("row 3: zone has a category")
                );
            }
        }
    }
}

#[test]
fn one_tensor_of_all_features_and_labels_work_in_every_form() {
    let server = houses();
    let caller = Caller::of(&server);
    let values = [10.0, 15.0, 25.0, 30.0];
    let matrix = json!([{ "name": "all", "shape": [2, 2], "datatype": "FP64", "data": values }]);
    let json = server.infer("tumour", &matrix).json();
    let expected = json["outputs"][0]["data"].clone();
    let binary = json!({ "inputs": [{ "name": "all", "shape": [2, 2], "datatype": "FP64",
        "parameters": { "binary_data_size": 32 } }],
        "outputs": [{ "name": "malignant_label", "parameters": { "binary_data": true } }, { "name": "malignant" }] });
    let binary = binary.to_string();
    let body = [binary.as_bytes(), &raw_numbers(&values)].concat();
    let answer = server.post_binary("/v2/models/tumour/infer", &body, binary.len());
    assert_eq!(answer.json["outputs"][1]["data"], expected, "{:?}", answer.json);
    assert_eq!(answer.behind, raw_texts(&["benign", "malignant"]));

    let output = |name: &str| InferRequestedOutputTensor { name: name.into(), ..Default::default() };
    let request = |contents, raw_input_contents| ModelInferRequest {
        model_name: "tumour".into(),
        model_version: "1".into(),
        id: "a7".into(),
        inputs: vec![tensor("all", "FP64", &[2, 2], contents)],
        outputs: vec![output("malignant_label"), output("malignant")],
        raw_input_contents,
        ..ModelInferRequest::default()
    };
    let raw = caller.infer(request(None, vec![raw_numbers(&values).into()])).unwrap();
    assert_eq!(raw.id, "a7");
    assert_eq!(raw.raw_output_contents[0], raw_texts(&["benign", "malignant"]));
    let expected: Vec<u64> =
        expected.as_array().unwrap().iter().map(|v| v.as_f64().unwrap().to_bits()).collect();
    assert_eq!(from_raw(&raw.raw_output_contents[1]), expected);
    let typed = caller.infer(request(Some(numbers(&values)), vec![])).unwrap();
    let labels = &typed.outputs[0].contents.as_ref().unwrap().bytes_contents;
    assert_eq!(labels[..], [&b"benign"[..], b"malignant"]);
}

#[test]
fn the_calls_beside_inference_say_what_rest_says() {
    let waiting = LiveModel::waiting(name("property-value")).unwrap();
    let server = Server::start([waiting.clone(), fixed(tumour(1))]);
    let Caller { runtime, mut client } = Caller::of(&server);
    runtime.block_on(async {
        assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
        assert!(!client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
        let about = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
        assert_eq!(json!(about.extensions), server.get("/v2").json()["extensions"]);
        let ready = |name: &str| ModelReadyRequest { name: name.into(), version: String::new() };
        assert!(!client.model_ready(ready("property-value")).await.unwrap().into_inner().ready);
        assert!(client.model_ready(ready("tumour")).await.unwrap().into_inner().ready);
        assert_eq!(client.model_ready(ready("nope")).await.unwrap_err().code(), Code::NotFound);
        let about = ModelMetadataRequest { name: "property-value".into(), version: String::new() };
        let refused = client.model_metadata(about.clone()).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unavailable, "model property-value is not ready: waiting")
        );
        let list = |ready| RepositoryIndexRequest { repository_name: String::new(), ready };
        let index = client.repository_index(list(false)).await.unwrap().into_inner().models;
        assert_eq!((index[0].state.as_str(), index[1].state.as_str()), ("UNAVAILABLE", "READY"));
        assert_eq!(index[0].reason, "model property-value is not ready: waiting");
        assert_eq!(client.repository_index(list(true)).await.unwrap().into_inner().models.len(), 1);
        waiting.replace_fixed(house(4)).unwrap();
        let metadata = client.model_metadata(about).await.unwrap().into_inner();
        assert_eq!(metadata.platform, "modelcast_glm");
        assert_eq!(
            (metadata.inputs[4].datatype.as_str(), &metadata.inputs[4].shape[..]),
            ("BYTES", &[-1, 1][..])
        );
    });
    let index = server.post("/v2/repository/index", "{\"ready\": true}").json();
    assert_eq!(index[1], json!({ "name": "tumour", "version": "1", "state": "READY", "reason": "" }));
    let config = server.get("/v2/models/tumour/config").json();
    assert_eq!(config["input"][0], json!({ "name": "radius", "data_type": "TYPE_FP64", "dims": [1] }));
    let load = server.post("/v2/repository/models/tumour/load", "");
    assert_eq!(load.status, 404);
    assert!(load.error().contains("by publishing it"), "{}", load.text);
}

#[test]
fn health_follows_what_is_live() {
    let waiting = LiveModel::waiting(name("property-value")).unwrap();
    let server = Server::start([waiting.clone(), fixed(tumour(1))]);
    // With a thread of its own: a client answers when the server says that it goes.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut client = HealthClient::new(channel(&runtime, &server));
    let of = |service: &str| HealthCheckRequest { service: service.into() };
    runtime.block_on(async {
        let rows = [("", 2), ("inference.GRPCInferenceService", 2), ("property-value", 2), ("tumour", 1)];
        for (service, status) in rows {
            assert_eq!(client.check(of(service)).await.unwrap().into_inner().status, status, "{service}");
        }
        assert_eq!(client.check(of("nope")).await.unwrap_err().code(), Code::NotFound);
        let mut watch = client.watch(of("property-value")).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
        waiting.replace_fixed(house(4)).unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
        assert_eq!(client.check(of("")).await.unwrap().into_inner().status, 1);
        let mut unknown = client.watch(of("nope")).await.unwrap().into_inner();
        assert_eq!(unknown.message().await.unwrap().unwrap().status, 3);
    });
    // Watches are still open: they must not hold up the end.
    assert!(server.ended() < Duration::from_secs(5));
}

#[test]
fn reflection_lists_what_is_served() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = houses();
    let Caller { runtime, .. } = Caller::of(&server);
    let mut client = ServerReflectionClient::new(channel(&runtime, &server));
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let list = ServerReflectionRequest { host: String::new(), message_request };
    runtime.block_on(async {
        let mut answers = client.server_reflection_info(stream::iter([list])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
        let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
        for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
            assert!(names.contains(&name), "{names:?}");
        }
    });
}

#[test]
fn a_stream_answers_each_request_in_its_turn_and_goes_on_after_a_wrong_one() {
    let server = houses();
    let Caller { runtime, mut client } = Caller::of(&server);
    let mut wrong = rows(2).message(true);
    wrong.model_name = "nope".into();
    let requests = [rows(1).message(true), wrong, rows(3).message(false)];
    let answers = runtime.block_on(async {
        let answers = client.model_stream_infer(stream::iter(requests)).await.unwrap().into_inner();
        answers.map(Result::unwrap).collect::<Vec<_>>().await
    });
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0].infer_response.as_ref().unwrap().outputs[0].shape, [1, 1]);
    assert!(answers[1].error_message.contains("no model \"nope\""), "{}", answers[1].error_message);
    assert_eq!(answers[2].infer_response.as_ref().unwrap().outputs[0].shape, [3, 1]);
}

#[test]
fn a_stream_that_says_nothing_more_ends_and_gives_its_place_back() {
    let http = HttpSettings {
        idle_timeout_seconds: 3,
        ping_interval_seconds: 1,
        requests_max: 1,
        ..HttpSettings::default()
    };
    let server = Server::with([fixed(house(4)), fixed(tumour(1))], http);
    let Caller { runtime, mut client } = Caller::of(&server);
    let ended = runtime.block_on(async {
        let requests = stream::iter([rows(1).message(true)]).chain(stream::pending());
        let mut answers = client.model_stream_infer(requests).await.unwrap().into_inner();
        assert!(answers.next().await.unwrap().unwrap().infer_response.is_some());
        let taken = client.model_infer(rows(1).message(true)).await.unwrap_err();
        assert_eq!(taken.code(), Code::ResourceExhausted, "{taken}");
        answers.next().await.unwrap().unwrap_err()
    });
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    assert!(ended.message().contains("nothing was sent for 3 s"), "{ended}");
    runtime.block_on(client.model_infer(rows(1).message(true))).unwrap();
}

/// Each row: what is changed in a right request of two rows, the code, and words of the sentence.
#[test]
fn every_wrong_request_has_the_code_and_the_sentence_of_rest() {
    let server = houses();
    let caller = Caller::of(&server);
    type Row = (fn(&mut ModelInferRequest), Code, &'static str);
    let wrong: [Row; 17] = [
        (|r| r.model_name = "nope".into(), Code::NotFound, "no model \"nope\" here; there is property-value"),
        (
            |r| r.model_version = "3".into(),
            Code::NotFound,
            "does not serve version \"3\"; it serves version 4",
        ),
        (|r| r.inputs.clear(), Code::InvalidArgument, "`raw_input_contents` has 6 items and `inputs` 0"),
        (|r| drop(r.raw_input_contents.pop()), Code::InvalidArgument, "has 5 items and `inputs` 6"),
        (|r| r.inputs[0].name = "aera".into(), Code::InvalidArgument, "near it: area"),
        (|r| r.inputs[1].name = "area".into(), Code::InvalidArgument, "stands there twice"),
        (|r| r.inputs[0].shape = vec![-1, 1], Code::InvalidArgument, "a dimension of -1"),
        (|r| r.inputs[0].shape = vec![], Code::InvalidArgument, "has the shape []"),
        (
            |r| r.inputs[0].shape = vec![i64::MAX, i64::MAX],
            Code::ResourceExhausted,
            "rows are more than 10000",
        ),
        (|r| r.inputs[0].shape = vec![2, i64::MAX], Code::InvalidArgument, "has the shape [2, 922"),
        (|r| r.inputs[0].shape = vec![1; 9], Code::InvalidArgument, "more than 8 items"),
        (|r| r.inputs[0].datatype = "BOOL".into(), Code::InvalidArgument, "not \"BOOL\""),
        (|r| r.inputs[0].datatype = "INT64".into(), Code::InvalidArgument, "tensor \"area\": row 0"),
        (
            |r| r.raw_input_contents[0] = vec![0; 15].into(),
            Code::InvalidArgument,
            "15 bytes are no whole number",
        ),
        (
            |r| r.raw_input_contents[0] = raw_numbers(&[1.0; 3]).into(),
            Code::InvalidArgument,
            "tensor \"area\": has 3 values, and its shape [2, 1] says 2",
        ),
        (
            |r| r.raw_input_contents[4] = vec![0xff; 8].into(),
            Code::InvalidArgument,
            "a text of 4294967295 bytes",
        ),
        (
            |r| r.raw_input_contents[0] = raw_numbers(&[f64::NAN, 1.0]).into(),
            Code::InvalidArgument,
            "row 0: feature \"area\"",
        ),
    ];
    for (change, code, words) in wrong {
        let mut request = rows(2).message(true);
        change(&mut request);
        let refused = caller.infer(request).unwrap_err();
        assert_eq!(refused.code(), code, "{words}: {refused}");
        assert!(refused.message().contains(words), "{words}: {refused}");
    }
    let mut both = rows(2).message(true);
    both.inputs[0].contents = Some(numbers(&[1.0, 2.0]));
    assert!(caller.infer(both).unwrap_err().message().contains("beside `raw_input_contents`"));
    let many = ModelInferRequest {
        model_name: "tumour".into(),
        inputs: vec![InferInputTensor::default(); 100_000],
        ..ModelInferRequest::default()
    };
    let refused = caller.infer(many).unwrap_err();
    assert_eq!(
        (refused.code(), refused.message().contains("`inputs` has more than 4096")),
        (Code::InvalidArgument, true)
    );
    caller.infer(rows(2).message(true)).unwrap();
}

#[test]
fn a_message_over_the_limit_is_refused_with_the_limit() {
    let http = HttpSettings { body_max_bytes: 20_000, bodies_max_bytes: 40_000, ..HttpSettings::default() };
    let server = Server::with([fixed(house(4))], http);
    let caller = Caller::of(&server);
    let refused = caller.infer(rows(1_000).message(true)).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("larger than 20000 bytes (http.body_max_bytes)"), "{refused}");
    caller.infer(rows(2).message(true)).unwrap();
}

#[test]
fn a_model_that_panics_costs_its_own_call_only() {
    let server = Server::start([fixed(superstitious())]);
    let caller = Caller::of(&server);
    for count in [1, 9_000] {
        let request = |floor| ModelInferRequest {
            model_name: "lift".into(),
            inputs: vec![tensor("floor", "FP64", &[i64::from(count), 1], None)],
            raw_input_contents: vec![raw_numbers(&vec![floor; usize::try_from(count).unwrap()]).into()],
            ..ModelInferRequest::default()
        };
        for (floor, words) in [(13.0, "failed inside the application"), (14.0, "row 0: no such floor")] {
            let refused = caller.infer(request(floor)).unwrap_err();
            assert_eq!(refused.code(), Code::Internal, "{refused}");
            assert!(refused.message().contains(words), "{refused}");
        }
        caller.infer(request(12.0)).unwrap();
    }
}
