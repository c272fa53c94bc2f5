//! Reading a topic as a member of a consumer group, with nothing given up before its owner says so.
//!
//! A revocation is not answered where librdkafka tells of it, inside a poll, but kept until [`Member::settle`]: whoever
//! has read records of the partition can finish with them first. Blocks: belongs on a thread of its own.
//!
//! # Invariants
//! * No offset is committed except through [`Member::commit`] and a transaction.
//! * A partition that was revoked stays ours until `settle`; one that was lost is known to be.
//! * A record comes once, until its partition is given up or reading goes back.

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
    /// Whether a partition of which nothing is committed starts with what comes next, not with its first record.
    pub(crate) starts_at_end: bool,
    pub(crate) session_timeout: Duration,
    /// How long it may do without a poll.
    pub(crate) busy_max: Duration,
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

impl Incoming {
    /// What it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let len = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        len(&self.key) + len(&self.value) + self.headers.bytes()
    }
}

/// What a poll gave.
pub(crate) enum Polled {
    Record(Incoming),
    /// Partitions are to be given up: finish with them, then settle.
    Revoked,
    /// They are another's already: forget what was read of them, then settle.
    Lost,
    /// Partitions came of which some may have no committed offset: finish, then [`rewind`](Member::rewind).
    Taken,
    Nothing,
}

/// A member of a group.
pub(crate) struct Member {
    consumer: Closing<BaseConsumer<Rebalances>>,
    membership: Membership,
    newest: Newest,
}

/// The record that came last of each partition: its offset and its time.
///
/// librdkafka pauses all partitions for a rebalance, and goes on where the application is. Between taking a record from
/// its queue and taking note of that it can pause, and then the record comes again.
#[derive(Default)]
struct Newest(BTreeMap<i32, (i64, Option<i64>)>);

impl Newest {
    /// Takes note of a record; gives whether it is the one that came last. Another one may have the same offset, where
    /// the topic was created anew.
    fn comes_again(&mut self, record: &Incoming) -> bool {
        let place = (record.offset, record.at_unix_ms);
        self.0.insert(record.partition, place) == Some(place)
    }
}

impl Member {
    pub(crate) fn join(kafka: &KafkaSettings, membership: Membership) -> Result<Self, KafkaError> {
        let mut config = connect::config(kafka, Purpose::Join);
        config.set("group.id", &membership.group);
        let session_ms = membership.session_timeout.as_millis();
        config.set("session.timeout.ms", session_ms.to_string());
        config.set("heartbeat.interval.ms", (session_ms / 4).to_string());
        config.set("max.poll.interval.ms", membership.busy_max.as_millis().to_string());
        if let Some(name) = &membership.static_name {
            config.set("group.instance.id", name);
        }
        let rebalances = Rebalances { starts_at_end: membership.starts_at_end, ..Rebalances::default() };
        let consumer: BaseConsumer<Rebalances> = config
            .create_with_context(rebalances)
            .map_err(|error| KafkaError::Property { cause: error.to_string() })?;
        let member = Self { consumer: Closing::new(consumer), membership, newest: Newest::default() };
        let subscribed = member.consumer.subscribe(&[&member.membership.topic]);
        subscribed.map_err(|error| member.explain("a subscription", &error))?;
        Ok(member)
    }

