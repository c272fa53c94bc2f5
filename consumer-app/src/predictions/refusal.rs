//! Why a request for stored predictions gets none, with the HTTP status of each cause.
//!
//! # Invariants
//! * What a caller did wrong is a 4xx; a 503 is a database that is gone or overloaded, and what is live is served on.

use axum::http::StatusCode;
use modelcast_protocol::ModelName;
use thiserror::Error;

use super::{
    readers::Unanswered,
    run::RunId,
    store::{Remedy, StoreError},
};

/// Why there is no stored prediction.
#[derive(Debug, Error)]
pub enum NotStored {
    /// This application serves none.
    #[error("this application serves no stored predictions: its settings have no section [predictions]")]
    NotConfigured,
    /// No text of a path that could name a model or a run.
    #[error("{0}")]
    NoName(String),
    /// The approved run has no prediction for that key.
    #[error("run {run}, which is approved for model {model}, has no key {key:?}")]
    NoKey {
        /// The model.
        model: ModelName,
        /// Its approved run.
        run: RunId,
        /// The key asked for, shortened.
        key: String,
    },
    /// The run is of another model.
    #[error("run {run} is of model {model}")]
    OtherModel {
        /// The run.
        run: RunId,
        /// Its model.
        model: ModelName,
    },
    /// More keys than one request may have.
    #[error("{keys} keys are more than {max} (predictions.serve.keys_max)")]
    TooManyKeys {
        /// The keys asked for.
        keys: usize,
        /// The limit.
        max: usize,
    },
    /// No JSON, or not of the form that is wanted.
    #[error("the body is no {{\"keys\": [\"…\"]}}: {cause}")]
    Malformed {
        /// What is wrong and where.
        cause: String,
    },
    /// Runs cannot be decided on the page.
    #[error("runs are not decided on this page: predictions.serve.decide_on_page is false")]
    NotOnPage,
    /// The request was not made by the page that it claims to come from.
    #[error("the form was not sent by this page: load the page again, and send it from there")]
    Foreign,
    /// The page was reached under a name that anybody can have pointed here.
    #[error(
        "the page is not known under the name that it was reached by: add it to predictions.serve.page_hosts"
    )]
    OtherHost,
    /// A field of the form is missing or not possible.
    #[error("{field} {cause}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The store has no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl NotStored {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotConfigured | Self::NoName(_) | Self::NoKey { .. } | Self::OtherModel { .. } => {
                StatusCode::NOT_FOUND
            }
            Self::TooManyKeys { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed { .. } | Self::Field { .. } => StatusCode::BAD_REQUEST,
            Self::NotOnPage | Self::Foreign | Self::OtherHost => StatusCode::FORBIDDEN,
            Self::Unanswered(unanswered) => match unanswered {
                Unanswered::Store(StoreError::NoneApproved { .. } | StoreError::NoRun { .. }) => {
                    StatusCode::NOT_FOUND
                }
                Unanswered::Store(error) if error.remedy() == Remedy::Refuse => StatusCode::CONFLICT,
                Unanswered::Store(_) | Unanswered::Busy | Unanswered::Late { .. } => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                Unanswered::Lost => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}
