//! Writing a batch of records and the offsets that they come from: all or nothing, or at least once.
//!
//! Does not read, and does not decide what becomes of a batch that failed (see `pipe`). Blocks: belongs on a thread of
//! its own, which also serves what librdkafka has to say.
//!
//! # Invariants
//! * A transaction is open only inside of [`Courier::deliver`], or until [`Courier::abort`].
//! * What failed says whether to abort, to take a new producer, or that nothing helps.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError as Rdkafka,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use tracing::debug;

use super::{
    closing::Closing,
    connect::{self, Purpose},
    error::{KafkaError, not_granted, sorted},
    group::Member,
    headers::Headers,
};
use crate::settings::KafkaSettings;

/// How long what is on its way may hold up the place for a further record, and one look at it.
const QUEUE_DEADLINE: Duration = Duration::from_secs(20);
const QUEUE_LOOK: Duration = Duration::from_millis(20);
/// How long a batch outside of a transaction may take to be acknowledged: longer than a record's own deadline.
const FLUSH_DEADLINE: Duration = Duration::from_secs(25);
/// Pause before librdkafka is asked again for what it says can be tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Longer than this, and a request may have been sent twice: see [`Courier::is_suspect`].
const SUSPECT_AFTER: Duration = Duration::from_secs(5);

/// How long to listen to what librdkafka has to say.
const HEARING: Duration = Duration::from_millis(100);

/// One record to be written.
#[derive(Debug)]
pub(crate) struct Parcel<'a> {
    pub(crate) topic: &'a str,
    /// By its key where there is none.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub(crate) value: Option<Cow<'a, [u8]>>,
    pub(crate) at_unix_ms: Option<i64>,
    pub(crate) headers: Headers,
}

/// Why a batch was not written, and what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Abort, go back, go on.
    Abort(String),
    /// This producer is of no more use, or nobody knows what became of its transaction: take a new one.
    Renew(String),
    /// Another producer has this transactional id, or the broker ended the transaction: a new one finds out which.
    Fenced(String),
    /// The same will fail again.
    Refused(KafkaError),
}

/// A producer of batches.
pub(crate) struct Courier {
    producer: Closing<BaseProducer<Deliveries>>,
    transaction: Option<Transaction>,
}

struct Transaction {
    id: String,
    timeout: Duration,
}

impl Courier {
    /// One whose batches are transactions of this id. Ends what an earlier one of the id left open.
    pub(crate) fn transactional(
        kafka: &KafkaSettings,
        id: &str,
        timeout: Duration,
    ) -> Result<Self, KafkaError> {
        let mut config = connect::config(kafka, Purpose::Deliver);
        config.set("transactional.id", id).set("transaction.timeout.ms", timeout.as_millis().to_string());
        // A record cannot be waited for longer than its transaction.
        let message_ms = timeout.as_millis().min(20_000);
        config.set("message.timeout.ms", message_ms.to_string());
        let producer = create(&config)?;
        let transaction = Transaction { id: id.to_owned(), timeout };
        let courier = Self { producer, transaction: Some(transaction) };
        let begun = courier.again(timeout, || courier.producer.init_transactions(timeout));
        begun.map_err(|error| explain_init(id, &error))?;
        Ok(courier)
    }

    /// One that writes at least once.
    pub(crate) fn plain(kafka: &KafkaSettings) -> Result<Self, KafkaError> {
        let producer = create(&connect::config(kafka, Purpose::Deliver))?;
        Ok(Self { producer, transaction: None })
    }