    /// The next record, or what becomes of the partitions; nothing within `timeout`.
    pub(crate) fn poll(&mut self, timeout: Duration) -> Result<Polled, KafkaError> {
        if let Some(revoked) = self.revoked() {
            return Ok(revoked);
        }
        match self.consumer.poll(timeout) {
            None if self.rebalances().taken.swap(false, Relaxed) => Ok(Polled::Taken),
            None => Ok(self.revoked().unwrap_or(Polled::Nothing)),
            Some(Ok(message)) => {
                self.rebalances().is_troubled.store(false, Relaxed);
                let record = Incoming {
                    partition: message.partition(),
                    offset: message.offset(),
                    at_unix_ms: message.timestamp().to_millis(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: Headers::of(message.headers()),
                };
                if self.newest.comes_again(&record) {
                    debug!(
                        partition = record.partition,
                        offset = record.offset,
                        "record left out: it came before"
                    );
                    return Ok(Polled::Nothing);
                }
                Ok(Polled::Record(record))
            }
            Some(Err(error)) => match self.explain("records", &error) {
                // librdkafka goes on by itself.
                passing if passing.is_transient() => {
                    if self.rebalances().is_troubled.swap(true, Relaxed) {
                        debug!(error = %passing, "reading goes on");
                    } else {
                        warn!(error = %passing, "reading goes on as soon as Kafka answers");
                    }
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
    pub(crate) fn settle(&mut self) -> Result<bool, KafkaError> {
        let Some(partitions) = self.rebalances().pending().take() else { return Ok(false) };
        info!(partitions = ?numbers(&partitions), "partitions given up");
        let given_up = self.consumer.incremental_unassign(&partitions);
        given_up.map_err(|error| self.explain("giving partitions up", &error))?;
        let gone = numbers(&partitions);
        self.rebalances().lags().retain(|partition, _| !gone.contains(partition));
        self.newest.0.retain(|partition, _| !gone.contains(partition));
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

    /// Whether the group has told it which partitions are its own, be they none.
    pub(crate) fn has_joined(&self) -> bool {
        self.rebalances().has_joined.load(Relaxed)
    }

    /// Takes note of what was committed inside of a transaction: the lag is reckoned from there.
    pub(crate) fn note(&self, next: &BTreeMap<i32, i64>) {
        if let Err(error) = self.consumer.store_offsets(&self.list(next)) {
            debug!(%error, "the lag is that of before: partitions were taken away meanwhile");
        }
    }

    /// Commits offsets outside of a transaction.
    pub(crate) fn commit(&self, next: &BTreeMap<i32, i64>) -> Result<(), KafkaError> {
        let committed = self.consumer.commit(&self.list(next), CommitMode::Sync);
        committed.map_err(|error| self.explain("a commit", &error))
    }

    /// Goes on reading at the committed offsets; where there is none yet, at the start, which is committed where it is
    /// the end: whoever has the partition next begins there too.
    pub(crate) fn rewind(&mut self) -> Result<(), KafkaError> {
        let assigned = self.consumer.assignment().map_err(|error| self.explain("an assignment", &error))?;
        if assigned.count() == 0 {
            return Ok(());
        }
        // With read_committed this waits for offsets of a transaction whose end is open.
        let committed = self.consumer.committed_offsets(assigned, DEADLINE);
        let places = committed.map_err(|error| self.explain("committed offsets", &error))?;
        let mut ends = BTreeMap::new();
        for place in places.elements() {
            place.error().map_err(|error| self.explain("committed offsets", &error))?;
            if !matches!(place.offset(), Offset::Offset(_)) && self.membership.starts_at_end {
                ends.insert(place.partition(), self.end_of(place.partition())?);
            }
        }
        if !ends.is_empty() {
            info!(offsets = ?ends, "partitions start at their ends");
            self.commit(&ends)?;
        }
        for mut place in places.elements() {
            if !matches!(place.offset(), Offset::Offset(_)) {
                let start =
                    ends.get(&place.partition()).map_or(Offset::Beginning, |&end| Offset::Offset(end));
                drop(place.set_offset(start));
            }
        }
        let sought = self.consumer.seek_partitions(places, DEADLINE);
        let sought = sought.map_err(|error| self.explain("a seek", &error))?;
        for place in sought.elements() {
            place.error().map_err(|error| self.explain("a seek", &error))?;
        }
        self.newest.0.clear();
        Ok(())
    }

    fn end_of(&self, partition: i32) -> Result<i64, KafkaError> {
        let ends = self.consumer.fetch_watermarks(&self.membership.topic, partition, DEADLINE);
        ends.map(|(_, end)| end).map_err(|error| self.explain("the end", &error))
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
        // What ended this client for good says more than that it did.
        let fatal = self.consumer.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code).or(error.rdkafka_error_code());
        let (topic, group) = (&self.membership.topic, &self.membership.group);
        let what = format!("{what} of topic {topic} in group {group}");
        match code {
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
            _ => match fatal {
                Some((_, cause)) => KafkaError::Refused { what, cause },
                None => sorted(&what, error),
            },
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
    starts_at_end: bool,
    /// Partitions came, and nobody has asked yet whether they have committed offsets.
    taken: AtomicBool,
    has_joined: AtomicBool,
    /// Said once, until a record comes.
    is_troubled: AtomicBool,
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
        // Negative where it is not known; the partition -1 is librdkafka's own. Stored is what this member committed
        // inside of a transaction; before its first, what was committed when it took the partition counts.
        let known = partitions.filter(|partition| partition.partition >= 0).filter_map(|partition| {
            let lag =
                [partition.consumer_lag_stored, partition.consumer_lag].into_iter().find(|lag| *lag >= 0)?;
            Some((partition.partition, lag))
        });
        *self.lags() = known.collect();
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
            self.has_joined.store(true, Relaxed);
            self.taken.fetch_or(self.starts_at_end && partitions.count() > 0, Relaxed);
            consumer.incremental_assign(partitions)
        } else if self.closing.load(Relaxed) {
            consumer.incremental_unassign(partitions)
        } else {
            if consumer.assignment_lost() {
                self.has_joined.store(false, Relaxed);
            }
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

#[cfg(test)]
mod tests;
