//! `/predictions/{model}/{key}` for one key, `/predictions/{model}` for a list of them: what the approved run says.
//!
//! # Invariants
//! * One answer is of one run, which it names with model, version and digest.

use std::{borrow::Cow, collections::HashMap, fmt};

use axum::{
    Json,
    extract::{Request, State},
};
use modelcast_models::label;
use modelcast_protocol::{Digest, Generation, ModelName, Version};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{
    readers::{Readers, Unanswered},
    refusal::NotStored,
    run::{Run, RunId},
    store::{Approved, Found, StoreError},
};
use crate::{
    refusal::{Refusal, shortened},
    router::{Asked, Shared},
};

/// Most keys that are read of a body, whatever the settings allow.
const KEYS_MAX: usize = 100_000;
/// Larger bodies are parsed off the runtime's threads.
const SHORT_BODY_BYTES: usize = 16 * 1024;

/// Where predictions come from.
#[derive(Debug, Serialize)]
struct Source<'r> {
    model: &'r ModelName,
    version: Version,
    digest: Digest,
    generation: Generation,
    run: &'r RunId,
    /// When the run was finished.
    scored_at_unix_ms: Option<u64>,
    approved_by: Option<&'r str>,
    approved_at_unix_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Prediction<'r> {
    key: &'r str,
    outputs: serde_json::Map<String, serde_json::Value>,
    labels: HashMap<&'r str, &'r str>,
}

#[derive(Debug, Serialize)]
struct One<'r> {
    #[serde(flatten)]
    source: Source<'r>,
    #[serde(flatten)]
    prediction: Prediction<'r>,
}

#[derive(Debug, Serialize)]
struct Many<'r> {
    #[serde(flatten)]
    source: Source<'r>,
    predictions: Vec<Prediction<'r>>,
    missing: Vec<&'r str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted<'a> {
    #[serde(borrow)]
    keys: Keys<'a>,
}

#[derive(Debug)]
struct Keys<'a>(Vec<Cow<'a, str>>);

/// `GET /predictions/{model}/{key}`.
///
/// # Errors
/// [`Refusal::NotStored`].
pub async fn one(State(shared): State<Shared>, path: Asked) -> Result<Json<serde_json::Value>, Refusal> {
    let model = model(&path)?;
    let approved = predictions(readers(&shared)?, &model, vec![path.key.clone()]).await?;
    let Approved { run, found } = &approved;
    let Some(found) = found.first() else {
        let (run, key) = (run.run.clone(), shortened(&path.key));
        return Err(NotStored::NoKey { model, run, key }.into());
    };
    json(&One { source: source(run), prediction: prediction(run, found) })
}

/// `POST /predictions/{model}` with `{"keys": ["…"]}`. Keys without a prediction are listed as missing.
///
/// # Errors
/// [`Refusal`] for a body that is not of that form, else [`Refusal::NotStored`].
pub async fn many(
    State(shared): State<Shared>,
    path: Asked,
    request: Request,
) -> Result<Json<serde_json::Value>, Refusal> {
    let (model, readers) = (model(&path)?, readers(&shared)?);
    let (parts, body) = request.into_parts();
    let body = shared.bodies.read(&parts, body).await?;
    let keys = if body.bytes.len() > SHORT_BODY_BYTES {
        tokio::task::spawn_blocking(move || keys(&body.bytes)).await.map_err(|_| Refusal::Lost)??
    } else {
        keys(&body.bytes)?
    };
    let max = readers.settings().keys_max;
    if keys.len() > max {
        return Err(NotStored::TooManyKeys { keys: keys.len(), max }.into());
    }
    let Approved { run, found } = predictions(readers, &model, keys.clone()).await?;
    let found: HashMap<&str, &Found> = found.iter().map(|found| (found.key.as_str(), found)).collect();
    let (mut predictions, mut missing) = (Vec::new(), Vec::new());
    for key in &keys {
        match found.get(key.as_str()) {
            Some(found) => predictions.push(prediction(&run, found)),
            None => missing.push(key.as_str()),
        }
    }
    json(&Many { source: source(&run), predictions, missing })
}

/// What the approved run says for some keys.
///
/// # Errors
/// [`NotStored`].
pub(super) async fn predictions(
    readers: &Readers,
    model: &ModelName,
    keys: Vec<String>,
) -> Result<Approved, NotStored> {
    let model = model.clone();
    Ok(readers.ask(move |store| store.predictions(&model, &keys)).await?)
}

pub(super) fn readers(shared: &Shared) -> Result<&Readers, NotStored> {
    shared.models.stored().ok_or(NotStored::NotConfigured)
}

/// The model of a path; one that could not be a model's name has no runs either.
pub(super) fn model(path: &Asked) -> Result<ModelName, NotStored> {
    ModelName::parse(&path.model).map_err(|error| NotStored::NoName(error.to_string()))
}

/// The run of a path.
pub(super) fn run(path: &Asked) -> Result<RunId, NotStored> {
    RunId::parse(&path.run).map_err(|error| NotStored::NoName(error.to_string()))
}

fn keys(body: &[u8]) -> Result<Vec<String>, NotStored> {
    let wanted: Wanted<'_> = serde_json::from_slice(body)
        .map_err(|error| NotStored::Malformed { cause: shortened(&error.to_string()) })?;
    Ok(wanted.keys.0.into_iter().map(Cow::into_owned).collect())
}

fn source(run: &Run) -> Source<'_> {
    let decision = run.decision.as_ref();
    Source {
        model: &run.model,
        version: run.version,
        digest: run.digest,
        generation: run.generation,
        run: &run.run,
        scored_at_unix_ms: run.finished_at_unix_ms,
        approved_by: decision.map(|decision| decision.who.as_str()),
        approved_at_unix_ms: decision.map(|decision| decision.at_unix_ms),
    }
}

fn prediction<'r>(run: &'r Run, found: &'r Found) -> Prediction<'r> {
    let values = || run.outputs.iter().zip(&found.values);
    Prediction {
        key: &found.key,
        outputs: values().map(|(output, value)| (output.name.clone(), (*value).into())).collect(),
        labels: values()
            .filter_map(|(output, value)| Some((output.name.as_str(), label(&output.kind, *value)?)))
            .collect(),
    }
}

fn json(value: &impl Serialize) -> Result<Json<serde_json::Value>, Refusal> {
    serde_json::to_value(value).map(Json).map_err(|_| Refusal::Lost)
}

impl From<NotStored> for Refusal {
    fn from(cause: NotStored) -> Self {
        Self::NotStored(Box::new(cause))
    }
}

impl From<StoreError> for NotStored {
    fn from(error: StoreError) -> Self {
        Self::Unanswered(Unanswered::Store(error))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Keys<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Keys<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys<'de>, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = list.next_element::<Key<'de>>()? {
                    if keys.len() == KEYS_MAX {
                        return Err(A::Error::custom(format!("more than {KEYS_MAX} keys")));
                    }
                    keys.push(key.0);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// One key, borrowed where it stands in the body as it is.
#[derive(Debug, Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