    /// Writes records, and with them that `member` goes on at the offsets `next`.
    pub(crate) fn deliver<'a>(
        &self,
        parcels: impl Iterator<Item = Parcel<'a>>,
        member: &Member,
        next: &BTreeMap<i32, i64>,
    ) -> Result<(), Failure> {
        // Of what was before: a connection that breaks between two batches has no request on its way.
        self.hear();
        self.deliveries().reset();
        let Some(Transaction { timeout, .. }) = &self.transaction else {
            return self.deliver_plainly(parcels, member, next);
        };
        self.again(*timeout, || self.producer.begin_transaction()).map_err(|error| self.failure(error))?;
        for parcel in parcels {
            self.send(parcel)?;
        }
        let Some(fence) = member.fence() else {
            return Err(Failure::Abort("this member was thrown out of its group".into()));
        };
        let offsets = member.list(next);
        let sent =
            self.again(*timeout, || self.producer.send_offsets_to_transaction(&offsets, &fence, *timeout));
        sent.map_err(|error| self.failure(error))?;
        self.again(*timeout, || self.producer.commit_transaction(*timeout))
            .map_err(|error| self.failure(error))
    }

    /// Writes records that come from nowhere.
    pub(crate) fn pour<'a>(&self, parcels: impl Iterator<Item = Parcel<'a>>) -> Result<(), KafkaError> {
        self.write(parcels).map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Abort(cause) | Failure::Renew(cause) | Failure::Fenced(cause) => {
                KafkaError::Transient { what: "records for a topic".into(), cause }
            }
        })
    }

    /// Ends the open transaction without a trace.
    pub(crate) fn abort(&self) -> Result<(), Failure> {
        let Some(Transaction { timeout, .. }) = &self.transaction else { return Ok(()) };
        self.again(*timeout, || self.producer.abort_transaction(*timeout))
            .map_err(|error| self.failure(error))
    }

    /// Whether a request of the last transaction may still be on its way.
    ///
    /// librdkafka lacks KIP-890's guard (confluentinc/librdkafka#5423): an EndTxn that was sent again after a timeout
    /// or a lost connection can reach the broker late, and end the next transaction of this producer in its midst
    /// (KAFKA-17754). A new producer has a higher epoch, which the late request has not.
    pub(crate) fn is_suspect(&self) -> bool {
        self.hear();
        self.transaction.is_some() && self.deliveries().is_suspect()
    }

    /// Hears all that librdkafka has to say by now: one poll serves one event.
    fn hear(&self) {
        let until = Instant::now() + HEARING;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            self.producer.poll(Duration::ZERO);
        }
    }

    fn deliver_plainly<'a>(
        &self,
        parcels: impl Iterator<Item = Parcel<'a>>,
        member: &Member,
        next: &BTreeMap<i32, i64>,
    ) -> Result<(), Failure> {
        self.write(parcels)?;
        member.commit(next).map_err(|error| match error.is_transient() {
            true => Failure::Abort(error.to_string()),
            false => Failure::Refused(error),
        })
    }

    /// Writes records outside of a transaction, and waits until all are acknowledged.
    fn write<'a>(&self, parcels: impl Iterator<Item = Parcel<'a>>) -> Result<(), Failure> {
        for parcel in parcels {
            self.send(parcel)?;
        }
        self.producer.flush(FLUSH_DEADLINE).map_err(|error| Failure::Renew(error.to_string()))?;
        self.deliveries().failed().map_or(Ok(()), |error| Err(self.failure(error)))
    }

    fn send(&self, parcel: Parcel<'_>) -> Result<(), Failure> {
        let deadline = Instant::now() + QUEUE_DEADLINE;
        let mut record = BaseRecord::<[u8], [u8]> {
            topic: parcel.topic,
            partition: parcel.partition,
            payload: parcel.value.as_deref(),
            key: parcel.key,
            timestamp: parcel.at_unix_ms,
            headers: Some(parcel.headers.into_owned()),
            delivery_opaque: (),
        };
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, unsent)) => {
                    let is_full = error.rdkafka_error_code() == Some(Code::QueueFull);
                    if !is_full || Instant::now() >= deadline {
                        return Err(self.failure(error));
                    }
                    record = unsent;
                    self.producer.poll(QUEUE_LOOK);
                }
            }
        }
    }

    /// Asks again as long as librdkafka says that it can help, for `within` at most.
    fn again(&self, within: Duration, ask: impl Fn() -> Result<(), Rdkafka>) -> Result<(), Rdkafka> {
        let started = Instant::now();
        loop {
            let answer = ask();
            let is_retriable = matches!(&answer, Err(Rdkafka::Transaction(error)) if error.is_retriable());
            if started.elapsed() > SUSPECT_AFTER || is_retriable {
                self.deliveries().suspect.store(true, Relaxed);
            }
            if !is_retriable || started.elapsed() > within {
                return answer;
            }
            self.producer.poll(RETRY_PAUSE);
        }
    }

    fn failure(&self, error: Rdkafka) -> Failure {
        // A record that was not taken says more than the transaction that failed by it.
        let code = self.deliveries().failed().as_ref().unwrap_or(&error).rdkafka_error_code();
        let id = self.transaction.as_ref().map(|transaction| transaction.id.as_str());
        match code {
            Some(Code::TransactionalIdAuthorizationFailed) => {
                return Failure::Refused(explain_init(id.unwrap_or_default(), &error));
            }
            Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed) => {
                return Failure::Refused(sorted("a batch of the stream", &error));
            }
            Some(code) => {
                if let Some(cause) = never_passes(code) {
                    let (what, cause) = ("a record of the stream".into(), cause.into());
                    return Failure::Refused(KafkaError::Refused { what, cause });
                }
            }
            None => {}
        }
        let cause = error.to_string();
        match error {
            Rdkafka::Transaction(error) if error.is_fatal() => match error.code() {
                Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Failure::Fenced(cause),
                _ => Failure::Renew(cause),
            },
            Rdkafka::Transaction(error) if error.txn_requires_abort() => Failure::Abort(cause),
            // Of a batch outside of a transaction; and what was sent into one that can be aborted.
            Rdkafka::MessageProduction(_) => match self.producer.client().fatal_error() {
                Some((Code::Fenced, _)) => Failure::Fenced(cause),
                Some(_) => Failure::Renew(cause),
                None => Failure::Abort(cause),
            },
            // Neither done nor undone: a commit without an answer.
            _ => Failure::Renew(cause),
        }
    }

    fn deliveries(&self) -> &Deliveries {
        self.producer.context()
    }
}

