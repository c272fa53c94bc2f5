//! The threads that ask the store, so that none of the runtime's ever waits for a database.
//!
//! A few threads with a connection each, and a queue before them; one more for questions that pass over whole runs, so
//! that somebody who inspects a run holds up nobody who asks for a key. The approved run is looked at with each question:
//! what was approved elsewhere is seen by the next request.
//!
//! # Invariants
//! * The queue is bounded, and so is waiting for an answer: what cannot be asked is refused at once.
//! * A database that is gone costs its questions an error, and the application nothing else; it is tried again with
//!   the next question, once a second at most.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{
    run::{Run, RunId},
    store::{Movers, Remedy, Store, StoreError},
};
use crate::settings::{ServeSettings, StoreSettings};

/// Questions that wait for one reader.
const QUEUE_PER_READER: usize = 16;
/// After a database could not be reached, questions are refused for so long without trying.
const REST: Duration = Duration::from_secs(1);
/// Beside the statements' own time: connecting.
const CONNECT_SECONDS: u64 = 5;
/// Pairs of runs whose movers are remembered.
const MOVERS_KEPT: usize = 16;

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum Unanswered {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many questions wait already.
    #[error("too many requests for stored predictions at once: try again")]
    Busy,
    /// The database takes longer than a caller should wait.
    #[error("stored predictions did not come within {seconds} s: try again")]
    Late {
        /// How long was waited.
        seconds: u64,
    },
    /// A reader panicked.
    #[error("looking up stored predictions failed inside the application; its log says why")]
    Lost,
}

/// A handle to the readers; they end when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Readers {
    questions: mpsc::Sender<Question>,
    long_questions: mpsc::Sender<Question>,
    /// What was found last: finished runs do not change, and looking costs a pass over both.
    movers: Arc<Mutex<VecDeque<(RunId, Movers)>>>,
    settings: ServeSettings,
    deadline: Duration,
}

type Question = Box<dyn FnOnce(&mut Connection) + Send>;
type Questions = Arc<Mutex<mpsc::Receiver<Question>>>;

/// The last failure to reach the database, shared by all readers.
type Down = Arc<Mutex<Option<(Instant, String, String)>>>;

struct Connection {
    settings: StoreSettings,
    store: Option<Store>,
    down: Down,
}

impl Readers {
    /// Starts the threads. Nothing is connected before the first question.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(settings: &StoreSettings) -> std::io::Result<Self> {
        let down = Down::default();
        let seconds = settings.statement_timeout_seconds.saturating_add(CONNECT_SECONDS);
        Ok(Self {
            questions: threads("predictions", settings.serve.readers_max, settings, &down)?,
            long_questions: threads("predictions-long", 1, settings, &down)?,
            movers: Arc::default(),
            settings: settings.serve.clone(),
            deadline: Duration::from_secs(seconds),
        })
    }

    /// How stored predictions are served.
    #[must_use]
    pub fn settings(&self) -> &ServeSettings {
        &self.settings
    }

    /// Asks the store; a connection that was lost while nobody used it is made anew, once.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.put(&self.questions, move |connection| match connection.with(&question) {
            Err(StoreError::Unreachable { .. }) if connection.is_new_again() => connection.with(&question),
            other => other,
        })
        .await
    }

    /// Has the store do something, once: what is not known to be done is not done again.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn tell<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.put(&self.questions, move |connection| connection.with(order)).await
    }

    /// What moved most between two finished runs: looked for once, then remembered for a while.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn movers(&self, run: Run, against: Run, limit: u64) -> Result<Movers, Unanswered> {
        let (of, beside) = (run.run.clone(), against.run.clone());
        let is_it = |(run, movers): &&(RunId, Movers)| *run == of && movers.against == beside;
        let known = unpoisoned(&self.movers).iter().find(is_it).map(|(_, movers)| movers.clone());
        if let Some(movers) = known {
            return Ok(movers);
        }
        let look =
            move |connection: &mut Connection| connection.with(|store| store.movers(&run, &against, limit));
        let movers = self.put(&self.long_questions, look).await?;
        let mut known = unpoisoned(&self.movers);
        known.push_front((of, movers.clone()));
        known.truncate(MOVERS_KEPT);
        Ok(movers)
    }

    async fn put<T: Send + 'static>(
        &self,
        questions: &mpsc::Sender<Question>,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let question = move |connection: &mut Connection| {
            // Whoever asked may be gone, and so may be whoever waits.
            if !reply.is_closed() {
                drop(reply.send(work(connection)));
            }
        };
        questions.try_send(Box::new(question)).map_err(|_| Unanswered::Busy)?;
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => answer.map_err(Unanswered::from),
            Ok(Err(_)) => Err(Unanswered::Lost),
            Err(_) => Err(Unanswered::Late { seconds: self.deadline.as_secs() }),
        }
    }
}

/// Starts readers of one queue.
fn threads(
    name: &str,
    count: usize,
    settings: &StoreSettings,
    down: &Down,
) -> std::io::Result<mpsc::Sender<Question>> {
    let (questions, receiver) = mpsc::channel(count.saturating_mul(QUEUE_PER_READER));
    let receiver: Questions = Arc::new(Mutex::new(receiver));
    for reader in 0..count {
        let receiver = Arc::clone(&receiver);
        let connection = Connection { settings: settings.clone(), store: None, down: Arc::clone(down) };
        std::thread::Builder::new()
            .name(format!("{name}-{reader}"))
            .spawn(move || read(&receiver, connection))?;
    }
    Ok(questions)
}

/// One reader, until nobody can ask any more.
fn read(questions: &Questions, mut connection: Connection) {
    loop {
        let next = unpoisoned(questions).blocking_recv();
        let Some(question) = next else { return };
        if catch_unwind(AssertUnwindSafe(|| question(&mut connection))).is_err() {
            error!("a reader of stored predictions panicked");
            connection.store = None;
        }
    }
}

impl Connection {
    fn with<T>(&mut self, work: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.open()?,
        };
        let done = work(&mut store);
        let lost = matches!(&done, Err(StoreError::Unreachable { .. })) || !store.is_usable();
        if !lost {
            self.store = Some(store);
        }
        done
    }

    /// Whether another try would make a connection of its own: the last one was lost, not refused.
    fn is_new_again(&self) -> bool {
        self.store.is_none() && unpoisoned(&self.down).is_none()
    }

    fn open(&mut self) -> Result<Store, StoreError> {
        if let Some((since, place, cause)) = &*unpoisoned(&self.down)
            && since.elapsed() < REST
        {
            return Err(StoreError::Unreachable { place: place.clone(), cause: cause.clone() });
        }
        let opened = Store::open(&self.settings);
        let mut down = unpoisoned(&self.down);
        match &opened {
            Ok(store) if down.is_some() => {
                info!(store = store.place(), "stored predictions can be read again")
            }
            Err(error) if down.is_none() => warn!(%error, "stored predictions cannot be read"),
            _ => {}
        }
        *down = match &opened {
            Err(error) if error.remedy() != Remedy::Refuse => {
                let place = super::store::place(&self.settings).unwrap_or_default();
                Some((Instant::now(), place, cause(error)))
            }
            _ => None,
        };
        opened
    }
}

/// The cause of an error, without the place that stands before it.
fn cause(error: &StoreError) -> String {
    match error {
        StoreError::Unreachable { cause, .. } => cause.clone(),
        other => other.to_string(),
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole after any panic: a channel, or a note of the last failure.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
