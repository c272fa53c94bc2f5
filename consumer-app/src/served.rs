//! The models that this application serves, each with its live handle and what is counted for it, and who reads the
//! predictions that are stored.
//!
//! Does not fetch and does not answer: handlers take a model from here and its snapshot from the handle.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use modelcast::{LiveModel, LoadedModel};
use modelcast_protocol::{InstanceName, ModelName};
use prometheus_client::metrics::{
    counter::Counter,
    histogram::{Histogram, exponential_buckets},
};

use crate::{
    pace::Pace,
    predictions::readers::Readers,
    refusal::{Refusal, shortened},
};

/// All models of this process, by name.
#[derive(Debug)]
pub struct ServedModels {
    instance: InstanceName,
    models: BTreeMap<ModelName, Arc<ServedModel>>,
    stored: Option<Readers>,
}

/// One model with its counters.
pub struct ServedModel {
    live: LiveModel,
    pace: Pace,
    latency: Histogram,
    refused: Counter,
}

impl ServedModels {
    /// Takes live models in.
    pub fn new(instance: InstanceName, models: impl IntoIterator<Item = LiveModel>) -> Self {
        let entry = |live: LiveModel| (live.name().clone(), Arc::new(ServedModel::new(live)));
        Self { instance, models: models.into_iter().map(entry).collect(), stored: None }
    }

    /// Serves stored predictions too.
    #[must_use]
    pub fn with_stored(self, stored: Option<Readers>) -> Self {
        Self { stored, ..self }
    }

    /// Who reads stored predictions, if they are served.
    #[must_use]
    pub fn stored(&self) -> Option<&Readers> {
        self.stored.as_ref()
    }

    /// The name of this process in the fleet.
    #[must_use]
    pub fn instance(&self) -> &InstanceName {
        &self.instance
    }

    /// All models, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.values()
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`Refusal::UnknownModel`], naming those that are there.
    pub fn model(&self, name: &str) -> Result<&Arc<ServedModel>, Refusal> {
        let found = ModelName::parse(name).ok().and_then(|name| self.models.get(&name));
        found.ok_or_else(|| {
            let known: Vec<_> = self.models.keys().map(ModelName::as_str).collect();
            Refusal::UnknownModel { name: shortened(name), known: shortened(&known.join(", ")) }
        })
    }

    /// Whether an admitted model is live for each name.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.models.values().all(|model| model.live.load().is_some())
    }
}

impl ServedModel {
    fn new(live: LiveModel) -> Self {
        Self {
            live,
            pace: Pace::default(),
            // From 1 µs, a small model's row, to some 4 s, a large batch.
            latency: Histogram::new(exponential_buckets(1e-6, 4.0, 12)),
            refused: Counter::default(),
        }
    }

    /// The handle: state, watch and traffic.
    #[must_use]
    pub fn live(&self) -> &LiveModel {
        &self.live
    }

    /// How long its requests take.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Latencies of its predictions, encoding included, in seconds.
    #[must_use]
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// Requests that were refused for what they asked.
    #[must_use]
    pub fn refused(&self) -> &Counter {
        &self.refused
    }

    /// Counts a refusal, if it is for what the request asked.
    pub fn count_refusal(&self, refusal: &Refusal) {
        if refusal.status().is_client_error() {
            self.refused.inc();
        }
    }

    /// The snapshot that one request uses from start to end.
    ///
    /// # Errors
    /// [`Refusal::NotReady`] as long as nothing was admitted.
    pub fn snapshot(&self) -> Result<Arc<LoadedModel>, Refusal> {
        self.live.load().ok_or_else(|| Refusal::NotReady {
            model: self.live.name().clone(),
            phase: self.live.state().phase.to_string(),
        })
    }

    /// The same, if it is of the version asked for.
    ///
    /// # Errors
    /// [`Refusal::NotServed`], naming the version that is live; else as [`snapshot`](Self::snapshot).
    pub fn snapshot_of(&self, version: Option<&str>) -> Result<Arc<LoadedModel>, Refusal> {
        let model = self.snapshot()?;
        match version {
            Some(asked) if asked.parse() != Ok(model.version()) => Err(Refusal::NotServed {
                model: model.name().clone(),
                asked: shortened(asked),
                served: model.version(),
            }),
            _ => Ok(model),
        }
    }

    /// Counts rows that were predicted together.
    pub fn answered(&self, predictions: &[f64], outputs: usize, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
        self.live.traffic().answered(predictions.iter().copied().step_by(outputs.max(1)), latency);
    }

    /// Counts rows that the model could not predict.
    pub fn failed(&self, rows: usize) {
        self.live.traffic().failed(u64::try_from(rows).unwrap_or(u64::MAX));
    }
}

impl std::fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.live.name())
    }
}
