//! The news thread: follows a namespace's announcements and tells each subscribed model what is in force.
//!
//! One thread, one connection, however many models. Does not decide what an instance should run.
//!
//! # Invariants
//! * Nothing is told before the end of the log was reached.
//! * The log is folded anew after any error or reconnection and every 5 minutes: a topic that was created anew while
//!   this reader was away gives no error at the old offset.
//! * A reader that is cut off says so: [`ModelNews::trouble`], and the age of the news grows.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use modelcast_protocol::{
    ModelName,
    fold::{InForce, Step, Unverified},
    key::TrustedKeys,
    topic,
};
use tokio::{runtime::Handle, sync::watch};
use tracing::{debug, error, info, warn};

use crate::{
    announcements::{AnnouncementLog, Look, Standing},
    kafka::{KafkaError, connect, connect::Purpose, topics},
    live::LiveModel,
    settings::KafkaSettings,
};

/// How long one look waits; also how soon the thread notices that it should stop.
const LOOK: Duration = Duration::from_millis(250);
/// Silence after which the broker is asked whether it is still there.
const CONTACT_EVERY: Duration = Duration::from_secs(3);
/// A reader that lacks records for this long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// How often the log is folded anew without cause.
const FOLD_EVERY: Duration = Duration::from_secs(300);
/// Pauses between attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What is in force for one model.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelNews {
    /// Whether the end of the log was reached since the start.
    pub(crate) complete: bool,
    /// The announcement in force, if there is one.
    pub(crate) in_force: Option<Arc<InForce>>,
    /// A record at a generation to come that cannot be verified.
    pub(crate) unverified: Option<Unverified>,
    /// Why there is no news.
    pub(crate) trouble: Option<String>,
}

/// Whom the thread tells.
pub(crate) struct Listener {
    pub(crate) live: LiveModel,
    pub(crate) news: watch::Sender<ModelNews>,
}

/// What the thread needs.
pub(crate) struct NewsThread {
    pub(crate) kafka: KafkaSettings,
    pub(crate) keys: TrustedKeys,
    pub(crate) listeners: BTreeMap<ModelName, Listener>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) runtime: Handle,
    /// Models whose blobs topic is as it must be.
    pub(crate) sound: RefCell<BTreeSet<ModelName>>,
}

