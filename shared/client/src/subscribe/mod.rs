//! Subscribing: follow what is announced, fetch it, prove it good, swap it in, report back.
//!
//! [`Subscriber::builder`] names the models; [`Subscriber::start`] gives a [`LiveModel`] for each, serving what served
//! last before Kafka was even asked. Tasks and threads: one news thread for all models; for each model one task that
//! reconciles, one that reports, and a blocking thread while a version is being installed.
//!
//! # Invariants
//! * Kafka down is not application down.
//! * Everything that is spawned is spawned here, and ended by [`Subscriber::shutdown`].

mod cache;
mod heartbeat;
mod install;
mod news;
mod reconcile;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use modelcast_protocol::{ModelName, key::TrustedKeys, resolve::Identity};
use thiserror::Error;
use tokio::{runtime::Handle, sync::watch, task::JoinSet};
use tracing::{error, info, warn};

pub use self::cache::CacheError;
use self::{
    cache::Cache,
    heartbeat::Heartbeat,
    install::Installer,
    news::{Listener, ModelNews, NewsThread},
    reconcile::Reconciler,
};
use crate::{
    admission::Policy,
    fetch::Fetcher,
    kafka::{KafkaError, connect},
    live::LiveModel,
    settings::KafkaSettings,
};

/// How long an orderly shutdown may take.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// Follows models; ends with [`shutdown`](Self::shutdown).
pub struct Subscriber {
    models: BTreeMap<ModelName, LiveModel>,
    stop: watch::Sender<bool>,
    stop_thread: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// What a subscriber is to follow.
pub struct SubscriberBuilder {
    kafka: KafkaSettings,
    keys: TrustedKeys,
    identity: Identity,
    state: PathBuf,
    models: BTreeMap<ModelName, Policy>,
}

/// Why a subscriber does not start. That Kafka is away is no reason.
#[derive(Debug, Error)]
pub enum SubscribeError {
    /// A state folder cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// librdkafka does not take the settings.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

impl Subscriber {
    /// Names who follows, whom it trusts, and the folder in which it keeps what survives a restart: one folder for
    /// each instance.
    #[must_use]
    pub fn builder(
        kafka: &KafkaSettings,
        keys: &TrustedKeys,
        identity: Identity,
        state: &Path,
    ) -> SubscriberBuilder {
        SubscriberBuilder {
            kafka: kafka.clone(),
            keys: keys.clone(),
            identity,
            state: state.to_owned(),
            models: BTreeMap::new(),
        }
    }

    /// The handle of a model.
    #[must_use]
    pub fn model(&self, name: &ModelName) -> Option<&LiveModel> {
        self.models.get(name)
    }

    /// All handles, by name.
    pub fn models(&self) -> impl Iterator<Item = &LiveModel> {
        self.models.values()
    }

    /// Ends all work and withdraws the status records. The handles go on serving what they serve.
    pub async fn shutdown(mut self) {
        self.stop_thread.store(true, Relaxed);
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_DEADLINE, all).await.is_err() {
            warn!("a task did not end in time and is left behind");
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop_thread.store(true, Relaxed);
    }
}

impl SubscriberBuilder {
    /// Follows one more model.
    #[must_use]
    pub fn model(mut self, name: ModelName, policy: Policy) -> Self {
        self.models.insert(name, policy);
        self
    }

    /// Loads what served last from disk, then follows the log.
    ///
    /// # Errors
    /// [`SubscribeError`]; never because Kafka cannot be reached.
    pub async fn start(self) -> Result<Subscriber, SubscribeError> {
        // Finds a property that librdkafka does not take, before any task hides it.
        connect::validate(&self.kafka)?;
        let (stop, stopped) = watch::channel(false);
        let stop_thread = Arc::new(AtomicBool::new(false));
        let boot_id = format!("{:016x}", rand::random::<u64>());
        let (mut models, mut listeners, mut tasks) = (BTreeMap::new(), BTreeMap::new(), JoinSet::new());
        for (name, policy) in self.models {
            let folder = self.state.join(self.kafka.namespace.as_str()).join(name.as_str());
            let installer = Installer {
                live: LiveModel::subscribed(name.clone())?,
                policy,
                keys: self.keys.clone(),
                cache: Cache::open(&folder)?,
                fetcher: Fetcher::new(&self.kafka, &self.keys, &name),
            };
            let live = installer.live.clone();
            let installer = serve_last_known_good(installer).await;
            let (sender, news) = watch::channel(ModelNews::default());
            if let Some(installer) = installer {
                let reconciler = Reconciler::new(installer, self.identity.clone(), news);
                tasks.spawn(reconciler.run(stopped.clone()));
            }
            let heartbeat =
                Heartbeat::new(self.kafka.clone(), self.identity.clone(), boot_id.clone(), live.clone());
            tasks.spawn(heartbeat.run(stopped.clone()));
            listeners.insert(name.clone(), Listener { live: live.clone(), news: sender });
            models.insert(name, live);
        }
        NewsThread {
            kafka: self.kafka,
            keys: self.keys,
            listeners,
            stop: Arc::clone(&stop_thread),
            runtime: Handle::current(),
        }
        .start()?;
        Ok(Subscriber { models, stop, stop_thread, tasks })
    }
}

/// Serves from disk; gives the installer back, unless loading took the whole thread down.
async fn serve_last_known_good(installer: Installer) -> Option<Installer> {
    let model = installer.live.name().clone();
    let loaded = tokio::task::spawn_blocking(move || {
        let loaded = installer.last_known_good();
        (installer, loaded)
    });
    match loaded.await {
        Ok((installer, Some(loaded))) => {
            let (version, generation) = (loaded.version(), loaded.generation());
            installer.live.serve(Arc::new(loaded));
            info!(%model, %version, %generation, "last known good version serves until there is news");
            Some(installer)
        }
        Ok((installer, None)) => {
            info!(%model, "nothing on disk to serve; not ready until a version was admitted");
            Some(installer)
        }
        Err(error) => {
            error!(%model, %error, "loading the last known good version ended unexpectedly");
            None
        }
    }
}
