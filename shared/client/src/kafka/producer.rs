//! Writing records: idempotent, acknowledged by all in-sync replicas, to a named partition.
//!
//! An idempotent producer sends nothing before it has an id. It asks one broker only, however often it asks
//! (<https://github.com/confluentinc/librdkafka/issues/3848>), and a broker that has none left asks the active
//! controller: when that hangs, for half a minute. A publish does not wait for it: it goes on without an id. Then a
//! record whose acknowledgement is lost may land more than once, and counts once all the same.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message as _, Statistics,
    config::RDKafkaLogLevel,
    error::KafkaError as Rdkafka,
    message::OwnedMessage,
    producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig, future_producer::DeliveryFuture},
    types::RDKafkaErrorCode as Code,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tracing::warn;

use super::{
    closing::Closing,
    connect::{self, Purpose, Quiet},
    error::{KafkaError, not_granted, sorted},
};
use crate::settings::KafkaSettings;

/// How long a record may wait for its place in a full queue.
const QUEUE_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two looks at a full queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// How long brokers may take to give an id, from the producer's beginning: milliseconds, where all is well.
const ID_DEADLINE: Duration = Duration::from_secs(3);

type Client = Closing<FutureProducer<Ids>>;

/// A producer; cheap to clone. A publish takes a new one, so that nothing of an earlier one is still on its way.
#[derive(Clone)]
pub(crate) struct Producer(Arc<Clients>);

/// The idempotent client, and the one that takes its place where it gets no id.
struct Clients {
    kafka: KafkaSettings,
    idempotent: Client,
    /// Whether that has an id, or will never get one.
    settled: watch::Receiver<bool>,
    /// In its place, once no id came in time. Read while a record is handed over: none may come to the idempotent one
    /// after that gave its own back.
    without_id: RwLock<Option<Client>>,
}

/// A record on its way.
pub(crate) struct Delivery {
    delivery: DeliveryFuture,
    producer: Producer,
    topic: String,
}

impl Producer {
    /// For [`Purpose::Publish`] or [`Purpose::Report`].
    pub(crate) fn new(kafka: &KafkaSettings, purpose: Purpose) -> Result<Self, KafkaError> {
        let (ids, settled) = watch::channel(false);
        let idempotent = connect::create_with(&connect::config(kafka, purpose), Ids(ids))?;
        Ok(Self(Arc::new(Clients {
            kafka: kafka.clone(),
            idempotent: Closing::new(idempotent),
            settled,
            without_id: RwLock::default(),
        })))
    }

    /// Waits for the id; if none comes in time, all that was not sent goes through a client that needs none. Not for
    /// reports, of which one must not overtake another.
    pub(crate) async fn go_on_without_an_id(self) {
        let mut settled = self.0.settled.clone();
        if timeout(ID_DEADLINE, settled.wait_for(|settled| *settled)).await.is_ok() {
            return;
        }
        self.0.go_on_without_an_id();
    }

