//! Announcing: the compare-and-set, and the outcome as the log tells it.

use std::time::{Duration, Instant};

use modelcast_protocol::{
    Digest, Generation, ModelName,
    announcement::{Frame, SealedAnnouncement},
    change::Change,
    desired::{DesiredState, Stamp},
    fold::InForce,
    outcome::{Verdict, judge},
    topic,
};
use serde::Serialize;
use tracing::{debug, info, warn};

use super::{Publisher, outcome::PublishError};
use crate::{
    announcements::AnnouncementLog,
    catalog::blocking,
    clock,
    fleet::Fleet,
    kafka::{KafkaError, producer::Producer},
};

/// How long an announcement is sent again before its outcome is unknown, unless the publisher says otherwise.
pub(super) const ANNOUNCE_DEADLINE: Duration = Duration::from_secs(60);
/// How long one look at the log may take while an outcome is open.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);
/// How long the log is read again when instances report more than it has: a broker that hung, and does not know yet
/// that it leads no more, shows an older end for a while.
pub(super) const BEHIND_DEADLINE: Duration = Duration::from_secs(5);
/// Pause before it is read again.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Pause before the same bytes are sent again.
const SEND_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How often a change is decided again after others were first.
const ATTEMPTS: usize = 20;

/// An announcement that took force.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Of which model.
    pub model: ModelName,
    /// At which generation.
    pub generation: Generation,
    /// The announcement.
    pub digest: Digest,
    /// The desired state that it announces.
    pub state: DesiredState,
    /// When its record was first sent, Unix milliseconds.
    pub announced_at_unix_ms: u64,
    /// Who was first before it went through, oldest first.
    pub conflicts: Vec<Conflict>,
}

/// Somebody else announced a generation first.
#[derive(Debug, Clone, Serialize)]
pub struct Conflict {
    /// Which generation.
    pub generation: Generation,
    /// Their announcement.
    pub announcement: Digest,
    /// Who.
    pub by: String,
    /// What they changed.
    pub summary: String,
    /// Their reason.
    pub reason: String,
}

/// One try at announcing.
pub(super) enum Attempt {
    Committed { generation: Generation, digest: Digest, announced_at_unix_ms: u64 },
    Lost(Conflict),
}

impl Publisher {
    /// Announces a change of a model's desired state. When somebody else is first, it is decided again on what they
    /// announced, up to 20 times.
    ///
    /// # Errors
    /// [`PublishError::Change`] when it makes no sense for what is in force; see [`PublishError`] for the others.
    pub async fn change(
        &self,
        model: &ModelName,
        change: &Change,
        stamp: &Stamp,
    ) -> Result<Committed, PublishError> {
        let producer = self.producer()?;
        self.check_topics(model).await?;
        let mut conflicts = Vec::new();
        loop {
            let log = self.ready(model).await?;
            let before = log.fold().in_force(model).cloned();
            let state = change.apply(understood(before.as_ref())?, stamp, rand::random())?;
            match self.announce(&producer, log, model, before.as_ref(), &state).await? {
                Attempt::Committed { generation, digest, announced_at_unix_ms } => {
                    let model = model.clone();
                    return Ok(Committed {
                        model,
                        generation,
                        digest,
                        state,
                        announced_at_unix_ms,
                        conflicts,
                    });
                }
                Attempt::Lost(conflict) => conflicts.push(conflict),
            }
            give_up(&mut conflicts)?;
        }
    }

    /// What became of an announcement whose outcome was unknown.
    ///
    /// # Errors
    /// [`PublishError::Kafka`] when the log cannot be read.
    pub async fn settle(
        &self,
        model: &ModelName,
        generation: Generation,
        digest: Digest,
    ) -> Result<Verdict, PublishError> {
        Ok(judge(digest, generation, self.catalog().in_force(model).await?.as_ref()))
    }

