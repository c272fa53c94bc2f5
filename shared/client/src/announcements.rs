//! Reading a namespace's announcements: the fold of the protocol over the real log.
//!
//! Blocks: belongs on a thread that may. Does not decide what an instance should run.

use std::{
    thread,
    time::{Duration, Instant},
};

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

/// How long a leader may take to know where the log ends; its followers ask it within a second or two.
const END_KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// Pause between two questions.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The announcements of a namespace, as far as they were read.
pub(crate) struct AnnouncementLog {
    reader: Reader,
    fold: Fold,
    keys: TrustedKeys,
    /// How far the reader is.
    read: Mark,
    /// How far it was when the broker last proved to have the log that is read.
    proven: Mark,
    end: End,
}

/// What is known of the end that the reader reaches first.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Nothing yet.
    New,
    /// Its leader does not know it, and may take until then.
    Unknown(Instant),
    /// Its leader knows it, or does not say.
    Known,
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
            end: End::New,
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

    /// Takes in the next record, or reaches the end; nothing while the leader does not know that one. An error when nothing
    /// is heard until `deadline`.
    pub(crate) fn look_until(&mut self, deadline: Instant) -> Result<Look, KafkaError> {
        let read = self.reader.read_until(deadline)?;
        self.take(read)
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
        self.take(read)
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

    /// Whether the end that was reached is the log's. A leader that was just elected does not know that until its
    /// followers ask it, and shows an end before what was acknowledged last; it says so only to who asks for the end
    /// (<https://cwiki.apache.org/confluence/display/KAFKA/KIP-207>). Otherwise the reader reads on from where it is.
    fn is_the_end(&mut self) -> Result<bool, KafkaError> {
        if matches!(self.end, End::Known) {
            return Ok(true);
        }
        let (end, reached) = match (self.end, self.reader.end()) {
            (End::New, Ok(None)) => (End::Unknown(Instant::now() + END_KNOWN_WITHIN), false),
            (End::Unknown(until), Ok(None)) if Instant::now() < until => (End::Unknown(until), false),
            (End::Unknown(_), Ok(Some(end))) if end > self.read.next => (End::Known, false),
            _ => (End::Known, true),
        };
        self.end = end;
        if !reached {
            debug!(next = self.read.next, ?end, "reading on: this end may not be the log's");
            thread::park_timeout(ASK_AGAIN_AFTER);
            self.reader.jump(match self.read.next {
                0 => From::Beginning,
                next => From::Offset(next),
            })?;
        }
        Ok(reached)
    }

    fn take(&mut self, read: Read) -> Result<Look, KafkaError> {
        let record = match read {
            Read::Record(record) => record,
            Read::End { .. } if self.is_the_end()? => return Ok(Look::End),
            Read::End { .. } | Read::Nothing => return Ok(Look::Nothing),
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
        Ok(Look::Record(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{
        mock::{self, Answer, ApiKey, Brokers},
        producer::Producer,
    };

    /// A log of which one record was read, by a leader that says from now on that it does not know the end.
    async fn read_but_for_the_end() -> (Brokers, Producer, AnnouncementLog) {
        let brokers = mock::brokers(&name());
        let kafka = mock::settings(&brokers);
        let producer = Producer::new(&kafka, Purpose::Publish).unwrap();
        producer.send(&name(), 0, "key", Some(b"before")).await.unwrap();
        let mut log = AnnouncementLog::open(&kafka, &TrustedKeys::default(), Purpose::Scan).unwrap();
        assert!(matches!(log.look_until(deadline()).unwrap(), Look::Record(_)));
        let unknown = [Answer::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE; 2_000];
        brokers.request_errors(ApiKey::ListOffsets, &unknown);
        (brokers, producer, log)
    }

    fn name() -> String {
        topic::announcements(&KafkaSettings::default().namespace).name
    }

    fn deadline() -> Instant {
        Instant::now() + 4 * END_KNOWN_WITHIN
    }

    #[tokio::test]
    async fn an_end_is_none_that_the_leader_does_not_know_yet() {
        let (brokers, producer, mut log) = read_but_for_the_end().await;
        assert_eq!(log.look_until(deadline()).unwrap(), Look::Nothing);
        producer.send(&name(), 0, "key", Some(b"after")).await.unwrap();
        brokers.clear_request_errors(ApiKey::ListOffsets);
        while log.look_until(deadline()).unwrap() != Look::End {}
        assert_eq!(log.read.next, 2);
    }

    #[tokio::test]
    async fn an_end_is_none_that_had_more_behind_it_when_the_leader_came_to_know() {
        let (brokers, producer, mut log) = read_but_for_the_end().await;
        producer.send(&name(), 0, "key", Some(b"after")).await.unwrap();
        brokers.clear_request_errors(ApiKey::ListOffsets);
        log.end = End::Unknown(deadline());
        assert!(!log.is_the_end().unwrap());
        while log.look_until(deadline()).unwrap() != Look::End {}
        assert_eq!(log.read.next, 2);
    }

    #[tokio::test]
    async fn an_end_that_the_leader_never_knows_is_one_after_a_while() {
        let (_brokers, _producer, mut log) = read_but_for_the_end().await;
        let deadline = deadline();
        while log.look_until(deadline).unwrap() != Look::End {
            assert!(Instant::now() < deadline, "no end");
        }
    }
}
