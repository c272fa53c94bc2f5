//! Reading partitions of one topic from given offsets: no group, no commits.
//!
//! The end of a partition is librdkafka's EOF event, never offset arithmetic. Blocks: belongs on a thread of its own.

use std::time::{Duration, Instant};

use rdkafka::{
    Message as _, Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaError as Rdkafka,
    types::RDKafkaErrorCode as Code,
};

use super::{
    closing::Closing,
    connect::{self, Consumer, GROUP, Purpose},
    error::{KafkaError, not_granted, sorted},
};
use crate::settings::KafkaSettings;

/// How long a lost connection may take to come back: twice the first backoffs, and a handshake.
const RECONNECTED_AFTER: Duration = Duration::from_secs(2);
/// How long a leader that just answered may take to say where its log ends.
const END_DEADLINE: Duration = Duration::from_millis(500);
/// How long one look at the watermarks may take.
const WATERMARK_DEADLINE: Duration = Duration::from_secs(6);

/// Where to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    Offset(i64),
}

/// One record, copied out of librdkafka's buffers.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    /// Unix milliseconds, as the broker or the producer says.
    pub(crate) at_unix_ms: Option<i64>,
    pub(crate) key: Vec<u8>,
    /// `None` for a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

/// What a read gave.
#[derive(Debug)]
pub(crate) enum Read {
    Record(Record),
    /// A partition has no further record right now. Comes again after each further record.
    End {
        partition: i32,
    },
    /// Nothing within the time given.
    Nothing,
}

/// Reads partitions `0..partitions` of one topic.
pub(crate) struct Reader {
    consumer: Closing<Consumer>,
    topic: String,
    servers: String,
}

impl Reader {
    /// Starts reading.
    pub(crate) fn open(
        kafka: &KafkaSettings,
        purpose: Purpose,
        topic: &str,
        partitions: i32,
        from: From,
    ) -> Result<Self, KafkaError> {
        let consumer: Closing<Consumer> = Closing::new(connect::create(&connect::config(kafka, purpose))?);
        let servers = kafka.bootstrap_servers.clone();
        // Before librdkafka knows the leader, its look for the first offset is tried again only after 500 ms.
        let known = consumer.fetch_metadata(Some(topic), connect::CONTACT_DEADLINE);
        let known = known.map_err(|error| KafkaError::Unreachable {
            servers: servers.clone(),
            cause: error.to_string(),
        })?;
        // Without a leader there is nobody who would refuse a fetch: it would wait for ever.
        let mut refusals = known.topics().iter().filter_map(|one| one.error()).map(Code::from);
        if refusals.any(|code| code == Code::TopicAuthorizationFailed) {
            return Err(not_granted("Read", topic));
        }
        let reader = Self { consumer, topic: topic.to_owned(), servers };
        reader.assign(partitions, from)?;
        Ok(reader)
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// Goes on from another offset of partition 0.
    pub(crate) fn jump(&self, from: From) -> Result<(), KafkaError> {
        self.assign(1, from)
    }

    /// Reads nothing more until the next jump; what was fetched ahead leaves memory.
    pub(crate) fn rest(&self) -> Result<(), KafkaError> {
        self.consumer.unassign().map_err(|error| sorted("an assignment", &error))
    }

    fn assign(&self, partitions: i32, from: From) -> Result<(), KafkaError> {
        let offset = match from {
            From::Beginning => Offset::Beginning,
            From::Offset(offset) => Offset::Offset(offset),
        };
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = list.add_partition_offset(&self.topic, partition, offset);
            added.map_err(|error| sorted("an assignment", &error))?;
        }
        self.consumer.assign(&list).map_err(|error| sorted("an assignment", &error))
    }

    /// The next record, the end, or nothing within `timeout`.
    pub(crate) fn read(&self, timeout: Duration) -> Result<Read, KafkaError> {
        match self.consumer.poll(timeout) {
            None => Ok(Read::Nothing),
            Some(Ok(message)) => Ok(Read::Record(Record {
                offset: message.offset(),
                at_unix_ms: message.timestamp().to_millis(),
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().map(<[u8]>::to_vec),
            })),
            Some(Err(Rdkafka::PartitionEOF(partition))) => Ok(Read::End { partition }),
            Some(Err(error)) => Err(self.explain(&error)),
        }
    }

    /// The next record or end; an error when there is none until `deadline`. A connection that is lost has a moment to
    /// come back: librdkafka makes a new one by itself.
    pub(crate) fn read_until(&self, deadline: Instant) -> Result<Read, KafkaError> {
        let mut lost: Option<(Instant, KafkaError)> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.read(left.min(Duration::from_millis(500))) {
                Ok(Read::Nothing) if left.is_zero() => {
                    let what = format!("reading topic {}", self.topic);
                    return Err(KafkaError::Transient { what, cause: "no answer in time".into() });
                }
                Ok(Read::Nothing) => {}
                Ok(read) => return Ok(read),
                Err(error @ KafkaError::Unreachable { .. }) => {
                    lost.get_or_insert((Instant::now() + RECONNECTED_AFTER, error));
                }
                Err(error) => return Err(error),
            }
            if let Some((_, error)) = lost.take_if(|(until, _)| Instant::now() >= *until) {
                return Err(error);
            }
        }
    }

    /// Asks the broker for the first offset and the one after the last. Proves that it is there.
    pub(crate) fn watermarks(&self) -> Result<(i64, i64), KafkaError> {
        self.consumer
            .fetch_watermarks(&self.topic, 0, WATERMARK_DEADLINE)
            .map_err(|error| self.explain(&error))
    }

    /// The offset after the last of partition 0; `None` while its leader does not know it.
    pub(crate) fn end(&self) -> Result<Option<i64>, KafkaError> {
        match self.consumer.fetch_watermarks(&self.topic, 0, END_DEADLINE) {
            Ok((_, end)) => Ok(Some(end)),
            Err(error) if error.rdkafka_error_code() == Some(Code::OffsetNotAvailable) => Ok(None),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// The first offset of partition 0 whose record is as young as this, if there is one.
    pub(crate) fn first_since(&self, unix_ms: i64) -> Result<Option<i64>, KafkaError> {
        let mut times = TopicPartitionList::new();
        let added = times.add_partition_offset(&self.topic, 0, Offset::Offset(unix_ms));
        added.map_err(|error| sorted("a look for a time", &error))?;
        let found = self.consumer.offsets_for_times(times, WATERMARK_DEADLINE);
        let found = found.map_err(|error| self.explain(&error))?;
        Ok(found.elements().first().and_then(|found| match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    fn explain(&self, error: &Rdkafka) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                KafkaError::OffsetGone { topic: self.topic.clone() }
            }
            Some(Code::TopicAuthorizationFailed) => not_granted("Read", &self.topic),
            // librdkafka looks for the coordinator of our dummy group, though nothing is asked of it.
            Some(Code::GroupAuthorizationFailed) => {
                KafkaError::NotGranted { right: "Describe", resource: format!("group {GROUP}") }
            }
            Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => {
                KafkaError::Unreachable { servers: self.servers.clone(), cause: error.to_string() }
            }
            _ => sorted(&format!("reading topic {}", self.topic), error),
        }
    }
}
