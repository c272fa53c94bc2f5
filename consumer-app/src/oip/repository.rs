//! What clients of Triton call the model repository and a model's configuration: what is served, as lists.
//!
//! Changes nothing: a version is made live by publishing it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{inputs, outputs, platform};
use crate::{
    refusal::{Refusal, clipped},
    router::{Asked, Shared},
    served::{ServedModel, ServedModels},
};

/// Why models are not loaded by request.
pub(crate) const NO_LOADING: &str =
    "a version is made live by publishing it, never by a request: nothing is loaded or unloaded here";
const READY: &str = "READY";
const UNAVAILABLE: &str = "UNAVAILABLE";

/// One model, and how it stands.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// The version that is live; empty when none is.
    pub(crate) version: String,
    /// `READY` or `UNAVAILABLE`.
    pub(crate) state: &'static str,
    /// Why it is unavailable; else empty.
    pub(crate) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IndexRequest {
    ready: bool,
}

/// All models, or those that are ready.
pub(crate) fn index(models: &ServedModels, only_ready: bool) -> impl Iterator<Item = Entry> {
    let entry = |served: &Arc<ServedModel>| {
        let name = served.live().name().to_string();
        match served.snapshot() {
            Ok(model) => {
                Entry { name, version: model.version().to_string(), state: READY, reason: String::new() }
            }
            Err(refusal) => {
                Entry { name, version: String::new(), state: UNAVAILABLE, reason: refusal.to_string() }
            }
        }
    };
    models.models().map(entry).filter(move |entry| !only_ready || entry.state == READY)
}

/// `POST /v2/repository/index`; the body may be empty, or say `{"ready": true}`.
///
/// # Errors
/// [`Refusal`] for another body.
pub async fn list(State(shared): State<Shared>, request: Request) -> Result<Json<Value>, Refusal> {
    let (parts, body) = request.into_parts();
    let body = shared.bodies.read(&parts, body).await?;
    let IndexRequest { ready } = match body.bytes.as_slice() {
        [] => IndexRequest::default(),
        body => serde_json::from_slice(body).map_err(|error| Refusal::Malformed {
            cause: format!("of the index: {}", clipped(&error.to_string())),
        })?,
    };
    let entry = |Entry { name, version, state, reason }| json!({ "name": name, "version": version, "state": state, "reason": reason });
    Ok(Json(index(&shared.models, ready).map(entry).collect()))
}

/// `GET /v2/models/{model}/config` and the same of a version.
///
/// # Errors
/// [`Refusal`] for a model or version that is not served.
pub async fn config(State(shared): State<Shared>, path: Asked) -> Result<Json<Value>, Refusal> {
    let model = shared.models.model(&path.model)?.snapshot_of(path.version.as_deref())?;
    let tensor = |(name, datatype)| json!({ "name": name, "data_type": data_type(datatype), "dims": [1] });
    Ok(Json(json!({
        "name": model.name(),
        "platform": platform(&model),
        "backend": super::SERVER_NAME,
        "max_batch_size": shared.limits.rows_max,
        "input": inputs(model.schema()).map(tensor).collect::<Vec<_>>(),
        "output": outputs(model.schema()).map(tensor).collect::<Vec<_>>(),
    })))
}

/// `POST /v2/repository/models/{model}/load` and `/unload`.
///
/// # Errors
/// Always: [`Refusal::NotOffered`].
pub async fn no_loading() -> Result<(), Refusal> {
    Err(Refusal::NotOffered { reason: NO_LOADING })
}

/// What a configuration calls a datatype.
fn data_type(datatype: &str) -> &'static str {
    if datatype == "BYTES" { "TYPE_STRING" } else { "TYPE_FP64" }
}
