//! The Open Inference Protocol, version 2, over HTTP: metadata, health and inference.
//!
//! <https://github.com/open-inference/open-inference-protocol>. One tensor a feature of shape `[rows, 1]`, numbers as
//! `FP64` and categories as `BYTES`; or a single `[rows, features]` tensor where all features are numeric.
//!
//! # Invariants
//! * One request takes one snapshot and uses it from start to end: an answer never mixes two versions.

pub mod answer;
mod binary;
pub mod column;
mod datatype;
pub(crate) mod infer;
pub(crate) mod raw;
pub mod repository;
pub mod request;
pub mod rows;

use std::{borrow::Cow, sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse as _, Response},
};
use modelcast::LoadedModel;
use modelcast_protocol::schema::{FeatureKind, FeatureSchema};
use serde_json::{Value, json};

pub use infer::predict;

use self::answer::Written;
use crate::{
    refusal::Refusal,
    router::{Asked, Shared},
    served::ServedModel,
    server::Ending,
};

/// How this server calls itself.
pub(crate) const SERVER_NAME: &str = "modelcast";
/// The version of this program.
pub(crate) const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");
/// What is served beyond the protocol itself.
pub(crate) const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "model_configuration", "model_repository"];

/// `GET /v2`.
pub async fn server() -> Json<Value> {
    Json(json!({ "name": SERVER_NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS }))
}

/// `GET /v2/health/live`: the process answers.
pub async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`: an admitted model is live for each configured name, and no shutdown has begun.
pub async fn ready(State(shared): State<Shared>) -> Response {
    let ready = is_server_ready(&shared);
    (ready_status(ready), Json(json!({ "ready": ready }))).into_response()
}

/// Whether all models are live, and the application does not end.
pub(crate) fn is_server_ready(shared: &Shared) -> bool {
    shared.models.is_ready() && *shared.ending.borrow() == Ending::No
}

/// `GET /v2/models/{model}` and `GET /v2/models/{model}/versions/{version}`.
///
/// # Errors
/// [`Refusal`] for a model or version that is not served.
pub async fn metadata(State(shared): State<Shared>, path: Asked) -> Result<Json<Value>, Refusal> {
    let model = shared.models.model(&path.model)?.snapshot_of(path.version.as_deref())?;
    Ok(Json(json!({
        "name": model.name(),
        "versions": [model.version().to_string()],
        "platform": platform(&model),
        "inputs": described(inputs(model.schema())),
        "outputs": described(outputs(model.schema())),
        "parameters": { "digest": model.digest(), "generation": model.generation() },
    })))
}

/// `GET /v2/models/{model}/ready` and the same of a version.
///
/// # Errors
/// [`Refusal`] for a model that is not served, and a version that is not the live one.
pub async fn model_ready(State(shared): State<Shared>, path: Asked) -> Result<Response, Refusal> {
    let served = shared.models.model(&path.model)?;
    let ready = is_ready(served, path.version.as_deref())?;
    let body = json!({ "name": served.live().name(), "ready": ready });
    Ok((ready_status(ready), Json(body)).into_response())
}

/// Whether that version, or any, is live.
pub(crate) fn is_ready(served: &ServedModel, version: Option<&str>) -> Result<bool, Refusal> {
    match served.snapshot_of(version) {
        Ok(_) => Ok(true),
        Err(Refusal::NotReady { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

/// `POST /v2/models/{model}/infer` and the same of a version.
///
/// # Errors
/// [`Refusal`] for whatever is wrong with the request.
pub async fn infer(State(shared): State<Shared>, path: Asked, request: Request) -> Result<Response, Refusal> {
    let served = Arc::clone(shared.models.model(&path.model)?);
    let (parts, body) = request.into_parts();
    let written = answer(&shared, &served, path.version.as_deref(), parts, body).await;
    let Written { bytes, json_len } = written.inspect_err(|refusal| served.count_refusal(refusal))?;
    Ok(match json_len {
        None => ([(CONTENT_TYPE, "application/json")], bytes).into_response(),
        Some(len) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
                (binary::HEADER, len.into()),
            ];
            (headers, bytes).into_response()
        }
    })
}

async fn answer(
    shared: &Shared,
    served: &Arc<ServedModel>,
    version: Option<&str>,
    parts: Parts,
    body: Body,
) -> Result<Written, Refusal> {
    let json_len = binary::json_len(&parts.headers)?;
    let body = shared.bodies.read(&parts, body).await?;
    // Only now, when the body is there: a slow sender must not keep an old model in memory.
    let model = served.snapshot_of(version)?;
    let (served_here, rows_max) = (Arc::clone(served), shared.limits.rows_max);
    let size = body.bytes.len();
    at_pace(served, size, move || infer::infer((&body.bytes, json_len), &served_here, &model, rows_max)).await
}

/// Does on this thread what is expected to be short, and on a blocking one what is not.
///
/// # Errors
/// Those of the work; [`Refusal::Lost`] when it panics elsewhere than here.
pub(crate) async fn at_pace<T: Send + 'static>(
    served: &Arc<ServedModel>,
    bytes: usize,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let is_short = served.pace().is_short(bytes);
    let served = Arc::clone(served);
    let timed = move || {
        let started = Instant::now();
        let answer = work();
        served.pace().measured(bytes, started.elapsed());
        answer
    };
    if is_short {
        return timed();
    }
    tokio::task::spawn_blocking(timed).await.map_err(|_| Refusal::Lost)?
}

/// The input tensors of a model, one a feature: name and datatype.
pub(crate) fn inputs(schema: &FeatureSchema) -> impl Iterator<Item = (Cow<'_, str>, &'static str)> {
    schema.features.iter().map(|feature| {
        let datatype = match &feature.kind {
            FeatureKind::Numeric(_) => "FP64",
            FeatureKind::Categorical(_) => "BYTES",
        };
        (Cow::Borrowed(feature.name.as_str()), datatype)
    })
}

/// The output tensors of a model: name and datatype.
pub(crate) fn outputs(schema: &FeatureSchema) -> impl Iterator<Item = (Cow<'_, str>, &'static str)> {
    answer::tensors(schema).map(|(name, datatype, _)| (name, datatype))
}

/// What a model is called that is run by this program.
pub(crate) fn platform(model: &LoadedModel) -> String {
    format!("modelcast_{}", model.manifest().format)
}

fn described<'m>(tensors: impl Iterator<Item = (Cow<'m, str>, &'static str)>) -> Vec<Value> {
    let describe = |(name, datatype)| json!({ "name": name, "datatype": datatype, "shape": [-1, 1] });
    tensors.map(describe).collect()
}

fn ready_status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
