//! Which version a run uses: the one that is live when it begins, and that one until it ends.
//!
//! A subscriber fetches and admits, as it does for an application that serves. A run that was interrupted goes on with its
//! version even if another is live by then: that one is fetched from the catalog.

use std::{sync::Arc, time::Duration};

use modelcast::{
    Catalog, FetchError, KafkaError, LiveModel, LoadedModel, ModelState, admission::Policy,
    settings::KafkaSettings,
};
use modelcast_protocol::{Digest, ModelName, desired::VersionEntry, key::TrustedKeys, status::Phase};
use thiserror::Error;
use tracing::{info, warn};

use super::{settings::Settings, work::Scorer};

/// Where versions come from.
pub struct Versions {
    kafka: KafkaSettings,
    keys: TrustedKeys,
    live: LiveModel,
    policy: Policy,
    /// Whether a subscriber follows the log; without one nothing changes.
    is_followed: bool,
}

/// Why there is no version to score with.
#[derive(Debug, Error)]
pub enum ModelError {
    /// Nothing was admitted in time.
    #[error("no version of model {model} is live after {seconds} s (run.model_wait_seconds): {phase}")]
    NotLive {
        /// The model.
        model: ModelName,
        /// How long was waited.
        seconds: u64,
        /// Where the subscriber stands.
        phase: String,
    },
    /// Another version is live than the one that the run began with, and Kafka cannot be asked for that one.
    #[error("the run began with another version ({}), which cannot be asked for", digest.short())]
    Unreachable {
        /// Digest of the version's manifest.
        digest: Digest,
        /// Why.
        source: Box<KafkaError>,
    },
    /// The same, and it cannot be fetched.
    #[error("the run began with another version ({}), which cannot be had", digest.short())]
    Fetch {
        /// Digest of the version's manifest.
        digest: Digest,
        /// Why.
        source: Box<FetchError>,
    },
}

impl Versions {
    /// Versions of the model that the settings name, whose handle this is.
    #[must_use]
    pub fn new(settings: &Settings, keys: TrustedKeys, live: LiveModel) -> Self {
        let (process, policy) = (&settings.process, settings.model.policy());
        Self { kafka: process.kafka.clone(), keys, live, policy, is_followed: process.has_kafka() }
    }

    /// The handle of the model.
    #[must_use]
    pub fn handle(&self) -> &LiveModel {
        &self.live
    }

    /// The version that is live. Waits so long for the one that this instance should run; after that, or when that one was
    /// refused, the last known good version does.
    ///
    /// # Errors
    /// [`ModelError::NotLive`] when there is none.
    pub async fn live(&self, wait: Duration) -> Result<Arc<LoadedModel>, ModelError> {
        if let Some(model) = self.live.load().filter(|_| !self.is_followed) {
            return Ok(model);
        }
        let mut states = self.live.watch();
        let is_settled = |state: &ModelState| {
            let served = state.served.map(|served| served.manifest);
            let wanted = state.wanted.as_ref().map(|(version, _)| version.manifest);
            let refused = matches!(state.phase, Phase::Refused { .. });
            served.is_some() && self.live.news_age().is_some() && (wanted == served || refused)
        };
        if !is_settled(&states.borrow_and_update()) {
            let (model, kafka) = (self.live.name(), &self.kafka.bootstrap_servers);
            info!(%model, kafka, at_most_seconds = wait.as_secs(),
                "waiting for Kafka to say which version is live (run.model_wait_seconds)");
        }
        let settled = tokio::time::timeout(wait, states.wait_for(is_settled)).await.is_ok();
        let state = self.live.state();
        match self.live.load() {
            Some(model) if settled => Ok(model),
            Some(model) => {
                let warnings = state.warnings.join("; ");
                warn!(version = %model.version(), phase = %state.phase, warnings, "scoring with the last known good version");
                Ok(model)
            }
            None => Err(ModelError::NotLive {
                model: self.live.name().clone(),
                seconds: wait.as_secs(),
                phase: std::iter::once(state.phase.to_string())
                    .chain(state.warnings)
                    .collect::<Vec<_>>()
                    .join("; "),
            }),
        }
    }

    /// The version that a run began with; none when it is no longer among those announced.
    ///
    /// # Errors
    /// [`ModelError::Unreachable`] and [`ModelError::Fetch`].
    pub async fn begun_with(
        &self,
        scorer: &Scorer,
        live: &Arc<LoadedModel>,
    ) -> Result<Option<Arc<LoadedModel>>, ModelError> {
        let digest = scorer.digest;
        if live.digest() == digest {
            return Ok(Some(Arc::clone(live)));
        }
        if !self.is_followed {
            return Ok(None);
        }
        info!(begun_with = %scorer.version, live = %live.version(), "fetching the version that the run began with");
        let unreachable = |source| ModelError::Unreachable { digest, source: Box::new(source) };
        let catalog = Catalog::connect(&self.kafka, &self.keys).await.map_err(unreachable)?;
        let in_force = catalog.in_force(&scorer.model).await.map_err(unreachable)?;
        let entry = in_force.as_ref().and_then(|in_force| {
            let desired = in_force.announcement.body.as_ref().ok()?;
            let may =
                |entry: &&VersionEntry| entry.manifest == digest && !desired.is_quarantined(entry.version);
            desired.versions.iter().find(may).cloned()
        });
        let Some(entry) = entry else { return Ok(None) };
        let fetched =
            catalog.version(&scorer.model, &entry, scorer.generation, &self.policy, Arc::new(|_| {})).await;
        match fetched {
            Ok(model) => Ok(Some(Arc::new(model))),
            // It would be refused each time.
            Err(FetchError::Refused(refusal)) => {
                warn!(begun_with = %scorer.version, %refusal, "the version that the run began with is refused");
                Ok(None)
            }
            Err(source) => Err(ModelError::Fetch { digest, source: Box::new(source) }),
        }
    }
}
