//! Why a request gets no prediction, in the Open Inference Protocol's error form: `{"error": "..."}`.
//!
//! Says the HTTP status of each cause and names the field, position or limit. Does not log and does not count.
//!
//! # Invariants
//! * What a caller did wrong is a 4xx; a 5xx is only ever ours: not ready, overloaded, or a model that failed.

use std::time::Duration;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use modelcast_models::{PredictError, ValueError};
use modelcast_protocol::{ModelName, Version};
use serde_json::json;
use thiserror::Error;
use tonic::{Code, Status};

use crate::predictions::refusal::NotStored;

/// When to try again what is refused for a moment only.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request is not answered.
#[derive(Debug, Error)]
pub enum Refusal {
    /// No route of that method and path.
    #[error("there is no {method} {path}")]
    NoRoute {
        /// The method asked with.
        method: String,
        /// The path asked for, shortened.
        path: String,
    },
    /// What other servers of the protocol do, and this one does otherwise.
    #[error("{reason}")]
    NotOffered {
        /// What to do instead.
        reason: &'static str,
    },
    /// This application does not serve that model.
    #[error("there is no model {name:?} here; there is {known}")]
    UnknownModel {
        /// The name asked for, shortened.
        name: String,
        /// The names that are served.
        known: String,
    },
    /// Another version is live.
    #[error("model {model} does not serve version {asked:?}; it serves version {served}")]
    NotServed {
        /// The model.
        model: ModelName,
        /// The version asked for, shortened.
        asked: String,
        /// The version that is live.
        served: Version,
    },
    /// No version of the model is live.
    #[error("model {model} is not ready: {phase}")]
    NotReady {
        /// The model.
        model: ModelName,
        /// Where it stands.
        phase: String,
    },
    /// A body in an encoding that is not read.
    #[error("the body is compressed otherwise than by gzip or deflate: send it so, or plain")]
    Encoding,
    /// Too many bytes.
    #[error("the body is larger than {max_bytes} bytes (http.body_max_bytes)")]
    BodyTooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {seconds} s (http.body_timeout_seconds)")]
    BodyTimeout {
        /// The limit.
        seconds: u64,
    },
    /// A stream of requests was silent.
    #[error("nothing was sent for {seconds} s (http.idle_timeout_seconds)")]
    Idle {
        /// The limit.
        seconds: u64,
    },
    /// The application shuts down.
    #[error("the application shuts down: ask again")]
    Ending,
    /// The connection broke within the body.
    #[error("the body broke off: {cause}")]
    BodyBroken {
        /// What the connection said.
        cause: String,
    },
    /// Other requests' bodies take all the memory there is for them.
    #[error("too many large requests at once: try again (http.bodies_max_bytes is {max_bytes})")]
    Busy {
        /// The limit on all bodies together.
        max_bytes: usize,
    },
    /// No JSON, or not of a request's form; says line and column.
    #[error("the body is no inference request: {cause}")]
    Malformed {
        /// What is wrong and where.
        cause: String,
    },
    /// More rows than one request may have.
    #[error("{rows} rows are more than {max} (http.rows_max)")]
    TooManyRows {
        /// The rows asked for.
        rows: u64,
        /// The limit.
        max: usize,
    },
    /// A tensor does not fit the model.
    #[error("{tensor}: {cause}")]
    Tensor {
        /// Its name, quoted.
        tensor: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Features without a tensor.
    #[error("feature {feature:?} is missing{}", and_more(*.more))]
    Missing {
        /// Name of the first one missing.
        feature: String,
        /// How many more are missing.
        more: usize,
    },
    /// A value does not fit its feature.
    #[error("row {row}: {source}")]
    Value {
        /// Index of the row.
        row: usize,
        /// What is wrong, with the feature's name.
        source: ValueError,
    },
    /// An output that the model does not have, or one that is asked for twice.
    #[error("output {name:?} {cause}")]
    Output {
        /// The name asked for, shortened.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The model gives no prediction for a row.
    #[error("{}", predict_words(.source))]
    Predict {
        /// What the model said.
        #[from]
        source: PredictError,
    },
    /// There is no stored prediction.
    #[error(transparent)]
    NotStored(Box<NotStored>),
    /// The route needs a token.
    #[error("{}", token_words(*.given))]
    Unauthenticated {
        /// Whether there was one, though one that is not known here.
        given: bool,
    },
    /// Too many requests are under way.
    #[error("too many requests at once: try again (http.requests_max is {max})")]
    Shed {
        /// The limit.
        max: usize,
    },
    /// The request took longer than it may.
    #[error("the request was not answered within {} ms ({by})", .after.as_millis())]
    Late {
        /// How long it took.
        after: Duration,
        /// What set the limit: the setting, or the caller's header.
        by: &'static str,
    },
    /// The work was lost: a panic in a model of the application's own.
    #[error("the prediction failed inside the application; its log says why")]
    Lost,
}

impl Refusal {
    /// The HTTP status of this refusal.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute { .. }
            | Self::NotOffered { .. }
            | Self::UnknownModel { .. }
            | Self::NotServed { .. } => StatusCode::NOT_FOUND,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::NotReady { .. }
            | Self::Busy { .. }
            | Self::Shed { .. }
            | Self::Late { .. }
            | Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
            Self::BodyTooLarge { .. } | Self::TooManyRows { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout { .. } | Self::Idle { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken { .. }
            | Self::Malformed { .. }
            | Self::Tensor { .. }
            | Self::Missing { .. }
            | Self::Value { .. }
            | Self::Output { .. } => StatusCode::BAD_REQUEST,
            Self::NotStored(cause) => cause.status(),
            Self::Predict { source } if asks_too_much(source) => StatusCode::BAD_REQUEST,
            Self::Predict { .. } | Self::Lost => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The same as gRPC says it.
    #[must_use]
    pub fn grpc_code(&self) -> Code {
        match self {
            // Stored predictions are not asked for over gRPC.
            Self::NoRoute { .. } | Self::NotOffered { .. } | Self::NotStored(_) => Code::Unimplemented,
            Self::UnknownModel { .. } | Self::NotServed { .. } => Code::NotFound,
            Self::NotReady { .. } | Self::Ending => Code::Unavailable,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::Busy { .. } | Self::Shed { .. } | Self::BodyTooLarge { .. } | Self::TooManyRows { .. } => {
                Code::ResourceExhausted
            }
            Self::BodyTimeout { .. } | Self::Idle { .. } | Self::Late { .. } => Code::DeadlineExceeded,
            Self::Predict { source } if !asks_too_much(source) => Code::Internal,
            Self::Lost => Code::Internal,
            Self::BodyBroken { .. }
            | Self::Encoding
            | Self::Malformed { .. }
            | Self::Tensor { .. }
            | Self::Missing { .. }
            | Self::Value { .. }
            | Self::Output { .. }
            | Self::Predict { .. } => Code::InvalidArgument,
        }
    }

    /// An answer of gRPC that is nothing but its status.
    #[must_use]
    pub fn into_grpc(self) -> Response {
        Status::from(self).into_http()
    }

    /// A tensor that does not fit, by its name.
    #[must_use]
    pub fn tensor(name: &str, cause: impl Into<String>) -> Self {
        Self::Tensor { tensor: format!("tensor {:?}", shortened(name)), cause: cause.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(json!({ "error": self.to_string() }))).into_response();
        let more = match self {
            // RFC 6750, section 3: a request without a token is not told of an error.
            Self::Unauthenticated { given: false } => Some((WWW_AUTHENTICATE, "Bearer realm=\"modelcast\"")),
            Self::Unauthenticated { given: true } => {
                Some((WWW_AUTHENTICATE, "Bearer realm=\"modelcast\", error=\"invalid_token\""))
            }
            Self::Busy { .. } | Self::Shed { .. } | Self::Late { .. } => {
                Some((RETRY_AFTER, RETRY_AFTER_SECONDS))
            }
            _ => None,
        };
        response.headers_mut().extend(more.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

/// The start of a text that a caller sent: enough to recognise it by.
#[must_use]
pub fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut start: String = text.chars().take(MAX_CHARS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

/// Start and end of an error's text: it may repeat what a caller sent, and says at its end where that stands.
#[must_use]
pub fn clipped(text: &str) -> String {
    const START_CHARS: usize = 300;
    const END_CHARS: usize = 80;
    let count = text.chars().count();
    if count <= START_CHARS + END_CHARS {
        return text.to_owned();
    }
    text.chars().take(START_CHARS).chain(['…']).chain(text.chars().skip(count - END_CHARS)).collect()
}

/// Whether the row's values, and not the model, are why there is no prediction.
fn asks_too_much(error: &PredictError) -> bool {
    match error {
        PredictError::Overflow { .. } | PredictError::NotFinite { .. } => true,
        PredictError::InRow { source, .. } => asks_too_much(source),
        PredictError::RowWidth { .. }
        | PredictError::OutputWidth { .. }
        | PredictError::BatchRows { .. }
        | PredictError::Category { .. }
        | PredictError::Other(_) => false,
    }
}

fn predict_words(error: &PredictError) -> String {
    match error {
        PredictError::InRow { row, source } => format!("row {row}: {}", predict_words(source)),
        other => other.to_string(),
    }
}

fn token_words(given: bool) -> &'static str {
    if given {
        "the token is not one of this application's"
    } else {
        "this needs a token: Authorization: Bearer TOKEN"
    }
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(", and {more} more") }
}
