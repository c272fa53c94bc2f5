//! Reading a topic as a member of a consumer group, with nothing given up before its owner says so.
//!
//! A revocation is not answered where librdkafka tells of it, inside a poll, but kept until [`Member::settle`]: whoever
//! has read records of the partition can finish with them first. Blocks: belongs on a thread of its own.
//!
//! # Invariants
//! * No offset is committed except through [`Member::commit`] and a transaction.
//! * A partition that was revoked stays ours until `settle`; one that was lost is known to be.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Message as _, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, ConsumerGroupMetadata},
    error::KafkaError as Rdkafka,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use tracing::{debug, info, warn};

use super::{
    closing::Closing,
    connect::{self, Purpose},
    error::{KafkaError, not_granted, sorted},
    headers::Headers,
};
use crate::settings::KafkaSettings;

/// How long one question to the coordinator or a leader may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Whose member, of what.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) topic: String,
    pub(crate) group: String,
    /// Keeps its partitions over a restart.
    pub(crate) static_name: Option<String>,
    /// Where a partition without a committed offset starts: `earliest` or `latest`.
    pub(crate) start: &'static str,
    pub(crate) session_timeout: Duration,
}

/// One record, copied out of librdkafka's buffers.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Where it stands.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Unix milliseconds, as the broker or the producer says.
    pub at_unix_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

/// What a poll gave.
pub(crate) enum Polled {
    Record(Incoming),
    /// Partitions are to be given up: finish with them, then settle.
    Revoked,
    /// They are another's already: forget what was read of them, then settle.
    Lost,
    Nothing,
}

/// A member of a group.
pub(crate) struct Member {
    consumer: Closing<BaseConsumer<Rebalances>>,
    membership: Membership,
}

impl Member {
    pub(crate) fn join(kafka: &KafkaSettings, membership: Membership) -> Result<Self, KafkaError> {
        let mut config = connect::config(kafka, Purpose::Join);
        config.set("group.id", &membership.group).set("auto.offset.reset", membership.start);
        let session_ms = membership.session_timeout.as_millis();
        config.set("session.timeout.ms", session_ms.to_string());
        config.set("heartbeat.interval.ms", (session_ms / 4).to_string());
        if let Some(name) = &membership.static_name {
            config.set("group.instance.id", name);
        }
        let consumer: BaseConsumer<Rebalances> = config
            .create_with_context(Rebalances::default())
            .map_err(|error| KafkaError::Property { cause: error.to_string() })?;
        let member = Self { consumer: Closing::new(consumer), membership };
        let subscribed = member.consumer.subscribe(&[&member.membership.topic]);
        subscribed.map_err(|error| member.explain("a subscription", &error))?;
        Ok(member)
    }

    /// The next record, or what becomes of the partitions; nothing within `timeout`.
    pub(crate) fn poll(&self, timeout: Duration) -> Result<Polled, KafkaError> {
        if let Some(revoked) = self.revoked() {
            return Ok(revoked);
        }
        match self.consumer.poll(timeout) {
            None => Ok(self.revoked().unwrap_or(Polled::Nothing)),
            Some(Ok(message)) => Ok(Polled::Record(Incoming {
                partition: message.partition(),
                offset: message.offset(),
                at_unix_ms: message.timestamp().to_millis(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: Headers::of(message.headers()),
            })),
            Some(Err(error)) => match self.explain("records", &error) {
                // librdkafka goes on by itself.
                passing if passing.is_transient() => {
                    debug!(error = %passing, "reading goes on");
                    Ok(Polled::Nothing)
                }
                error => Err(error),
            },
        }
    }

    fn revoked(&self) -> Option<Polled> {
        let is_pending = self.rebalances().pending().is_some();
        is_pending.then(|| if self.consumer.assignment_lost() { Polled::Lost } else { Polled::Revoked })
    }

    /// Gives up what was revoked; gives whether there was something.
    pub(crate) fn settle(&self) -> Result<bool, KafkaError> {
        let Some(partitions) = self.rebalances().pending().take() else { return Ok(false) };
        info!(partitions = ?numbers(&partitions), "partitions given up");
        let given_up = self.consumer.incremental_unassign(&partitions);
        given_up.map_err(|error| self.explain("giving partitions up", &error))?;
        self.rebalances().lags().retain(|partition, _| !numbers(&partitions).contains(partition));
        Ok(true)
    }

    /// What makes the broker refuse the offsets of a member that is none any more; `None` when this one is none.
    pub(crate) fn fence(&self) -> Option<ConsumerGroupMetadata> {
        // In this order. A member that is thrown out has no name, and offsets sent without a name are taken unchecked
        // (KIP-447); librdkafka answers this question between its own steps, and calls the assignment lost in the same
        // step in which it drops the name.
        let metadata = self.consumer.group_metadata();
        metadata.filter(|_| !self.consumer.assignment_lost())
    }

    /// Commits offsets outside of a transaction.
    pub(crate) fn commit(&self, next: &BTreeMap<i32, i64>) -> Result<(), KafkaError> {
        let committed = self.consumer.commit(&self.list(next), CommitMode::Sync);
        committed.map_err(|error| self.explain("a commit", &error))
    }

    /// Goes on reading at the committed offsets; where there is none yet, at those of `else_from`.
    pub(crate) fn rewind(&self, else_from: &BTreeMap<i32, i64>) -> Result<(), KafkaError> {
        let assigned = self.consumer.assignment().map_err(|error| self.explain("an assignment", &error))?;
        if assigned.count() == 0 {
            return Ok(());
        }
        // With read_committed this waits for offsets of a transaction whose end is open.
        let committed = self.consumer.committed_offsets(assigned, DEADLINE);
        let committed = committed.map_err(|error| self.explain("committed offsets", &error))?;
        let mut places = BTreeMap::new();
        for place in committed.elements() {
            place.error().map_err(|error| self.explain("committed offsets", &error))?;
            let offset = match place.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => else_from.get(&place.partition()).copied(),
            };
            places.extend(offset.map(|offset| (place.partition(), offset)));
        }
        let sought = self.consumer.seek_partitions(self.list(&places), DEADLINE);
        let sought = sought.map_err(|error| self.explain("a seek", &error))?;
        for place in sought.elements() {
            place.error().map_err(|error| self.explain("a seek", &error))?;
        }
        Ok(())
    }

