//! Which path leads where, and what all answers have in common.
//!
//! # Invariants
//! * A panic in a handler ends in an answer, not in a broken connection, and takes nothing else with it.

use std::{any::Any, convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderValue, Method, Uri, header::X_CONTENT_TYPE_OPTIONS, request::Parts},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
};
use tokio::sync::watch;
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};

use crate::{
    body::BodyBudget,
    grpc,
    guard::{self, Guard},
    metrics,
    refusal::{Refusal, shortened},
    routes::{self, Route},
    served::ServedModels,
    server::Ending,
    settings::HttpSettings,
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
    /// How far the end of the application is: streams that never end must end when it closes.
    pub ending: watch::Receiver<Ending>,
}

/// What stands in the braces of a path, as far as the route has it.
#[derive(Debug, Default)]
pub struct Asked {
    /// The model.
    pub model: String,
    /// The version.
    pub version: Option<String>,
    /// The key of a stored prediction.
    pub key: String,
    /// The run of a batch.
    pub run: String,
}

/// All routes over these models.
pub fn router(models: Arc<ServedModels>, limits: HttpSettings, ending: watch::Receiver<Ending>) -> Router {
    let routes = routes::all();
    let mut registry = metrics::registry(Arc::clone(&models));
    let guard = Guard::new(limits.clone(), models.instance().clone(), &routes, &mut registry);
    let (registry, bodies) = (Arc::new(registry), BodyBudget::new(limits.clone()));
    let shared = Shared { models, limits, bodies, registry, ending };
    let grpc = grpc::routes(&shared);
    let add = |router: Router<Shared>, route: Route| router.route(route.path, route.handler);
    routes
        .into_iter()
        .fold(Router::new(), add)
        .merge(grpc)
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        // From the inside out. The guard sees which route was matched, and gRPC's as well.
        .layer(from_fn_with_state(Arc::new(guard), guard::check))
        .layer(map_response(no_sniffing))
        .layer(CatchPanicLayer::custom(lost))
        // Requests are logged at DEBUG; an answer of 503 while nothing is live is no error that a person must act on.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(shared)
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    // A path that is no UTF-8 names nothing, and that is what the caller is told.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let mut path = Self::default();
        if let Ok(params) = RawPathParams::from_request_parts(parts, state).await {
            for (name, value) in &params {
                match name {
                    "model" => value.clone_into(&mut path.model),
                    "version" => path.version = Some(value.to_owned()),
                    "key" => value.clone_into(&mut path.key),
                    "run" => value.clone_into(&mut path.run),
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

/// What a panic ends in: an answer, and a line in the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
pub(crate) fn lost(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let cause = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown cause");
    tracing::error!(cause, "a request handler panicked");
    Refusal::Lost.into_response()
}
