//! The task of one model that must not die: builds the loop anew when it does, and says so.
//!
//! Reports are the heartbeat's own task; the news thread watches over itself.
//!
//! # Invariants
//! * What serves goes on serving while its loop is built anew: the live model belongs to the subscriber.

use std::{path::PathBuf, sync::Arc, time::Duration};

use modelcast_protocol::{ModelName, key::TrustedKeys, resolve::Identity};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};
use tracing::error;

use super::{
    cache::{Cache, CacheError},
    heartbeat::Heartbeat,
    install::Installer,
    last_resort::{LastResort, serve_what_is_here},
    news::ModelNews,
    reconcile::Reconciler,
    reporter::Reporter,
};
use crate::{
    admission::Policy, embedded::Embedded, fetch::Fetcher, live::LiveModel, settings::KafkaSettings,
};

/// Pause before a loop that died is built anew.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Everything that the tasks of one model are made of.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) kafka: KafkaSettings,
    pub(super) keys: TrustedKeys,
    pub(super) identity: Identity,
    pub(super) boot_id: String,
    pub(super) policy: Policy,
    pub(super) embedded: Option<Embedded>,
    pub(super) folder: PathBuf,
    pub(super) live: LiveModel,
}

impl Plan {
    /// Opens the state folder and serves what served last, or what is embedded; gives `None` when that took its thread down.
    pub(super) async fn open(&self) -> Result<Option<Installer>, CacheError> {
        let plan = self.clone();
        let opened = spawn_blocking(move || {
            let cache = Cache::open(&plan.folder)?;
            let fetcher = Fetcher::new(&plan.kafka, &plan.keys, plan.live.name());
            let Plan { keys, policy, live, .. } = plan;
            let mut installer = Installer { live, policy, keys, cache, fetcher, resort: None };
            // Before anybody can ask: what a restart does not know yet must not look like going back.
            installer.show_held();
            if installer.live.load().is_none() {
                let (namespace, identity) = (&plan.kafka.namespace, &plan.identity);
                let resort = plan.embedded.as_ref();
                let resort = resort.map(|embedded| LastResort { embedded, namespace, identity });
                installer.resort = serve_what_is_here(&installer, resort.as_ref());
            }
            Ok(installer)
        });
        match opened.await {
            Ok(opened) => opened.map(Some),
            Err(error) => {
                error!(model = %self.live.name(), %error, "loading the last known good version ended unexpectedly");
                Ok(None)
            }
        }
    }

    /// Follows the news until `stop`, however often the loop dies.
    pub(super) async fn follow(
        self,
        mut first: Option<Installer>,
        news: watch::Receiver<ModelNews>,
        stop: watch::Receiver<bool>,
    ) {
        loop {
            let installer = match first.take() {
                Some(installer) => Ok(Some(installer)),
                None => self.open().await,
            };
            match installer {
                Ok(Some(installer)) => {
                    let reconciler = Reconciler::new(installer, self.identity.clone(), news.clone());
                    run(self.live.name(), "the loop", reconciler.run(stop.clone())).await;
                }
                Ok(None) => {}
                Err(error) => error!(model = %self.live.name(), %error, "the loop cannot be built anew"),
            }
            if ended(&stop).await || news.has_changed().is_err() {
                return;
            }
            error!(model = %self.live.name(), "the loop of this model ended and is built anew");
        }
    }

    /// Reports until `stop`, however often the reports die.
    pub(super) async fn report(self, reporter: Arc<Reporter>, stop: watch::Receiver<bool>) {
        loop {
            let Self { identity, boot_id, live, .. } = self.clone();
            let heartbeat = Heartbeat::new(Arc::clone(&reporter), identity, boot_id, live);
            run(self.live.name(), "the heartbeat", heartbeat.run(stop.clone())).await;
            if ended(&stop).await {
                return;
            }
            error!(model = %self.live.name(), "the heartbeat of this model ended and is started again");
        }
    }
}

/// Runs a task that ends with the one that waits for it.
async fn run(model: &ModelName, noun: &str, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = JoinSet::new();
    tasks.spawn(task);
    if let Some(Err(error)) = tasks.join_next().await {
        error!(%model, %error, "{noun} died");
    }
}

/// Whether to end; waits a moment, so that what dies at once does not keep a core busy.
async fn ended(stop: &watch::Receiver<bool>) -> bool {
    let mut stop = stop.clone();
    if *stop.borrow() {
        return true;
    }
    timeout(AGAIN_AFTER, stop.wait_for(|stop| *stop)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use modelcast_protocol::{Digest, Generation, fold::Held};

    use super::*;
    use crate::fixture::{Probe, keys, model};

    #[tokio::test]
    async fn what_was_seen_before_a_restart_is_known_before_anybody_can_ask() {
        let folder = tempfile::tempdir().unwrap();
        let held = Held { generation: Generation::new(7), digest: Digest::of(b"seen") };
        Cache::open(folder.path()).unwrap().remember(held).unwrap();
        let live = LiveModel::subscribed(model()).unwrap();
        let plan = Plan {
            kafka: KafkaSettings { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaSettings::default() },
            keys: keys(),
            identity: Identity { instance: "a".parse().unwrap(), labels: [].into() },
            boot_id: "0".into(),
            policy: Arc::<Probe>::default().policy(),
            embedded: None,
            folder: folder.path().to_owned(),
            live: live.clone(),
        };
        drop(plan.open().await.unwrap());
        let state = live.state();
        assert_eq!((state.generation_seen, state.announcement_seen), (held.generation, Some(held.digest)));
    }
}
