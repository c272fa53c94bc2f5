//! What publishers of a run do: drawn by the seed, carried out by the client, told to the history.

use std::sync::Arc;
use std::time::Duration;

use modelcast::protocol::change::{Change, LeftVersion};
use modelcast::protocol::desired::{DesiredState, PinTarget, Stamp};
use modelcast::protocol::outcome::Verdict;
use modelcast::protocol::{Digest, ModelName, Version};
use modelcast::publish::{Class, Conflict, PublishEvent};
use modelcast::{PublishError, Published, Publisher, clock};
use modelcast_testcontainers::history::{
    Action, Ended, Event, Lost, Outcome, Recorder, Refusal, Settlement, Table,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::child::ChildArgs;
use super::table_model;

/// The client sends an announcement again for so long before its outcome is unknown. Shorter than anybody would have
/// it: then some outcomes are.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// One of so many publishes is for a part of the instances.
const CHALLENGER_OF: u32 = 12;
/// One of so many sends the table of the publish before once more.
const REPEAT_OF: u32 = 10;
/// Numbers in a table: an announcement carries the smallest, the largest is cut into chunks.
const PLACES: [(u32, u32); 3] = [(14, 200), (4, 3_000), (2, 60_000)];

/// Draws and carries out the operations of one publisher.
pub(crate) struct Operator<'a> {
    recorder: Arc<Recorder>,
    publisher: &'a Publisher,
    model: &'a ModelName,
    /// Who signs, for people.
    author: &'a str,
    /// The process, in the names of its operations.
    process: String,
    pub(crate) random: StdRng,
    count: u64,
    last_table: Option<Table>,
}

impl<'a> Operator<'a> {
    pub(crate) fn new(args: &'a ChildArgs, publisher: &'a Publisher, recorder: &Arc<Recorder>) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            publisher,
            model: &args.model,
            author: &args.name,
            process: args.process(),
            random: StdRng::seed_from_u64(args.own_seed()),
            count: 0,
            last_table: None,
        }
    }

    /// Does something that may make sense for what is in force.
    pub(crate) async fn next(&mut self) -> anyhow::Result<()> {
        let state = match self.publisher.catalog().in_force(self.model).await {
            Ok(Some(in_force)) => in_force.announcement.body.ok(),
            // Without news it publishes all the same: then that meets what is wrong.
            Ok(None) | Err(_) => None,
        };
        let action = self.draw(state.as_ref());
        self.carry_out(action).await
    }

    /// Publishes a table that nobody else has published.
    pub(crate) fn new_table(&mut self, cohort: Option<u16>) -> Action {
        let total: u32 = PLACES.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.random_range(0..total);
        let places = PLACES.iter().find(|(weight, _)| {
            let found = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            found
        });
        let places = places.map_or(1, |(_, places)| *places);
        let table = Table { seed: self.random.next_u64(), places };
        self.last_table = Some(table);
        publish(table, cohort)
    }

    fn draw(&mut self, state: Option<&DesiredState>) -> Action {
        let Some(state) = state else { return self.new_table(None) };
        let versions: Vec<Version> = state.versions.iter().map(|entry| entry.version).collect();
        let any = versions.choose(&mut self.random).copied().unwrap_or(Version::FIRST);
        match self.random.random_range(0..100) {
            0..60 => {
                let again = self.last_table.filter(|_| self.random.random_ratio(1, REPEAT_OF));
                let cohort = self.random.random_ratio(1, CHALLENGER_OF).then_some(5_000);
                again.map_or_else(|| self.new_table(cohort), |table| publish(table, None))
            }
            60..68 => Action::Rollback,
            68..80 => Action::Pin { target: self.target(), version: any },
            80..92 => match state.pins.choose(&mut self.random) {
                Some(pin) => Action::Unpin { target: pin.target.clone() },
                None => Action::Unpin { target: self.target() },
            },
            92..96 => {
                let instead = versions.choose(&mut self.random).copied();
                Action::Quarantine { version: any, instead }
            }
            _ => {
                let version = state.quarantine.choose(&mut self.random).map_or(any, |of| of.version);
                Action::Release { version }
            }
        }
    }

    fn target(&mut self) -> PinTarget {
        match self.random.random_range(0..10) {
            number @ 1..=6 => match format!("app-{}", number % 3 + 1).parse() {
                Ok(instance) => PinTarget::Instance(instance),
                Err(_) => PinTarget::All,
            },
            7..9 => PinTarget::Label("zone".to_owned(), "a".to_owned()),
            _ => PinTarget::All,
        }
    }

    /// Writes down what it is about to do, does it, and writes down what it was told.
    pub(crate) async fn carry_out(&mut self, action: Action) -> anyhow::Result<()> {
        self.count += 1;
        let operation = format!("{}/{}", self.process, self.count);
        let stamp =
            Stamp { author: self.author.to_owned(), reason: operation.clone(), at_unix_ms: clock::unix_ms() };
        self.recorder.record(Event::Attempt {
            operation: operation.clone(),
            model: self.model.clone(),
            action: action.clone(),
            patience_ms: u64::try_from(PATIENCE.as_millis())?,
        })?;
        let (outcome, lost) = match change(&action) {
            Some(change) => self.change(&change, &stamp).await,
            None => self.publish(&action, stamp, &operation).await?,
        };
        let unknown = match &outcome {
            Outcome::Unknown { generation, announcement, .. } => Some((*generation, *announcement)),
            _ => None,
        };
        self.recorder.record(Event::Ended(Ended { operation: operation.clone(), outcome, lost }))?;
        let Some((generation, announcement)) = unknown else { return Ok(()) };
        if let Ok(verdict) = self.publisher.settle(self.model, generation, announcement).await {
            let settlement = match verdict {
                Verdict::Committed => Settlement::Committed,
                Verdict::Conflict { by } => Settlement::Conflict { by },
                Verdict::Undecided => Settlement::Undecided,
            };
            let model = self.model.clone();
            self.recorder.record(Event::Settled {
                operation,
                model,
                generation,
                announcement,
                settlement,
            })?;
        }
        Ok(())
    }

    async fn change(&self, change: &Change, stamp: &Stamp) -> (Outcome, Vec<Lost>) {
        match self.publisher.change(self.model, change, stamp).await {
            Ok(done) => {
                let (generation, announcement) = (done.generation, done.digest);
                let lost = done.conflicts.iter().map(lost).collect();
                (Outcome::Committed { version: None, generation, announcement }, lost)
            }
            Err(error) => told(error),
        }
    }

    async fn publish(
        &self,
        action: &Action,
        stamp: Stamp,
        operation: &str,
    ) -> anyhow::Result<(Outcome, Vec<Lost>)> {
        let Action::Publish { table, cohort, .. } = action else { anyhow::bail!("{action:?} is no publish") };
        let request = table_model::request(self.model.clone(), *table, *cohort, stamp);
        let (recorder, operation) = (Arc::clone(&self.recorder), operation.to_owned());
        // The client calls this before it reads back and announces.
        let on_event = Arc::new(move |event| {
            let PublishEvent::Uploaded { manifest, .. } = event else { return };
            let uploaded = Event::Uploaded { operation: operation.clone(), manifest };
            if recorder.record(uploaded).is_err() {
                // Going on would make a history with a hole.
                std::process::abort();
            }
        });
        let done = self.publisher.publish(request, on_event).await;
        Ok(match done {
            Ok(Published::Committed(done)) => {
                let (version, generation) = (Some(done.version), done.generation);
                let outcome = Outcome::Committed { version, generation, announcement: done.announcement };
                (outcome, done.conflicts.iter().map(lost).collect())
            }
            Ok(Published::Unchanged { version, generation, manifest }) => {
                (Outcome::Unchanged { version, generation, manifest }, vec![])
            }
            Ok(Published::DryRun { .. }) => anyhow::bail!("a publish was taken for a dry run"),
            Err(error) => told(error),
        })
    }
}