    /// The log, read to its end, when it is safe to announce on top of it.
    pub(super) async fn ready(&self, model: &ModelName) -> Result<AnnouncementLog, PublishError> {
        let (log, fleet) = tokio::join!(self.catalog().log(), Fleet::read(self.catalog().kafka()));
        let (mut log, fleet) = (log?, fleet?);
        let reached =
            |log: &AnnouncementLog| log.fold().in_force(model).map_or(Generation::ZERO, InForce::generation);
        let reported = fleet.highest_generation(model);
        let deadline = Instant::now() + BEHIND_DEADLINE;
        while reported.is_some_and(|(reported, _)| reported > reached(&log)) && Instant::now() < deadline {
            // A status may be newer than the log that was read beside it.
            debug!(%model, "an instance reports more than the log has, which is read again");
            log = self.catalog().log().await?;
            if reported.is_some_and(|(reported, _)| reported > reached(&log)) {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
        }
        refuse_unverified(&log, model)?;
        let found = reached(&log);
        match reported {
            Some((reported, instance)) if reported > found => Err(PublishError::HistoryLost {
                model: model.clone(),
                instance: instance.to_string(),
                reported,
                found,
            }),
            _ => Ok(log),
        }
    }

    /// Announces `state` as what follows `before`.
    pub(super) async fn announce(
        &self,
        producer: &Producer,
        log: AnnouncementLog,
        model: &ModelName,
        before: Option<&InForce>,
        state: &DesiredState,
    ) -> Result<Attempt, PublishError> {
        let sealed = self.seal(model, before, state)?;
        let announced_at_unix_ms = clock::unix_ms();
        let decided = self.send_until_decided(producer, log, model, &sealed).await?;
        let (generation, digest) = (sealed.generation, sealed.digest);
        match decided.lost_to {
            None => {
                info!(%model, %generation, summary = state.summary, "announced");
                self.audit(producer, model, &sealed).await;
                Ok(Attempt::Committed { generation, digest, announced_at_unix_ms })
            }
            Some(conflict) => {
                info!(%model, %generation, by = conflict.by, "somebody else announced first");
                Ok(Attempt::Lost(conflict))
            }
        }
    }

    fn seal(
        &self,
        model: &ModelName,
        before: Option<&InForce>,
        state: &DesiredState,
    ) -> Result<SealedAnnouncement, PublishError> {
        let generation = before.map_or(Generation::ZERO, InForce::generation).next().ok_or_else(|| {
            PublishError::Internal { what: "counting generations".into(), cause: "there are no more".into() }
        })?;
        self.seal_at(model, generation, before, state)
    }

    /// Signs the announcement of a generation; only a recovery leaves some out, where it founds a model anew.
    pub(super) fn seal_at(
        &self,
        model: &ModelName,
        generation: Generation,
        before: Option<&InForce>,
        state: &DesiredState,
    ) -> Result<SealedAnnouncement, PublishError> {
        let frame = Frame {
            namespace: self.catalog().kafka().namespace.clone(),
            model: model.clone(),
            generation,
            recent: before.map_or_else(Vec::new, InForce::recent_for_next),
        };
        Ok(frame.seal(state, &self.signing)?)
    }

    /// Sends the same signed bytes until the log says what became of them.
    pub(super) async fn send_until_decided(
        &self,
        producer: &Producer,
        log: AnnouncementLog,
        model: &ModelName,
        sealed: &SealedAnnouncement,
    ) -> Result<Decided, PublishError> {
        let kafka = self.catalog().kafka();
        let topic = topic::announcements(&kafka.namespace).name;
        let deadline = Instant::now() + self.announce_deadline;
        let mut log = Some(log);
        let mut producer: Result<Producer, KafkaError> = Ok(producer.clone());
        let mut sends = Sends::default();
        loop {
            let sent = match &producer {
                Ok(producer) => producer.send(&topic, 0, model.as_str(), Some(&sealed.bytes)).await,
                Err(error) => Err(error.clone()),
            };
            let refused = sends.take(&sent);
            let looked = match sent {
                Ok(offset) => self.look_past(log.take(), offset).await,
                Err(error) => {
                    warn!(%model, %error, "announcement not acknowledged, looking whether it is there");
                    self.catalog().log().await
                }
            };
            let cause = match looked {
                Ok(read) => {
                    let in_force = read.fold().in_force(model);
                    match judge(sealed.digest, sealed.generation, in_force) {
                        Verdict::Committed => return Ok(Decided { log: read, lost_to: None }),
                        Verdict::Conflict { by } => {
                            let lost_to = self.conflict(model, sealed.generation, by, in_force).await;
                            let lost_to = Some(lost_to);
                            return Ok(Decided { log: read, lost_to });
                        }
                        // Refused at the first try, and not in the log: it is not there, and will not come.
                        Verdict::Undecided => match refused {
                            Some(error) => return Err(error.into()),
                            None => KafkaError::Transient {
                                what: "the announcement".into(),
                                cause: "it is not in the log, and may still come".into(),
                            },
                        },
                    }
                }
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(unknown(model, sealed, cause));
            }
            warn!(%model, %cause, "outcome still open, sending the same announcement again");
            // A new one: a producer that lost an acknowledgement may be stuck with a fatal error.
            producer = self.producer();
            tokio::time::sleep(SEND_AGAIN_AFTER).await;
        }
    }

    /// Reads a log on past an offset; reads it anew when it is not at hand any more.
    async fn look_past(
        &self,
        log: Option<AnnouncementLog>,
        offset: i64,
    ) -> Result<AnnouncementLog, KafkaError> {
        let Some(mut log) = log else { return self.catalog().log().await };
        blocking("reading the announcements", move || {
            log.read_past(offset, Instant::now() + LOOK_DEADLINE).map(|()| log)
        })
        .await
    }

    /// Who won a generation. More may have been announced on top of it since: then it is looked up in the log.
    async fn conflict(
        &self,
        model: &ModelName,
        generation: Generation,
        announcement: Digest,
        in_force: Option<&InForce>,
    ) -> Conflict {
        let theirs = match in_force {
            Some(in_force) if in_force.announcement.digest == announcement => {
                Some(in_force.announcement.clone())
            }
            _ => {
                let history = self.catalog().history(model).await.map(|(_, history)| history);
                history.unwrap_or_default().into_iter().find(|one| one.digest == announcement)
            }
        };
        let (by, summary, reason) = match theirs.and_then(|theirs| theirs.body.ok()) {
            Some(state) => (state.stamp.author, state.summary, state.stamp.reason),
            None => (format!("announcement {}", announcement.short()), String::new(), String::new()),
        };
        Conflict { generation, announcement, by, summary, reason }
    }

    /// Copies a committed announcement for whoever wants the history. Its loss loses nothing that decides.
    pub(super) async fn audit(&self, producer: &Producer, model: &ModelName, sealed: &SealedAnnouncement) {
        let topic = topic::audit(&self.catalog().kafka().namespace).name;
        if let Err(error) = producer.send(&topic, 0, model.as_str(), Some(&sealed.bytes)).await {
            warn!(%model, generation = %sealed.generation, %error, "committed, but not copied to the audit topic");
        }
    }
}

/// What the log says of an announcement.
pub(super) struct Decided {
    /// The log, read past it.
    pub(super) log: AnnouncementLog,
    /// Who was first, if it was not us.
    pub(super) lost_to: Option<Conflict>,
}

/// What the sends of one announcement gave so far.
#[derive(Default)]
struct Sends {
    /// One may have landed although nobody said so: from then on only the log tells, whatever a later one gives.
    may_have_landed: bool,
}

impl Sends {
    /// Takes in what a send gave; gives the error back when it proves that no send has landed.
    fn take(&mut self, sent: &Result<i64, KafkaError>) -> Option<KafkaError> {
        let refused = sent.as_ref().err().filter(|error| !error.is_transient() && !self.may_have_landed);
        self.may_have_landed |= refused.is_none();
        refused.cloned()
    }
}

fn unknown(model: &ModelName, sealed: &SealedAnnouncement, cause: KafkaError) -> PublishError {
    PublishError::Unknown {
        model: model.clone(),
        generation: sealed.generation,
        digest: sealed.digest,
        cause: Box::new(cause),
    }
}

/// An error when somebody may have decided a generation to come with a key that is not trusted here.
pub(super) fn refuse_unverified(log: &AnnouncementLog, model: &ModelName) -> Result<(), PublishError> {
    let Some(unverified) = log.fold().unverified_ahead(model).last() else { return Ok(()) };
    let (offset, generation, cause) = (unverified.offset, unverified.generation, unverified.cause.clone());
    Err(PublishError::UnverifiedRecord { offset, generation, cause })
}

/// The desired state in force, when this program understands it.
pub(super) fn understood(in_force: Option<&InForce>) -> Result<Option<&DesiredState>, PublishError> {
    let Some(in_force) = in_force else { return Ok(None) };
    match &in_force.announcement.body {
        Ok(state) => Ok(Some(state)),
        Err(error) => Err(PublishError::NotUnderstood { cause: error.to_string() }),
    }
}

/// An error once others were first too often.
pub(super) fn give_up(conflicts: &mut Vec<Conflict>) -> Result<(), PublishError> {
    let count = conflicts.len();
    match conflicts.pop_if(|_| count >= ATTEMPTS) {
        Some(last) => Err(PublishError::Conflict(Box::new(last), count)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Result<i64, KafkaError> {
        Err(KafkaError::Transient { what: "a record".into(), cause: "timed out".into() })
    }

    fn refused() -> Result<i64, KafkaError> {
        Err(KafkaError::Refused { what: "a record".into(), cause: "not authorised".into() })
    }

    #[test]
    fn a_refusal_is_a_definite_failure_only_while_nothing_can_have_landed() {
        let mut sends = Sends::default();
        assert!(sends.take(&refused()).is_some());
        assert!(sends.take(&refused()).is_some(), "a refused one has not landed");
        for first in [lost(), Ok(7)] {
            let mut sends = Sends::default();
            assert_eq!(sends.take(&first), None);
            assert_eq!(sends.take(&refused()), None, "the first may be in the log");
        }
    }
}
