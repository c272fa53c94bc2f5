//! `/openapi.json`: what can be asked of this application, for programs that write programs.
//!
//! The document is `assets/openapi.json`, written by hand; a test holds it against the list of routes.

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};

/// The OpenAPI 3.1 document of all HTTP routes.
pub const DOCUMENT: &str = include_str!("../assets/openapi.json");

/// `GET /openapi.json`.
pub async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::routes;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn the_document_and_the_router_have_the_same_routes() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (&**method, &**path)))
            .filter(|(method, _)| !["parameters", "summary", "description"].contains(method))
            .collect();
        let routes = routes::all();
        let routed: BTreeSet<_> = routes.iter().map(|route| (route.method, route.path)).collect();
        let only = |one: &BTreeSet<(&str, &str)>, other: &BTreeSet<(&str, &str)>| {
            one.difference(other).map(|(method, path)| format!("{method} {path}")).collect::<Vec<_>>()
        };
        assert_eq!(
            only(&routed, &described),
            Vec::<String>::new(),
            "these routes of src/routes.rs are not described: add them under `paths` in assets/openapi.json"
        );
        assert_eq!(
            only(&described, &routed),
            Vec::<String>::new(),
            "these paths of assets/openapi.json have no route: add them to `all` in src/routes.rs or remove them"
        );
    }

    #[test]
    fn each_class_says_in_the_document_what_its_guard_answers() {
        let document = document();
        for route in routes::all() {
            let operation = &document["paths"][route.path][route.method];
            let name = format!("{} {} in assets/openapi.json", route.method, route.path);
            let has = |status: &str| !operation["responses"][status].is_null();
            let open = operation["security"] == serde_json::json!([]);
            assert_eq!(
                open,
                route.class == routes::Class::Open,
                "`security: []` of {name} is for Class::Open"
            );
            assert_eq!(has("401"), route.class != routes::Class::Open, "the answer 401 of {name}");
            if matches!(route.class, routes::Class::Inference | routes::Class::Page) {
                assert!(has("503"), "{name} does not say that it may be shed: the answer 503");
            }
            assert!(operation["operationId"].is_string(), "the operationId of {name}");
        }
    }

    #[test]
    fn the_document_is_of_this_release_and_its_references_lead_somewhere() {
        fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }
}
