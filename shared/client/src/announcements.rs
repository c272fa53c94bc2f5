//! Reading a namespace's announcements: the fold of the protocol over the real log.
//!
//! Blocks: belongs on a thread that may. Does not decide what an instance should run.

use std::time::{Duration, Instant};

use modelcast_protocol::{
    fold::{Fold, LogRecord, Step},
    key::TrustedKeys,
    topic,
};
use tracing::{debug, warn};

use crate::{
    kafka::{
        KafkaError,
        connect::Purpose,
        reader::{From, Read, Reader},
    },
    settings::KafkaSettings,
};

/// The announcements of a namespace, as far as they were read.
pub(crate) struct AnnouncementLog {
    reader: Reader,
    fold: Fold,
    keys: TrustedKeys,
    /// How far the reader is.
    read: Mark,
    /// How far it was when the broker last proved to have the log that is read.
    proven: Mark,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// The offset after the last record.
    next: i64,
    /// The time of the youngest record before it, Unix milliseconds.
    youngest_unix_ms: Option<i64>,
}

/// How what was read relates to the log that the broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is nothing more.
    CaughtUp,
    /// There is more.
    Behind,
    /// The log was created anew, and has grown past what was read: another log by the same name.
    Replaced,
}

/// What one look at the log gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A record came in.
    Record(Step),
    /// The end was reached.
    End,
    /// Nothing came in.
    Nothing,
}

impl AnnouncementLog {
    /// Starts at the log's beginning.
    pub(crate) fn open(
        kafka: &KafkaSettings,
        keys: &TrustedKeys,
        purpose: Purpose,
    ) -> Result<Self, KafkaError> {
        let topic = topic::announcements(&kafka.namespace);
        let reader = Reader::open(kafka, purpose, &topic.name, topic.partitions, From::Beginning)?;
        Ok(Self {
            reader,
            fold: Fold::new(kafka.namespace.clone()),
            keys: keys.clone(),
            read: Mark::default(),
            proven: Mark::default(),
        })
    }

    /// Opens the log and reads it to its end.
    pub(crate) fn read_whole(
        kafka: &KafkaSettings,
        keys: &TrustedKeys,
        deadline: Instant,
    ) -> Result<Self, KafkaError> {
        let mut log = Self::open(kafka, keys, Purpose::Scan)?;
        while log.look_until(deadline)? != Look::End {}
        Ok(log)
    }

    /// Takes in the next record, or reaches the end; an error when neither comes until `deadline`.
    pub(crate) fn look_until(&mut self, deadline: Instant) -> Result<Look, KafkaError> {
        let read = self.reader.read_until(deadline)?;
        Ok(self.take(read))
    }

    /// Reads on until the record at `offset` was taken in.
    pub(crate) fn read_past(&mut self, offset: i64, deadline: Instant) -> Result<(), KafkaError> {
        while self.read.next <= offset {
            self.look_until(deadline)?;
        }
        Ok(())
    }

    /// Takes in what comes within `timeout`.
    pub(crate) fn look(&mut self, timeout: Duration) -> Result<Look, KafkaError> {
        let read = self.reader.read(timeout)?;
        Ok(self.take(read))
    }

    /// Asks the broker whether this reader has everything: proof of contact, and of not being stalled.
    ///
    /// A topic that was created anew while nobody fetched, and has grown past the offset to read next, gives no error:
    /// librdkafka takes on the new topic's id and reads on. So the broker is asked for the first record that is younger
    /// than all that were read some time ago: in the log that was read then it cannot stand before where that ended.
    pub(crate) fn standing(&mut self) -> Result<Standing, KafkaError> {
        let youngest = self.proven.youngest_unix_ms;
        let younger = youngest.map(|youngest| self.reader.first_since(youngest + 1)).transpose()?;
        if younger.flatten().is_some_and(|younger| younger < self.proven.next) {
            return Ok(Standing::Replaced);
        }
        self.proven = self.read;
        let (_, end) = self.reader.watermarks()?;
        Ok(if self.read.next >= end { Standing::CaughtUp } else { Standing::Behind })
    }

    /// What is in force as far as was read.
    pub(crate) fn fold(&self) -> &Fold {
        &self.fold
    }

    /// The time of the youngest record that was read, Unix milliseconds; the last one's, since brokers stamp them.
    pub(crate) fn youngest_unix_ms(&self) -> Option<i64> {
        self.read.youngest_unix_ms
    }

    fn take(&mut self, read: Read) -> Look {
        let record = match read {
            Read::Record(record) => record,
            Read::End { .. } => return Look::End,
            Read::Nothing => return Look::Nothing,
        };
        self.read.next = record.offset + 1;
        self.read.youngest_unix_ms = self.read.youngest_unix_ms.max(record.at_unix_ms);
        if self.proven.youngest_unix_ms.is_none() {
            self.proven = self.read;
        }
        let value = record.value.unwrap_or_default();
        let step =
            self.fold.apply(LogRecord { offset: record.offset, key: &record.key, value: &value }, &self.keys);
        match &step {
            Step::TookForce(model) => debug!(%model, offset = record.offset, "announcement took force"),
            Step::Known(_) | Step::Superseded(_) => {}
            Step::Unverified(model, unverified) => {
                warn!(%model, offset = record.offset, cause = unverified.cause, "announcement not verified");
            }
            Step::Foreign { cause } => {
                warn!(offset = record.offset, cause, "record of the announcements topic ignored");
            }
        }
        Look::Record(step)
    }
}