    /// Whether it is the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Sends one record and waits for its acknowledgement; gives its offset.
    ///
    /// An error does not mean that the record is not there, only that nobody said so.
    pub(crate) async fn send(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<i64, KafkaError> {
        self.enqueue(topic, partition, key, value).await?.acknowledged().await
    }

    /// Hands over one record, which the partition gets after those that were handed over before; but for those of a
    /// publish that gets no id. Waits only while the queue is full.
    pub(crate) async fn enqueue(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<Delivery, KafkaError> {
        let deadline = Instant::now() + QUEUE_DEADLINE;
        let mut record = FutureRecord { payload: value, ..FutureRecord::<str, [u8]>::to(topic) }
            .partition(partition)
            .key(key);
        loop {
            let sent = self.0.sending(&self.0.without_id()).send_result(record);
            match sent {
                Ok(delivery) => {
                    return Ok(Delivery { delivery, producer: self.clone(), topic: topic.to_owned() });
                }
                Err((error, unsent)) => {
                    let is_full = error.rdkafka_error_code() == Some(Code::QueueFull);
                    if !is_full || Instant::now() >= deadline {
                        return Err(self.explain(topic, &error));
                    }
                    record = unsent;
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
            }
        }
    }

    fn explain(&self, topic: &str, error: &Rdkafka) -> KafkaError {
        // Who may write nowhere gets no producer id: the record was thrown away, and never sent.
        let fatal = self.0.idempotent.client().fatal_error();
        if fatal.is_some_and(|(code, _)| code == Code::ClusterAuthorizationFailed) {
            return not_granted("Write", topic);
        }
        explain(topic, error)
    }
}

impl Clients {
    /// From here on all goes through a client that needs no id; what was not sent is given back to who waits for it.
    fn go_on_without_an_id(&self) {
        let config = connect::config(&self.kafka, Purpose::PublishWithoutId);
        // The other one was made of the same settings.
        let Ok(client) = connect::create_with(&config, Ids(watch::Sender::new(true))) else { return };
        warn!("no broker gives a producer id, going on without: what is sent again may land more than once");
        let mut without_id = self.without_id.write().unwrap_or_else(PoisonError::into_inner);
        *without_id = Some(Closing::new(client));
        self.idempotent.purge(PurgeConfig::default().queue());
    }

    fn without_id(&self) -> RwLockReadGuard<'_, Option<Client>> {
        self.without_id.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that sends just now.
    fn sending<'a>(&'a self, without_id: &'a Option<Client>) -> &'a Client {
        without_id.as_ref().unwrap_or(&self.idempotent)
    }

    /// Hands over once more what was given back, never sent.
    fn hand_over_again(&self, unsent: &OwnedMessage) -> Result<DeliveryFuture, Rdkafka> {
        let record = FutureRecord::<[u8], [u8]>::to(unsent.topic()).partition(unsent.partition());
        let record = FutureRecord { payload: unsent.payload(), key: unsent.key(), ..record };
        self.sending(&self.without_id()).send_result(record).map_err(|(error, _)| error)
    }
}

/// Hears from the statistics whether the client has an id, or will never get one.
struct Ids(watch::Sender<bool>);

impl ClientContext for Ids {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        connect::log(level, facility, message);
    }

    fn error(&self, error: Rdkafka, reason: &str) {
        Quiet.error(error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if *self.0.borrow() {
            return;
        }
        let statistics = serde_json::from_slice::<Statistics>(statistics).ok();
        let state = statistics.and_then(|statistics| statistics.eos).map(|eos| eos.idemp_state);
        // Who may write nowhere gets none, and what is sent says so.
        self.0.send_replace(matches!(state.as_deref(), Some("Assigned" | "FatalError")));
    }
}

impl Delivery {
    /// Waits for the acknowledgement; gives the record's offset.
    pub(crate) async fn acknowledged(self) -> Result<i64, KafkaError> {
        let mut sent = self.delivery.await;
        if let Ok(Err((error, unsent))) = &sent
            && error.rdkafka_error_code() == Some(Code::PurgeQueue)
        {
            let again = self.producer.0.hand_over_again(unsent);
            sent = again.map_err(|error| self.producer.explain(&self.topic, &error))?.await;
        }
        match sent {
            Ok(Ok(delivery)) => Ok(delivery.offset),
            Ok(Err((error, _))) => Err(self.producer.explain(&self.topic, &error)),
            Err(gone) => Err(KafkaError::Transient {
                what: format!("a record for topic {}", self.topic),
                cause: gone.to_string(),
            }),
        }
    }
}

fn explain(topic: &str, error: &Rdkafka) -> KafkaError {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => not_granted("Write", topic),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            KafkaError::MissingTopic { topic: topic.to_owned(), mend: "modelcast topics create".to_owned() }
        }
        _ => sorted(&format!("a record for topic {topic}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::mock::{self, Answer, ApiKey, Brokers};

    const TOPIC: &str = "announcements";
    const ROUNDS: usize = 5;

    /// Brokers that answer like that, whoever asks for an id.
    fn without_ids(answer: Answer) -> Brokers {
        let brokers = mock::brokers(TOPIC);
        brokers.request_errors(ApiKey::InitProducerId, &[answer; 1_000]);
        brokers
    }

    fn producer_of(brokers: &Brokers) -> Producer {
        Producer::new(&mock::settings(brokers), Purpose::Publish).unwrap()
    }

    /// Those whose controller hangs. Where it is a broker too, as in our containers, all else that a publish does first
    /// takes longer.
    fn whose_controller_hangs() -> Brokers {
        without_ids(Answer::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS)
    }

    #[tokio::test]
    async fn what_was_handed_over_before_it_was_known_that_no_id_comes_is_sent_all_the_same() {
        let brokers = whose_controller_hangs();
        let producer = producer_of(&brokers);
        let mut deliveries = Vec::new();
        for value in [b"one", b"two"] {
            deliveries.push(producer.enqueue(TOPIC, 0, "key", Some(value)).await.unwrap());
        }
        producer.clone().go_on_without_an_id().await;
        for (offset, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.acknowledged().await, Ok(offset));
        }
        assert_eq!(producer.send(TOPIC, 0, "key", None).await, Ok(2));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_is_handed_over_just_as_it_goes_on_without_an_id_is_sent_too() {
        let brokers = whose_controller_hangs();
        for _ in 0..ROUNDS {
            let producer = producer_of(&brokers);
            let handing_over: Vec<_> = (0..4).map(|_| tokio::spawn(hand_over(producer.clone()))).collect();
            producer.0.go_on_without_an_id();
            for task in handing_over {
                for delivery in task.await.unwrap() {
                    delivery.acknowledged().await.unwrap();
                }
            }
        }
    }

    /// Hands over one record after the other until the client was changed.
    async fn hand_over(producer: Producer) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        loop {
            let is_over = producer.0.without_id().is_some();
            deliveries.push(producer.enqueue(TOPIC, 0, "key", Some(b"some")).await.unwrap());
            if is_over {
                return deliveries;
            }
        }
    }

    #[tokio::test]
    async fn who_may_not_write_is_refused_and_does_not_go_on_without_an_id() {
        let brokers = without_ids(Answer::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED);
        let producer = producer_of(&brokers);
        let refused = producer.send(TOPIC, 0, "key", None).await;
        assert_eq!(refused, Err(not_granted("Write", TOPIC)));
        producer.clone().go_on_without_an_id().await;
        assert!(producer.0.without_id().is_none());
    }
}