/// A publish of a table.
pub(crate) fn publish(table: Table, cohort: Option<u16>) -> Action {
    Action::Publish { table, artifact: Digest::of(&table.artifact()), cohort }
}

fn change(action: &Action) -> Option<Change> {
    Some(match action.clone() {
        Action::Publish { .. } => return None,
        Action::Rollback => Change::Rollback { to: None, left: LeftVersion::Quarantine },
        Action::Pin { target, version } => Change::Pin { target, version },
        Action::Unpin { target } => Change::Unpin { target },
        Action::Quarantine { version, instead } => Change::Quarantine { version, instead },
        Action::Release { version } => Change::Release { version },
    })
}

fn lost(conflict: &Conflict) -> Lost {
    let Conflict { generation, announcement, by, .. } = conflict;
    Lost { generation: *generation, announcement: *announcement, by: by.clone() }
}

/// An error, as the publisher was told it.
fn told(error: PublishError) -> (Outcome, Vec<Lost>) {
    let (class, cause) = (error.class(), describe(&error));
    let outcome = match error {
        PublishError::Unknown { generation, digest, .. } => {
            Outcome::Unknown { generation, announcement: digest, cause }
        }
        PublishError::Conflict(last, _) => return (Outcome::Conflict, vec![lost(&last)]),
        PublishError::Change(_) => Outcome::Refused { rule: Refusal::Change, cause },
        PublishError::HistoryLost { reported, .. } => {
            Outcome::Refused { rule: Refusal::HistoryLost { reported }, cause }
        }
        _ if class == Class::Unavailable => Outcome::Unavailable { cause },
        _ => Outcome::Refused { rule: Refusal::Other, cause },
    };
    (outcome, vec![])
}

fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