fn create(config: &rdkafka::ClientConfig) -> Result<Closing<BaseProducer<Deliveries>>, KafkaError> {
    let created = config.create_with_context(Deliveries::default());
    created.map(Closing::new).map_err(|error: Rdkafka| KafkaError::Property { cause: error.to_string() })
}

fn explain_init(id: &str, error: &Rdkafka) -> KafkaError {
    match error.rdkafka_error_code() {
        Some(Code::TransactionalIdAuthorizationFailed) => {
            KafkaError::NotGranted { right: "Write", resource: format!("transactional-id {id}") }
        }
        Some(Code::ClusterAuthorizationFailed) => not_granted("Write", "of the stream"),
        Some(Code::UnsupportedFeature | Code::UnsupportedVersion) => {
            KafkaError::Unsupported { what: "transactions".into(), cause: error.to_string() }
        }
        Some(Code::InvalidTransactionTimeout) => KafkaError::Refused {
            what: format!("the transaction timeout of {id}"),
            cause: "it is more than the broker's transaction.max.timeout.ms".into(),
        },
        _ => sorted(&format!("the first transaction of {id}"), error),
    }
}

/// What about a record's topic makes it refuse the record however often it is sent.
fn never_passes(code: Code) -> Option<&'static str> {
    match code {
        Code::MessageSizeTooLarge => {
            Some("its topic takes only smaller ones: raise max.message.bytes of the topic")
        }
        Code::InvalidRecord => {
            Some("its topic takes none such: a compacted one (cleanup.policy) takes none without a key")
        }
        Code::InvalidTimestamp => Some(
            "its timestamp is outside of what its topic takes: give the topic the input's \
             message.timestamp.before.max.ms and message.timestamp.after.max.ms, or \
             message.timestamp.type=LogAppendTime",
        ),
        Code::PolicyViolation => Some("a policy of the broker forbids it"),
        _ => None,
    }
}

/// What became of the records of a batch, and of the connections meanwhile.
#[derive(Default)]
struct Deliveries {
    failed: Mutex<Option<Rdkafka>>,
    suspect: AtomicBool,
}

impl Deliveries {
    fn reset(&self) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.suspect.store(false, Relaxed);
    }

    fn failed(&self) -> Option<Rdkafka> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        connect::log(level, facility, message);
    }

    fn error(&self, error: Rdkafka, reason: &str) {
        // A connection broke or timed out.
        self.suspect.store(true, Relaxed);
        debug!(target: "librdkafka", %error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_broke_is_heard_of_whatever_else_there_is_to_hear() {
        // Nobody listens there: each address gives an event, and that all are down is one more.
        let bootstrap_servers = "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3".to_owned();
        let courier =
            Courier::plain(&KafkaSettings { bootstrap_servers, ..KafkaSettings::default() }).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while courier.producer.in_flight_count() < 3 && Instant::now() < until {
            std::thread::park_timeout(RETRY_PAUSE);
        }
        assert!(courier.producer.in_flight_count() >= 3);
        courier.hear();
        assert_eq!(courier.producer.in_flight_count(), 0);
        assert!(courier.deliveries().is_suspect());
    }
}
