//! Which path leads where, and what all answers have in common.
//!
//! # Invariants
//! * A panic in a handler ends in an answer, not in a broken connection, and takes nothing else with it.

use std::{any::Any, convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderValue, Method, Uri, header::X_CONTENT_TYPE_OPTIONS, request::Parts},
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tokio::sync::watch;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};

use crate::{
    body::BodyBudget,
    events, metrics, oip, page, predictions,
    refusal::{Refusal, shortened},
    served::ServedModels,
    settings::HttpSettings,
    status,
};

/// What every handler shares.
#[derive(Clone)]
pub struct Shared {
    /// The models.
    pub models: Arc<ServedModels>,
    /// Limits of requests.
    pub limits: HttpSettings,
    /// Memory for bodies.
    pub bodies: BodyBudget,
    /// What `/metrics` shows.
    pub registry: Arc<prometheus_client::registry::Registry>,
    /// Turns true when the application shuts down: streams that never end must end then.
    pub closing: watch::Receiver<bool>,
}

/// The `{model}` and, where the route has one, the `{version}` of a path.
#[derive(Debug, Default)]
pub struct VersionPath {
    /// The model asked for.
    pub model: String,
    /// The version asked for.
    pub version: Option<String>,
}

/// All routes over these models.
pub fn router(models: Arc<ServedModels>, limits: HttpSettings, closing: watch::Receiver<bool>) -> Router {
    let registry = Arc::new(metrics::registry(Arc::clone(&models)));
    let bodies = BodyBudget::new(limits.clone());
    let shared = Shared { models, limits, bodies, registry, closing };
    Router::new()
        .route("/", get(page::list))
        .route("/models/{model}", get(page::model))
        .route("/models/{model}/events", get(events::stream))
        .route("/models/{model}/runs", get(predictions::pages::list))
        .route(
            "/models/{model}/runs/{run}",
            get(predictions::pages::inspect).post(predictions::pages::decide),
        )
        .route("/predictions/{model}", post(predictions::routes::many))
        .route("/predictions/{model}/{key}", get(predictions::routes::one))
        .route("/assets/{file}", get(page::asset))
        .route("/status", get(status::all))
        .route("/metrics", get(metrics::show))
        .route("/v2", get(oip::server))
        .route("/v2/health/live", get(oip::live))
        .route("/v2/health/ready", get(oip::ready))
        .route("/v2/models/{model}", get(oip::metadata))
        .route("/v2/models/{model}/ready", get(oip::model_ready))
        .route("/v2/models/{model}/infer", post(oip::infer))
        .route("/v2/models/{model}/versions/{version}", get(oip::metadata))
        .route("/v2/models/{model}/versions/{version}/ready", get(oip::model_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(oip::infer))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(map_response(no_sniffing))
        .layer(CatchPanicLayer::custom(lost))
        // Requests are logged at DEBUG; an answer of 503 while nothing is live is no error that a person must act on.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(shared)
}

impl<S: Send + Sync> FromRequestParts<S> for VersionPath {
    type Rejection = Infallible;

    // A path that is no UTF-8 names no model, and that is what the caller is told.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let mut path = Self::default();
        if let Ok(params) = RawPathParams::from_request_parts(parts, state).await {
            for (name, value) in &params {
                match name {
                    "model" => value.clone_into(&mut path.model),
                    "version" => path.version = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        Ok(path)
    }
}

async fn no_route(method: Method, uri: Uri) -> Refusal {
    Refusal::NoRoute { method: shortened(method.as_str()), path: shortened(uri.path()) }
}

async fn no_sniffing(mut response: Response) -> Response {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
fn lost(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let cause = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown cause");
    tracing::error!(cause, "a request handler panicked");
    Refusal::Lost.into_response()
}
