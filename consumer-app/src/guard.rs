//! What stands before every handler, HTTP's and gRPC's: a token where one is needed, a cap on requests under way, and a
//! deadline for each.
//!
//! Does not look into requests: size and form are for whoever reads the body.
//!
//! # Invariants
//! * What is refused here has cost no more than its headers; a request over the cap is refused at once, never queued.
//! * Health and monitoring are answered while predictions, and pages that predict, are shed.
//! * A request counts until its work has ended, also when its caller has been told that it takes too long.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use modelcast_protocol::InstanceName;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    page,
    refusal::Refusal,
    routes::{Class, Route, class_of},
    settings::HttpSettings,
};

/// Checks requests before they are handled.
pub struct Guard {
    http: HttpSettings,
    instance: InstanceName,
    routes: Vec<(&'static str, Class)>,
    room: Arc<Semaphore>,
    under_way: Gauge,
    shed: Counter,
    unauthenticated: Counter,
    late: Counter,
}

/// A request's place among those under way. Whoever works on after the answer keeps a clone of it: it is among the
/// extensions of the request.
#[derive(Debug, Clone)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] Arc<Taken>);

#[derive(Debug)]
struct Taken {
    under_way: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Guard {
    /// A guard over these routes of that instance, which counts into this registry.
    pub fn new(
        http: HttpSettings,
        instance: InstanceName,
        routes: &[Route],
        registry: &mut Registry,
    ) -> Self {
        let guard = Self {
            routes: routes.iter().map(|route| (route.path, route.class)).collect(),
            room: Arc::new(Semaphore::new(http.requests_max)),
            http,
            instance,
            under_way: Gauge::default(),
            shed: Counter::default(),
            unauthenticated: Counter::default(),
            late: Counter::default(),
        };
        registry.register(
            "modelcast_requests_under_way",
            "Requests for predictions under way",
            guard.under_way.clone(),
        );
        let counters = [
            ("shed", "Requests refused as there were too many (http.requests_max)", &guard.shed),
            ("unauthenticated", "Requests refused for want of a token", &guard.unauthenticated),
            ("late", "Requests that took longer than they may", &guard.late),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("modelcast_{name}_requests"), help, counter.clone());
        }
        guard
    }

    fn class(&self, request: &Request) -> Class {
        let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        class_of(&self.routes, matched, request.uri().path())
    }

    /// Lets a request in, or says why not.
    fn let_in(&self, class: Class, request: &mut Request) -> Result<(), Refusal> {
        let needs_token = match class {
            Class::Open => false,
            // Who changes something says who they are, also where anybody may look.
            Class::Watch | Class::Page => self.http.pages_need_token || !request.method().is_safe(),
            Class::Inference => true,
        };
        if needs_token && !self.http.tokens.is_empty() {
            let name = self.http.tokens.bearer(request.headers()).inspect_err(|_| {
                self.unauthenticated.inc();
            })?;
            tracing::debug!(token = name, path = request.uri().path(), "token accepted");
        }
        if matches!(class, Class::Inference | Class::Page) {
            let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
                self.shed.inc();
                Refusal::Shed { max: self.http.requests_max }
            })?;
            self.under_way.inc();
            let taken = Taken { under_way: self.under_way.clone(), _permit: permit };
            request.extensions_mut().insert(Place(Arc::new(taken)));
        }
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.under_way.dec();
    }
}

/// The middleware.
pub async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let (is_grpc, class) = (is_grpc(request.headers()), guard.class(&request));
    let refused = |refusal: Refusal| match refusal {
        refusal if is_grpc => refusal.into_grpc(),
        shed @ Refusal::Shed { .. } if class == Class::Page => page::shed(&guard.instance, &shed),
        refusal => refusal.into_response(),
    };
    if let Err(refusal) = guard.let_in(class, &mut request) {
        return refused(refusal);
    }
    // It is under way until the head of its answer is there; a handler that works on holds a place of its own.
    let _place = request.extensions().get::<Place>().cloned();
    let own = Duration::from_secs(guard.http.request_timeout_seconds);
    let (deadline, by) = match grpc_timeout(request.headers()) {
        Some(asked) if asked < own => (asked, "grpc-timeout"),
        _ => (own, "http.request_timeout_seconds"),
    };
    let since = Instant::now();
    match timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            guard.late.inc();
            refused(Refusal::Late { after: since.elapsed(), by })
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The deadline that a gRPC client sends: at most 8 digits and a unit.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_grpc_is_read_and_nonsense_is_none() {
        let rows = [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("100m", Some(Duration::from_millis(100))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("100000000S", None),
            ("S", None),
            ("-1S", None),
            ("1x", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(grpc_timeout(&headers), expected, "{text:?}");
        }
    }
}
