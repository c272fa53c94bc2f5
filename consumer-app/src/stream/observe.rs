//! Metrics and health of a stream, on a small listener of its own.

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;

use super::metrics::Counts;
use crate::{metrics::OPEN_METRICS, server, settings::HttpSettings};

/// A scraper and a few people.
const CONNECTIONS_MAX: usize = 32;

#[derive(Clone)]
struct Observed {
    registry: Arc<Registry>,
    counts: Arc<Counts>,
}

/// Answers until `stop` is ready.
pub(super) async fn serve(
    listener: TcpListener,
    registry: Registry,
    counts: Arc<Counts>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let observed = Observed { registry: Arc::new(registry), counts };
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { StatusCode::OK }))
        .route("/health/ready", get(ready))
        .with_state(observed);
    let http = HttpSettings { connections_max: CONNECTIONS_MAX, ..HttpSettings::default() };
    server::serve_routes(listener, routes, &http, stop).await;
}

async fn metrics(State(observed): State<Observed>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &observed.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(observed): State<Observed>) -> StatusCode {
    if observed.counts.is_open() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
