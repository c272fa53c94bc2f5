//! From topic to topic, exactly once: batches of records in, records out, and both or neither.
//!
//! A [`Pipe`] gathers a batch from the input; whoever owns it makes records of them and delivers those. Each batch is
//! one transaction, with the offsets of what was gathered inside. What is made of records is not its business. Blocks:
//! belongs on a thread of its own.
//!
//! # Invariants
//! * No transaction is open while records are gathered, so that partitions change hands only between two.
//! * After whatever failed, reading goes on at the offsets that the broker holds for committed.
//! * An end of a transaction that nobody confirmed is settled by a new producer before anything else is read.

mod feed;
mod settings;

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;
use tracing::{info, warn};

pub use self::{
    feed::{create_topics, fill},
    settings::{Delivery, Guarantee, PipeSettings, Start},
};
pub use crate::kafka::{Headers, Incoming};
use crate::{
    kafka::{
        KafkaError, connect,
        group::{self, Member, Polled},
        transaction::{Courier, Failure, Parcel},
    },
    settings::KafkaSettings,
};

/// Largest record that is delivered, key and headers included: what a topic takes that nobody set up otherwise.
pub const RECORD_MAX_BYTES: usize = 960_000;
/// How long a batch waits for its first record.
const IDLE: Duration = Duration::from_millis(200);
/// Pause after a failure; doubled for each further one, up to the second.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After so many failures in a row the group is joined anew.
const FAILURES_OF_A_MEMBER: u32 = 10;
/// So many producers of one name within so long, and somebody else has it.
const FENCES_MAX: usize = 4;
const FENCES_WITHIN: Duration = Duration::from_secs(60);

/// Why a pipe does not open, or ends.
#[derive(Debug, Error)]
pub enum PipeError {
    /// A topic that cannot be.
    #[error("stream.{setting} = {topic:?} is not possible: {cause}")]
    Topic {
        /// Which of the three.
        setting: &'static str,
        /// Its name.
        topic: String,
        /// Why not.
        cause: String,
    },
    /// The broker takes no transactions.
    #[error(
        "the broker takes no transactions of this member: grant it Write on its transactional id (docs/stream.md), or \
         set stream.delivery to \"at-least-once\" or \"best\""
    )]
    NoTransactions(#[source] KafkaError),
    /// Two processes have one name.
    #[error("another process writes as {transactional_id:?}: give each member an instance name of its own")]
    Fenced {
        /// The id that both have.
        transactional_id: String,
    },
    /// Kafka does not do it.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

impl PipeError {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Kafka(error) => error.is_transient(),
            Self::Topic { .. } | Self::NoTransactions(_) | Self::Fenced { .. } => false,
        }
    }
}

/// Which of the two topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// What was made of a record.
    Output,
    /// A record of which nothing could be made.
    DeadLetters,
}

/// One record to be delivered.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub to: Destination,
    /// The partition of the input that it comes from.
    pub from_partition: i32,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    /// Unix milliseconds.
    pub at_unix_ms: Option<i64>,
    /// Its headers.
    pub headers: Headers,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It is in its topics, and its offsets are committed.
    Committed,
    /// It is not, as far as anybody knows: what is not committed is gathered again.
    Rewound,
}

/// A member of a group that reads one topic and writes two.
pub struct Pipe {
    kafka: KafkaSettings,
    settings: PipeSettings,
    guarantee: Guarantee,
    /// Whether output has as many partitions as input: then each record keeps its own.
    keeps_partition: bool,
    member: Member,
    courier: Option<Courier>,
    /// Whether to go back to the committed offsets before anything else is read.
    rewinds: bool,
    failures: u32,
    fences: VecDeque<Instant>,
}

impl Outgoing<'_> {
    /// What it takes in a topic, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |value| value.len());
        self.key.map_or(0, <[u8]>::len) + value + self.headers.bytes()
    }
}

