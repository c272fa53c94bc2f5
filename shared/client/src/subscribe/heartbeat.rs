//! Reporting: one status record of a model after changes, of a burst the last, and as a heartbeat.
//!
//! Reports what the live model says of itself; decides nothing. A report that cannot be sent is followed by the next.

use std::{sync::Arc, time::Duration};

use modelcast_protocol::{
    codec::Record as _,
    desired::Labels,
    limits::REASON_MAX_BYTES,
    resolve::Identity,
    status::{self, HEARTBEAT_MS, Phase, Status, WARNINGS_MAX},
    topic,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, warn};

use super::reporter::Reporter;
use crate::{
    clock,
    kafka::{KafkaError, producer::Producer},
    live::{LiveModel, ModelState},
};

/// Shortest time between two reports: progress and bursts of changes are told in steps.
const REPORT_EVERY: Duration = Duration::from_millis(50);
/// Longest time between two reports of a fetch that goes on.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Reports one model.
pub(crate) struct Heartbeat {
    reporter: Arc<Reporter>,
    identity: Identity,
    boot_id: String,
    live: LiveModel,
    /// The one of the report before.
    producer: Option<Producer>,
    sequence: u64,
}

impl Heartbeat {
    pub(crate) fn new(reporter: Arc<Reporter>, identity: Identity, boot_id: String, live: LiveModel) -> Self {
        Self { reporter, identity, boot_id, live, producer: None, sequence: 0 }
    }

    /// Reports until `stop`, then withdraws the record.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.live.watch();
        let mut ticks = interval(Duration::from_millis(HEARTBEAT_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = false;
        while !*stop.borrow() {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = changes.changed() => if changed.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => break,
            }
            changes.mark_unchanged();
            let sent = tokio::select! {
                sent = self.report() => sent,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match &sent {
                Err(error) if !failed => warn!(model = %self.live.name(), %error, "status not reported"),
                Err(error) => debug!(model = %self.live.name(), %error, "status not reported"),
                Ok(()) => {}
            }
            failed = sent.is_err();
            tokio::select! {
                () = pause(&changes) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        if let Err(error) = self.withdraw().await {
            debug!(model = %self.live.name(), %error, "status not withdrawn");
        }
    }

    async fn report(&mut self) -> Result<(), KafkaError> {
        self.sequence += 1;
        let status = self.status();
        let key = status.key();
        let bytes = status.encode().map_err(|error| KafkaError::Refused {
            what: "a status record".into(),
            cause: error.to_string(),
        })?;
        self.send(&key, Some(&bytes)).await
    }

    async fn withdraw(&mut self) -> Result<(), KafkaError> {
        let key = status::key(self.live.name(), &self.identity.instance);
        tokio::time::timeout(Duration::from_secs(3), self.send(&key, None)).await.unwrap_or_else(|_| {
            Err(KafkaError::Transient { what: "withdrawing the status".into(), cause: "no answer".into() })
        })
    }

    async fn send(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), KafkaError> {
        let topic = topic::fleet(&self.reporter.kafka().namespace);
        let producer = match &self.producer {
            Some(producer) => producer.clone(),
            None => self.producer.insert(self.reporter.producer()?).clone(),
        };
        // It stays while this waits: a report that is given up for the withdrawal must not arrive after it.
        let sent = producer.send(&topic.name, status::partition(key, topic.partitions), key, value).await;
        if sent.is_err() {
            self.reporter.give_up(&producer);
            self.producer = None;
        }
        sent.map(drop)
    }

    fn status(&self) -> Status {
        let state = self.live.state();
        let bounded = |text: &String| text.chars().take(REASON_MAX_BYTES / 4).collect();
        let phase = match &state.phase {
            Phase::Refused { stage, cause } => Phase::Refused { stage: *stage, cause: bounded(cause) },
            phase => phase.clone(),
        };
        Status {
            v: Status::VERSION,
            model: self.live.name().clone(),
            instance: self.identity.instance.clone(),
            boot_id: self.boot_id.clone(),
            sequence: self.sequence,
            at_unix_ms: clock::unix_ms(),
            labels: Labels::clone(&self.identity.labels),
            phase,
            wanted: state.wanted.map(|(wanted, _)| wanted),
            served: state.served,
            generation_seen: state.generation_seen,
            announcement_seen: state.announcement_seen,
            warnings: state.warnings.iter().take(WARNINGS_MAX).map(bounded).collect(),
            traffic: self.live.traffic().report(),
        }
    }
}

/// Waits before the next report: longer for mere progress, with which a large fleet would fill the topic.
async fn pause(changes: &watch::Receiver<ModelState>) {
    sleep(REPORT_EVERY).await;
    // On a copy: what changes meanwhile is still to be reported.
    let mut changes = changes.clone();
    let moved = changes.wait_for(|state| !matches!(state.phase, Phase::Fetching { .. }));
    drop(timeout(PROGRESS_EVERY, moved).await);
}
