//! Subscribing: follow what is announced, fetch it, prove it good, swap it in, report back.
//!
//! [`Subscriber::builder`] names the models; [`SubscriberBuilder::start`] gives a [`LiveModel`] for each, serving what served
//! last before Kafka was even asked, or where nothing did, what the application carries with it. Tasks and threads: one news thread for all models; for each model one task that
//! reconciles, one that reports, a blocking thread while there is something to install or to write, and the reaper.
//!
//! # Invariants
//! * Kafka down is not application down.
//! * [`Subscriber::shutdown`] tells all tasks to end and waits for them, 5 s at most. The news thread ends by itself, a
//!   reaper with its handle.

mod cache;
mod heartbeat;
mod install;
mod last_resort;
mod news;
mod reconcile;
mod reporter;
mod supervise;
mod verdicts;

use std::{
    cell::RefCell,
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
use tracing::warn;

pub use self::cache::CacheError;
use self::{
    news::{Listener, ModelNews, NewsThread},
    reporter::Reporter,
    supervise::Plan,
};
use crate::{
    admission::Policy,
    embedded::Embedded,
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
    models: BTreeMap<ModelName, (Policy, Option<Embedded>)>,
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
        self.models.insert(name, (policy, None));
        self
    }

    /// Follows one more model, and serves what the application carries with it as long as there is nothing else: no
    /// version on disk that was live, and none from Kafka yet.
    #[must_use]
    pub fn model_with_embedded(
        mut self,
        name: ModelName,
        policy: Policy,
        embedded: impl Into<Embedded>,
    ) -> Self {
        self.models.insert(name, (policy, Some(embedded.into())));
        self
    }

    /// Loads what served last from disk, or else what is embedded, then follows the log.
    ///
    /// # Errors
    /// [`SubscribeError`]; never because Kafka cannot be reached.
    pub async fn start(self) -> Result<Subscriber, SubscribeError> {
        // Finds a property that librdkafka does not take, before any task hides it.
        connect::validate(&self.kafka)?;
        let (stop, stopped) = watch::channel(false);
        let stop_thread = Arc::new(AtomicBool::new(false));
        let reporter = Arc::new(Reporter::new(self.kafka.clone()));
        let boot_id = format!("{:016x}", rand::random::<u64>());
        let (mut models, mut listeners, mut tasks) = (BTreeMap::new(), BTreeMap::new(), JoinSet::new());
        for (name, (policy, embedded)) in self.models {
            let live = LiveModel::subscribed(name.clone())?;
            let plan = Plan {
                kafka: self.kafka.clone(),
                keys: self.keys.clone(),
                identity: self.identity.clone(),
                boot_id: boot_id.clone(),
                policy,
                embedded,
                folder: self.state.join(self.kafka.namespace.as_str()).join(name.as_str()),
                live: live.clone(),
            };
            let installer = plan.open().await?;
            let (sender, news) = watch::channel(ModelNews::default());
            tasks.spawn(plan.clone().follow(installer, news, stopped.clone()));
            tasks.spawn(plan.report(Arc::clone(&reporter), stopped.clone()));
            listeners.insert(name.clone(), Listener { live: live.clone(), news: sender });
            models.insert(name, live);
        }
        NewsThread {
            kafka: self.kafka,
            keys: self.keys,
            listeners,
            stop: Arc::clone(&stop_thread),
            runtime: Handle::current(),
            sound: RefCell::default(),
        }
        .start()?;
        Ok(Subscriber { models, stop, stop_thread, tasks })
    }
}