impl NewsThread {
    /// Starts the thread; a panic in it is said and followed by a new start.
    pub(crate) fn start(self) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("modelcast-news".into()).spawn(move || {
            while !self.stopped() {
                let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run()));
                if run.is_err() {
                    error!("the news thread panicked and is started again");
                    self.pause(RETRY_MAX);
                }
            }
        })
    }

    fn run(&self) {
        let mut pause = RETRY_MIN;
        let mut checked = false;
        while !self.stopped() {
            let followed = self.contact(&mut checked).and_then(|()| self.follow(&mut pause));
            if let Err(error) = followed {
                self.trouble(&error);
                self.pause(pause);
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// Makes contact, and checks the topics at the first.
    fn contact(&self, checked: &mut bool) -> Result<(), KafkaError> {
        if *checked {
            return Ok(());
        }
        connect::contact(&self.kafka)?;
        // Not the audit topic: a subscriber needs no right to the history that publishers keep for people.
        let namespace = &self.kafka.namespace;
        let specs = [topic::announcements(namespace), topic::fleet(namespace)];
        self.runtime.block_on(topics::check(&self.kafka, &specs))?;
        self.check_blobs()?;
        *checked = true;
        Ok(())
    }

    /// Checks the blobs topics that were not sound yet; a model whose topic is not waits for that alone. Gives whether
    /// one became sound.
    fn check_blobs(&self) -> Result<bool, KafkaError> {
        let before = self.sound.borrow().len();
        for (model, listener) in &self.listeners {
            if self.sound.borrow().contains(model) {
                continue;
            }
            let spec = topic::blobs(&self.kafka.namespace, model);
            match self.runtime.block_on(topics::check(&self.kafka, &[spec])) {
                Ok(()) => {
                    self.sound.borrow_mut().insert(model.clone());
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let new = listener.news.send_if_modified(|news| {
                        let text = Some(error.to_string());
                        let new = news.trouble != text;
                        news.trouble = text;
                        new
                    });
                    if new {
                        error!(%model, %error, "this model gets no news until this is mended");
                    }
                }
            }
        }
        Ok(self.sound.borrow().len() > before)
    }

    /// Folds the log anew and follows it, until it should be folded anew.
    fn follow(&self, pause: &mut Duration) -> Result<(), KafkaError> {
        let mut log = AnnouncementLog::open(&self.kafka, &self.keys, Purpose::News)?;
        self.follow_log(&mut log, pause)
    }

    fn follow_log(&self, log: &mut AnnouncementLog, pause: &mut Duration) -> Result<(), KafkaError> {
        let until = Instant::now() + FOLD_EVERY;
        let (mut complete, mut dirty) = (false, false);
        let mut last_contact = Instant::now();
        let mut caught_up = Instant::now();
        while !self.stopped() && Instant::now() < until {
            // With something to tell, look once more without waiting: of a burst only the last counts.
            let look = log.look(if dirty && complete { Duration::ZERO } else { LOOK })?;
            match look {
                Look::Record(Step::TookForce(_) | Step::Unverified(..)) => dirty = true,
                Look::Record(_) => {}
                Look::End => {
                    if !complete {
                        debug!("the end of the announcements is reached");
                    }
                    (complete, dirty, *pause) = (true, true, RETRY_MIN);
                }
                Look::Nothing if dirty && complete => {
                    self.tell(log);
                    dirty = false;
                    continue;
                }
                Look::Nothing => {
                    if last_contact.elapsed() >= CONTACT_EVERY {
                        match log.standing()? {
                            Standing::CaughtUp => {
                                caught_up = Instant::now();
                                self.heard();
                            }
                            Standing::Replaced => {
                                warn!("the announcements topic was created anew, reading it from its start");
                                return Ok(());
                            }
                            // Stalled, or what it lacks is no record: a marker of somebody's transaction, a cut.
                            // Either way folding anew tells.
                            Standing::Behind if caught_up.elapsed() > STALLED_AFTER && complete => {
                                return Ok(());
                            }
                            Standing::Behind if caught_up.elapsed() > STALLED_AFTER => {
                                let cause = "the reader does not move though there are records".to_owned();
                                return Err(KafkaError::Transient {
                                    what: "the announcements".into(),
                                    cause,
                                });
                            }
                            Standing::Behind => {}
                        }
                        dirty |= self.check_blobs()?;
                        last_contact = Instant::now();
                    }
                    continue;
                }
            }
            (last_contact, caught_up) = (Instant::now(), Instant::now());
            self.heard();
        }
        Ok(())
    }

    fn tell(&self, log: &AnnouncementLog) {
        let sound = self.sound.borrow();
        for (model, listener) in self.listeners.iter().filter(|(model, _)| sound.contains(*model)) {
            let in_force = log.fold().in_force(model);
            let unverified = log.fold().unverified_ahead(model).last().cloned();
            listener.news.send_if_modified(|news| {
                let same = news.complete
                    && news.trouble.is_none()
                    && news.unverified == unverified
                    && news.in_force.as_deref().map(InForce::held) == in_force.map(InForce::held);
                if !same {
                    let in_force = in_force.cloned().map(Arc::new);
                    *news = ModelNews { complete: true, in_force, unverified, trouble: None };
                }
                !same
            });
        }
    }

    fn heard(&self) {
        for listener in self.listeners.values() {
            listener.live.heard();
        }
    }

    /// Says once what is wrong, and tells the models.
    fn trouble(&self, error: &KafkaError) {
        let text = error.to_string();
        let mut new = false;
        for listener in self.listeners.values() {
            new |= listener.news.send_if_modified(|news| {
                let new = news.trouble.is_none();
                news.trouble = Some(text.clone());
                new
            });
        }
        if !new {
            debug!(%error, "still no news");
        } else if error.is_transient() {
            warn!(%error, "no news from Kafka; what serves goes on serving");
        } else {
            error!(%error, "no news from Kafka until this is mended; what serves goes on serving");
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Waits before another attempt; ends early when the thread should stop.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.stopped() && Instant::now() < until {
            thread::park_timeout(until.saturating_duration_since(Instant::now()).min(LOOK));
        }
        if self.stopped() {
            info!("news thread ends");
        }
    }
}