    pub(crate) fn list(&self, places: &BTreeMap<i32, i64>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (&partition, &offset) in places {
            let mut place = list.add_partition(&self.membership.topic, partition);
            // The one offset it refuses is one that no record has.
            drop(place.set_offset(Offset::Offset(offset)));
        }
        list
    }

    /// Records of each partition of ours that are not committed yet, as of a second ago.
    pub(crate) fn lags(&self) -> BTreeMap<i32, i64> {
        self.rebalances().lags().clone()
    }

    fn rebalances(&self) -> &Rebalances {
        self.consumer.context()
    }

    fn explain(&self, what: &str, error: &Rdkafka) -> KafkaError {
        let (topic, group) = (&self.membership.topic, &self.membership.group);
        let what = format!("{what} of topic {topic} in group {group}");
        match error.rdkafka_error_code() {
            Some(Code::TopicAuthorizationFailed) => not_granted("Read", topic),
            Some(Code::GroupAuthorizationFailed) => {
                KafkaError::NotGranted { right: "Read", resource: format!("group {group}") }
            }
            Some(Code::FencedInstanceId) => KafkaError::Refused {
                what,
                cause: "another process is the member of this name: give each an instance name of its own"
                    .into(),
            },
            Some(Code::InconsistentGroupProtocol) => KafkaError::Refused {
                what,
                cause: "its members assign partitions in another way: take a group of the stream's own"
                    .into(),
            },
            // The topic was seen at the start; one that is created anew comes back.
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                KafkaError::Transient { what, cause: error.to_string() }
            }
            _ => sorted(&what, error),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // librdkafka ends only after what it asked to be given up is; and asks again while it ends.
        self.rebalances().closing.store(true, Relaxed);
        if let Err(error) = self.settle() {
            debug!(%error, "partitions are given up by leaving");
        }
    }
}

/// What librdkafka says during a poll.
#[derive(Default)]
struct Rebalances {
    pending: Mutex<Option<TopicPartitionList>>,
    lags: Mutex<BTreeMap<i32, i64>>,
    closing: AtomicBool,
}

impl Rebalances {
    fn pending(&self) -> MutexGuard<'_, Option<TopicPartitionList>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lags(&self) -> MutexGuard<'_, BTreeMap<i32, i64>> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        connect::log(level, facility, message);
    }

    fn error(&self, error: Rdkafka, reason: &str) {
        debug!(target: "librdkafka", %error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        // Negative where it is not known; the partition -1 is librdkafka's own.
        let known = partitions.filter(|partition| partition.partition >= 0 && partition.consumer_lag >= 0);
        *self.lags() = known.map(|partition| (partition.partition, partition.consumer_lag)).collect();
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            info!(partitions = ?numbers(partitions), "partitions taken");
            consumer.incremental_assign(partitions)
        } else if self.closing.load(Relaxed) {
            consumer.incremental_unassign(partitions)
        } else {
            *self.pending() = Some(partitions.clone());
            Ok(())
        };
        if let Err(error) = done {
            warn!(%error, "partitions are not as the group wants them");
        }
    }
}

/// Partitions of a topic; 0 where there is none. Blocks.
pub(crate) fn partitions(kafka: &KafkaSettings, topic: &str) -> Result<usize, KafkaError> {
    let consumer: Closing<connect::Consumer> =
        Closing::new(connect::create(&connect::config(kafka, Purpose::Administer))?);
    let metadata = consumer.fetch_metadata(Some(topic), connect::CONTACT_DEADLINE);
    let metadata = metadata.map_err(|error| KafkaError::Unreachable {
        servers: kafka.bootstrap_servers.clone(),
        cause: error.to_string(),
    })?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.and_then(|found| found.error()).map(Code::from) {
        Some(Code::TopicAuthorizationFailed) => Err(not_granted("Describe", topic)),
        Some(_) => Ok(0),
        None => Ok(found.map_or(0, |found| found.partitions().len())),
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions
        .elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}
