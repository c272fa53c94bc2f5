//! The list of all routes, as data: it builds the router, and the OpenAPI document is checked against it.
//!
//! # To add a route
//! One line in [`all`], with its [`Class`], and its description in `assets/openapi.json`; a test names what is missing in
//! either. What is in neither class list, gRPC methods included, is guarded as [`Class::Inference`].

use axum::routing::{MethodRouter, get, post};

use crate::{events, metrics, oip, openapi, page, predictions, router::Shared, status};

/// What a route is for, and so whether it needs a token and whether it may be shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Health, this interface's description and what a page is drawn with: never needs a token, is never shed.
    Open,
    /// For people and monitoring: needs a token where the settings say so, is never shed.
    Watch,
    /// For people, and predicts: needs a token as [`Class::Watch`] does, and is shed, in words for people, as
    /// [`Class::Inference`] is.
    Page,
    /// Predictions and metadata: needs a token where there are any, and is shed when there is too much of it.
    Inference,
}

/// One route.
pub struct Route {
    /// The method, as OpenAPI writes it.
    pub method: &'static str,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// What it is for.
    pub class: Class,
    pub(crate) handler: MethodRouter<Shared>,
}

/// The services of gRPC that say how it goes, by the start of their paths.
const OPEN_SERVICES: [&str; 1] = ["/grpc.health.v1.Health/"];

/// All routes.
#[must_use]
pub fn all() -> Vec<Route> {
    use Class::{Inference, Open, Page, Watch};
    vec![
        read("/", Watch, get(page::list)),
        read("/models/{model}", Page, get(page::model)),
        read("/models/{model}/events", Watch, get(events::stream)),
        read("/models/{model}/runs", Watch, get(predictions::pages::list)),
        read("/models/{model}/runs/{run}", Watch, get(predictions::pages::inspect)),
        send("/models/{model}/runs/{run}", Watch, post(predictions::pages::decide)),
        send("/predictions/{model}", Inference, post(predictions::routes::many)),
        read("/predictions/{model}/{key}", Inference, get(predictions::routes::one)),
        read("/assets/{file}", Open, get(page::asset)),
        read("/status", Watch, get(status::all)),
        read("/metrics", Watch, get(metrics::show)),
        read("/openapi.json", Open, get(openapi::show)),
        read("/v2", Inference, get(oip::server)),
        read("/v2/health/live", Open, get(oip::live)),
        read("/v2/health/ready", Open, get(oip::ready)),
        read("/v2/models/{model}", Inference, get(oip::metadata)),
        read("/v2/models/{model}/ready", Open, get(oip::model_ready)),
        send("/v2/models/{model}/infer", Inference, post(oip::infer)),
        read("/v2/models/{model}/config", Inference, get(oip::repository::config)),
        read("/v2/models/{model}/versions/{version}/config", Inference, get(oip::repository::config)),
        send("/v2/repository/index", Inference, post(oip::repository::list)),
        send("/v2/repository/models/{model}/load", Inference, post(oip::repository::no_loading)),
        send("/v2/repository/models/{model}/unload", Inference, post(oip::repository::no_loading)),
        read("/v2/models/{model}/versions/{version}", Inference, get(oip::metadata)),
        read("/v2/models/{model}/versions/{version}/ready", Open, get(oip::model_ready)),
        send("/v2/models/{model}/versions/{version}/infer", Inference, post(oip::infer)),
    ]
}

/// The class of a request: by the route that it matched, or by its path where none of ours did.
#[must_use]
pub fn class_of(routes: &[(&'static str, Class)], matched: Option<&str>, path: &str) -> Class {
    let ours = matched.and_then(|matched| routes.iter().find(|(path, _)| *path == matched));
    match ours {
        Some((_, class)) => *class,
        None if OPEN_SERVICES.iter().any(|service| path.starts_with(service)) => Class::Open,
        None => Class::Inference,
    }
}

fn read(path: &'static str, class: Class, handler: MethodRouter<Shared>) -> Route {
    Route { method: "get", path, class, handler }
}

fn send(path: &'static str, class: Class, handler: MethodRouter<Shared>) -> Route {
    Route { method: "post", path, class, handler }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_no_list_is_guarded_as_inference() {
        let routes: Vec<_> = all().iter().map(|route| (route.path, route.class)).collect();
        let rows = [
            (Some("/v2/health/live"), "/v2/health/live", Class::Open),
            (Some("/metrics"), "/metrics", Class::Watch),
            (Some("/models/{model}"), "/models/a", Class::Page),
            (Some("/v2/models/{model}/infer"), "/v2/models/a/infer", Class::Inference),
            (None, "/nowhere", Class::Inference),
            (Some("/grpc.health.v1.Health/{*rest}"), "/grpc.health.v1.Health/Check", Class::Open),
            (
                Some("/inference.GRPCInferenceService/{*rest}"),
                "/inference.GRPCInferenceService/ModelInfer",
                Class::Inference,
            ),
        ];
        for (matched, path, class) in rows {
            assert_eq!(class_of(&routes, matched, path), class, "{path}");
        }
    }
}