impl Pipe {
    /// Checks the topics, ends what an earlier process of this name left open, and joins the group.
    ///
    /// # Errors
    /// [`PipeError::Topic`] for topics that cannot be, [`PipeError::NoTransactions`] where the broker has none and the
    /// settings want them, [`PipeError::Kafka`] when it cannot be reached, refuses, or a topic is missing.
    pub fn open(kafka: &KafkaSettings, settings: PipeSettings) -> Result<Self, PipeError> {
        connect::contact(kafka)?;
        let (input, output) = settings.check_topics(kafka)?;
        let (courier, guarantee) = open_courier(kafka, &settings)?;
        let member = Member::join(kafka, settings.membership())?;
        info!(delivery = guarantee.name(), input = settings.input, group = settings.group, "stream opened");
        Ok(Self {
            kafka: kafka.clone(),
            settings,
            guarantee,
            keeps_partition: input == output,
            member,
            courier: Some(courier),
            rewinds: false,
            failures: 0,
            fences: VecDeque::new(),
        })
    }

    /// What is in force.
    #[must_use]
    pub fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    /// Whether the group has told this member which partitions are its own, be they none.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.member.has_joined()
    }

    /// Records of each partition of this member that are not committed yet, as of a second ago.
    #[must_use]
    pub fn lags(&self) -> BTreeMap<i32, i64> {
        self.member.lags()
    }

    /// The next batch; empty when nothing comes for a moment, or while Kafka fails.
    ///
    /// # Errors
    /// [`PipeError`] when trying again does not help.
    pub fn gather(&mut self) -> Result<Vec<Incoming>, PipeError> {
        if let Err(error) = self.member.settle() {
            warn!(%error, "joining the group anew");
            self.member = Member::join(&self.kafka, self.settings.membership())?;
        }
        if !self.ready()? {
            if self.rewinds {
                // The group is answered meanwhile; a record that this gives comes again after the way back.
                self.member.poll(Duration::ZERO)?;
            }
            return Ok(Vec::new());
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut until = Instant::now() + IDLE;
        while batch.len() < self.settings.records_max && bytes < self.settings.bytes_max {
            match self.member.poll(until.saturating_duration_since(Instant::now()))? {
                Polled::Record(record) => {
                    if batch.is_empty() {
                        until = Instant::now() + self.settings.linger;
                    }
                    bytes += record.bytes();
                    batch.push(record);
                }
                // What was gathered is delivered before they go: the next batch begins with that.
                Polled::Revoked => break,
                Polled::Taken => {
                    self.rewinds = true;
                    break;
                }
                Polled::Lost => {
                    warn!("thrown out of the group: what was gathered is left to who has the partitions now");
                    batch.clear();
                    break;
                }
                Polled::Nothing if Instant::now() >= until => break,
                Polled::Nothing => {}
            }
        }
        Ok(batch)
    }

    /// Delivers what was made of a batch, and commits its offsets: all or nothing where that is the guarantee.
    ///
    /// # Errors
    /// [`PipeError`] when trying again does not help.
    pub fn deliver(
        &mut self,
        batch: &[Incoming],
        records: Vec<Outgoing<'_>>,
    ) -> Result<Delivered, PipeError> {
        let Some(courier) = &self.courier else { return Ok(Delivered::Rewound) };
        let next = batch.iter().map(|record| (record.partition, record.offset + 1)).collect();
        let sent = self.send(courier, records, &next);
        let failure = match sent {
            Ok(()) => {
                self.member.note(&next);
                if courier.is_suspect() {
                    info!("a request may still be on its way: the next batch gets a new producer");
                    self.courier = None;
                }
                self.failures = 0;
                return Ok(Delivered::Committed);
            }
            Err(Failure::Abort(cause)) => match courier.abort() {
                Ok(()) => Failure::Abort(cause),
                Err(Failure::Abort(cause)) => Failure::Renew(cause),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        self.rewinds = true;
        self.failed(failure)?;
        Ok(Delivered::Rewound)
    }

    fn send(
        &self,
        courier: &Courier,
        records: Vec<Outgoing<'_>>,
        next: &BTreeMap<i32, i64>,
    ) -> Result<(), Failure> {
        let parcels = records.into_iter().map(|record| {
            let (topic, partition) = match record.to {
                Destination::Output => {
                    (&self.settings.output, self.keeps_partition.then_some(record.from_partition))
                }
                Destination::DeadLetters => (&self.settings.dead_letters, None),
            };
            Parcel {
                topic,
                partition,
                key: record.key,
                value: record.value,
                at_unix_ms: record.at_unix_ms,
                headers: record.headers,
            }
        });
        courier.deliver(parcels, &self.member, next)
    }

    /// Takes in a failure: what is of no more use is put away.
    fn failed(&mut self, failure: Failure) -> Result<(), PipeError> {
        self.failures = self.failures.saturating_add(1);
        match failure {
            Failure::Abort(cause) => {
                warn!(cause, "batch aborted: going back to the committed offsets");
                if self.courier.as_ref().is_some_and(Courier::is_suspect) {
                    self.courier = None;
                }
            }
            Failure::Renew(cause) => {
                warn!(cause, "batch given up: a new producer goes back to the committed offsets");
                self.courier = None;
            }
            Failure::Fenced(cause) => {
                warn!(
                    cause,
                    "producer fenced: the transaction took too long, or another process has this name"
                );
                self.courier = None;
                let now = Instant::now();
                self.fences.push_back(now);
                self.fences.retain(|at| now.duration_since(*at) < FENCES_WITHIN);
                if self.fences.len() >= FENCES_MAX {
                    let transactional_id = self.settings.transactional_id(&self.kafka);
                    return Err(PipeError::Fenced { transactional_id });
                }
            }
            Failure::Refused(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Has a producer, and reads at the committed offsets; false when that has to be tried again.
    fn ready(&mut self) -> Result<bool, PipeError> {
        let done = self.renewed().and_then(|()| self.rewound());
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.is_transient() => {
                self.failures = self.failures.saturating_add(1);
                warn!(%error, failures = self.failures, "the stream waits for Kafka");
                thread::park_timeout(pause(self.failures));
                if self.failures.is_multiple_of(FAILURES_OF_A_MEMBER) {
                    self.member = Member::join(&self.kafka, self.settings.membership())?;
                    // Which begins at the committed offsets; but the producer's open transaction is settled first.
                    self.rewinds = false;
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Before the offsets are asked for: a new producer ends the transaction of the one before, whatever became of it.
    fn renewed(&mut self) -> Result<(), PipeError> {
        if self.courier.is_none() {
            let courier = match self.guarantee {
                Guarantee::ExactlyOnce => transactional(&self.kafka, &self.settings)?,
                Guarantee::AtLeastOnce => Courier::plain(&self.kafka)?,
            };
            self.courier = Some(courier);
        }
        Ok(())
    }

    fn rewound(&mut self) -> Result<(), PipeError> {
        if self.rewinds {
            if self.failures > 1 {
                thread::park_timeout(pause(self.failures));
                self.count_partitions()?;
            }
            self.member.rewind()?;
            self.rewinds = false;
        }
        Ok(())
    }

    /// Partitions may have been added: then what is made of a record no longer keeps the record's own.
    fn count_partitions(&mut self) -> Result<(), PipeError> {
        let input = group::partitions(&self.kafka, &self.settings.input)?;
        let output = group::partitions(&self.kafka, &self.settings.output)?;
        let keeps_partition = input == output;
        // A topic that is just being created anew has none.
        if input > 0 && output > 0 && keeps_partition != self.keeps_partition {
            warn!(input, output, keeps_partition, "partitions were added: restart all members of the group");
            self.keeps_partition = keeps_partition;
        }
        Ok(())
    }
}

fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX)
}

fn transactional(kafka: &KafkaSettings, settings: &PipeSettings) -> Result<Courier, PipeError> {
    let id = settings.transactional_id(kafka);
    Courier::transactional(kafka, &id, settings.transaction_timeout).map_err(|error| match error {
        error @ (KafkaError::NotGranted { .. } | KafkaError::Unsupported { .. }) => {
            PipeError::NoTransactions(error)
        }
        error => error.into(),
    })
}

fn open_courier(kafka: &KafkaSettings, settings: &PipeSettings) -> Result<(Courier, Guarantee), PipeError> {
    if settings.delivery != Delivery::AtLeastOnce {
        match (transactional(kafka, settings), settings.delivery) {
            (Ok(courier), _) => return Ok((courier, Guarantee::ExactlyOnce)),
            (Err(PipeError::NoTransactions(error)), Delivery::Best) => {
                warn!(%error, "the broker takes no transactions: records come out at least once");
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok((Courier::plain(kafka)?, Guarantee::AtLeastOnce))
}
