//! The Open Inference Protocol, version 2, over HTTP: metadata, health and inference.
//!
//! <https://github.com/open-inference/open-inference-protocol>. One tensor a feature of shape `[rows, 1]`, numbers as
//! `FP64` and categories as `BYTES`; or a single `[rows, features]` tensor where all features are numeric.
//!
//! # Invariants
//! * One request takes one snapshot and uses it from start to end: an answer never mixes two versions.

pub mod answer;
pub mod column;
mod datatype;
mod infer;
pub mod request;
pub mod rows;

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use modelcast::LoadedModel;
use modelcast_protocol::schema::{FeatureKind, FeatureSchema};
use serde_json::{Value, json};

pub use infer::predict;

use crate::{
    body::ReadBody,
    refusal::Refusal,
    router::{Shared, VersionPath},
    served::ServedModel,
    server::Ending,
};

/// `GET /v2`.
pub async fn server() -> Json<Value> {
    Json(json!({ "name": "modelcast", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }))
}

/// `GET /v2/health/live`: the process answers.
pub async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`: an admitted model is live for each configured name, and no shutdown has begun.
pub async fn ready(State(shared): State<Shared>) -> Response {
    let ready = shared.models.is_ready() && *shared.ending.borrow() == Ending::No;
    (ready_status(ready), Json(json!({ "ready": ready }))).into_response()
}

/// `GET /v2/models/{model}` and `GET /v2/models/{model}/versions/{version}`.
///
/// # Errors
/// [`Refusal`] for a model or version that is not served.
pub async fn metadata(State(shared): State<Shared>, path: VersionPath) -> Result<Json<Value>, Refusal> {
    let model = shared.models.model(&path.model)?.snapshot_of(path.version.as_deref())?;
    let outputs = answer::tensors(model.schema()).map(|(name, datatype, _)| described(&name, datatype));
    Ok(Json(json!({
        "name": model.name(),
        "versions": [model.version().to_string()],
        "platform": format!("modelcast_{}", model.manifest().format),
        "inputs": inputs(model.schema()),
        "outputs": outputs.collect::<Vec<_>>(),
        "parameters": { "digest": model.digest(), "generation": model.generation() },
    })))
}

/// `GET /v2/models/{model}/ready` and the same of a version.
///
/// # Errors
/// [`Refusal`] for a model that is not served, and a version that is not the live one.
pub async fn model_ready(State(shared): State<Shared>, path: VersionPath) -> Result<Response, Refusal> {
    let served = shared.models.model(&path.model)?;
    let ready = match served.snapshot_of(path.version.as_deref()) {
        Ok(_) => true,
        Err(Refusal::NotReady { .. }) => false,
        Err(other) => return Err(other),
    };
    let body = json!({ "name": served.live().name(), "ready": ready });
    Ok((ready_status(ready), Json(body)).into_response())
}

/// `POST /v2/models/{model}/infer` and the same of a version.
///
/// # Errors
/// [`Refusal`] for whatever is wrong with the request.
pub async fn infer(
    State(shared): State<Shared>,
    path: VersionPath,
    request: Request,
) -> Result<Response, Refusal> {
    let served = Arc::clone(shared.models.model(&path.model)?);
    let (parts, body) = request.into_parts();
    let answer = match shared.bodies.read(&parts, body).await {
        Ok(body) => answer(&shared, &served, path.version.as_deref(), body).await,
        Err(refusal) => Err(refusal),
    };
    let answer = answer.inspect_err(|refusal| {
        if refusal.status().is_client_error() {
            served.refused().inc();
        }
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], Body::from(answer)).into_response())
}

/// Answers on this thread what is expected to be short, and on a blocking one what is not.
async fn answer(
    shared: &Shared,
    served: &Arc<ServedModel>,
    version: Option<&str>,
    body: ReadBody,
) -> Result<Vec<u8>, Refusal> {
    // Only now, when the body is there: a slow sender must not keep an old model in memory.
    let model = served.snapshot_of(version)?;
    let rows_max = shared.limits.rows_max;
    if served.pace().is_short(body.bytes.len()) {
        return timed(&body, served, &model, rows_max);
    }
    let served = Arc::clone(served);
    let work = tokio::task::spawn_blocking(move || timed(&body, &served, &model, rows_max));
    work.await.map_err(|_| Refusal::Lost)?
}

fn timed(
    body: &ReadBody,
    served: &ServedModel,
    model: &LoadedModel,
    rows_max: usize,
) -> Result<Vec<u8>, Refusal> {
    let started = Instant::now();
    let answer = infer::infer(&body.bytes, served, model, rows_max);
    served.pace().measured(body.bytes.len(), started.elapsed());
    answer
}

fn inputs(schema: &FeatureSchema) -> Vec<Value> {
    let datatype = |kind: &FeatureKind| match kind {
        FeatureKind::Numeric(_) => "FP64",
        FeatureKind::Categorical(_) => "BYTES",
    };
    schema.features.iter().map(|feature| described(&feature.name, datatype(&feature.kind))).collect()
}

fn described(name: &str, datatype: &str) -> Value {
    json!({ "name": name, "datatype": datatype, "shape": [-1, 1] })
}

fn ready_status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
