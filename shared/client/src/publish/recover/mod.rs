//! Recovering a model whose history is lost: the log has less than instances have seen, so nobody may announce.
//!
//! [`Publisher::plan_recovery`] finds what is left: the log, the audit topic, announcements that the operator gives, and
//! what the instances report. [`Publisher::recover`] does what was planned. Where the lost announcements are found, and
//! go on from what the log has, they are appended as they were: history is whole again. Otherwise the newest state that
//! can be found is announced anew, generation by generation, until it stands above everything that was seen: instances
//! ignore what is not higher than what they hold, and follow the last.
//!
//! # Invariants
//! * A plan that was made for another log than there is now is not carried out.
//! * Each announcement is decided by the log before the next is sent: a recovery overwrites nothing unseen either.

mod evidence;
mod plan;
mod state;

use std::ops::RangeInclusive;

use modelcast_protocol::{
    Digest, Generation, ModelName, Version,
    announcement::SealedAnnouncement,
    desired::{DesiredState, Stamp},
    fold::{Held, InForce},
};
use serde::Serialize;
use thiserror::Error;
use tracing::info;

use self::plan::{Found, Plan};
pub use self::plan::{Place, Witness};
use super::{
    Publisher,
    announce::{refuse_unverified, understood},
    outcome::PublishError,
};
use crate::announcements::AnnouncementLog;

/// Most announcements that one recovery makes: each is a record, and takes some 10 ms.
pub const ANNOUNCEMENTS_MAX: u64 = 10_000;
/// No model gets there. A report is not signed, and above the last generation nothing could be announced.
const GENERATION_MAX: u64 = 1 << 53;

/// What the operator decides about a recovery.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// What everybody is to run, instead of what the newest announcement says.
    pub champion: Option<Version>,
    /// The champion's manifest, where no announcement names that version.
    pub manifest: Option<Digest>,
    /// Signed announcements from elsewhere: a backup, or the state folder of an instance.
    pub announcements: Vec<Vec<u8>>,
}

/// What a recovery would do.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// Of which model.
    pub model: ModelName,
    /// The generation in force in the log, 0 for none.
    pub log_generation: Generation,
    /// Who has seen what the log does not have.
    pub lost: Vec<Witness>,
    /// Where the newest announcement stands; none where only instances know what they run.
    pub source: Option<Source>,
    /// Generations that are appended as they were.
    pub restored: Vec<Generation>,
    /// First and last generation that is announced anew.
    pub announced: Option<(Generation, Generation)>,
    /// What everybody runs afterwards; none where this program does not understand what is restored.
    pub champion: Option<Version>,
    /// What cannot be had any more, and what became of it.
    pub warnings: Vec<String>,
    #[serde(skip)]
    log: Option<Held>,
    #[serde(skip)]
    restore: Vec<Found>,
    #[serde(skip)]
    announce: Option<(RangeInclusive<u64>, DesiredState)>,
}

/// Where an announcement was found.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Source {
    /// In which place.
    pub place: Place,
    /// At which offset, where it is a topic.
    pub offset: Option<i64>,
    /// Its generation.
    pub generation: Generation,
    /// Its digest.
    pub announcement: Digest,
}

/// What a recovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// The generation in force now.
    pub generation: Generation,
    /// The announcement in force now.
    pub digest: Digest,
}

/// Why what is lost cannot be recovered like this.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecoveryError {
    /// Neither an announcement nor a manifest is left.
    #[error(
        "nothing tells what {model} should run: no announcement is in the log or the audit topic, and no manifest that \
         an instance serves is in the blobs topic"
    )]
    NothingFound {
        /// Of which model.
        model: ModelName,
    },
    /// What was given is something else.
    #[error("what was given is no announcement of this model: {cause}")]
    NotItsAnnouncement {
        /// What it is.
        cause: String,
    },
    /// Instances run what the newest announcement does not know.
    #[error(
        "instances serve version {served}, which the newest announcement that is left (generation {generation}, champion \
         {champion}) does not name: say which of the two is to run"
    )]
    Ambiguous {
        /// What instances serve.
        served: Version,
        /// The generation of the newest announcement.
        generation: Generation,
        /// What it says that everybody should run.
        champion: Version,
    },
    /// What is to run cannot be fetched.
    #[error(
        "version {version}, the champion, cannot be had any more ({cause}); what can be had: {can_be_had}"
    )]
    ChampionLost {
        /// Which.
        version: Version,
        /// Why not.
        cause: String,
        /// The versions that can.
        can_be_had: String,
    },
    /// Nothing is known of the version that was named.
    #[error("nothing is known of version {version}; what can be had: {can_be_had}")]
    UnknownVersion {
        /// Which.
        version: Version,
        /// The versions that can.
        can_be_had: String,
    },
    /// The number belongs to another version.
    #[error("version {version} is another one, with manifest {manifest}: a number is not given twice")]
    NumberTaken {
        /// Which.
        version: Version,
        /// The manifest of the one that has it.
        manifest: Digest,
    },
    /// The version is forbidden.
    #[error("version {version} is quarantined")]
    Quarantined {
        /// Which.
        version: Version,
    },
    /// Too much would have to be announced.
    #[error(
        "generations {first} to {last} would have to be announced, more than {ANNOUNCEMENTS_MAX}: begin anew in a \
         namespace of its own"
    )]
    TooFar {
        /// From which generation.
        first: u64,
        /// Up to which.
        last: u64,
    },
    /// A report that cannot be true.
    #[error("generation {generation} is reported, which no model reaches: withdraw the status that says so")]
    Implausible {
        /// What is reported.
        generation: Generation,
    },
    /// Somebody announced, or the topic changed once more.
    #[error("the announcements of {model} changed while this recovery was at work: look again")]
    Moved {
        /// Of which model.
        model: ModelName,
    },
}

impl Publisher {
    /// Finds out what is lost, and what a recovery would do; `None` when nothing is lost.
    ///
    /// Reads the announcements, the audit and the fleet topic to their ends, and every version that it would name.
    ///
    /// # Errors
    /// [`PublishError::Recovery`] when what is left does not suffice or is ambiguous; see [`PublishError`] for the others.
    pub async fn plan_recovery(
        &self,
        model: &ModelName,
        choice: &Choice,
    ) -> Result<Option<Recovery>, PublishError> {
        self.check_topics(model).await?;
        let (log, evidence) = evidence::gather(self.catalog(), model, &choice.announcements).await?;
        refuse_unverified(&log, model)?;
        let Some(plan) = evidence.plan(choice.champion.is_some()) else { return Ok(None) };
        let newest = plan.newest.as_ref().map(|found| &found.announcement);
        let (announce, champion, warnings) = match plan.announce.clone() {
            Some(generations) => {
                refuse_too_far(&generations)?;
                let basis = understood(newest)?;
                refuse_ambiguous(&plan, basis, choice)?;
                let restored =
                    state::restore(self.catalog(), model, basis, &evidence.witnesses, choice).await?;
                let champion = restored.state.champion;
                (Some((generations, restored.state)), Some(champion), restored.warnings)
            }
            None => {
                let state = newest.and_then(|newest| newest.announcement.body.as_ref().ok());
                let warnings = match state.and_then(|state| state.entry(state.champion)) {
                    Some(entry) => self.champion_warning(model, entry).await?,
                    None => Vec::new(),
                };
                (None, state.map(|state| state.champion), warnings)
            }
        };
        let source = plan.newest.as_ref().map(|found| Source {
            place: found.place,
            offset: Some(found.announcement.offset).filter(|&offset| offset >= 0),
            generation: found.announcement.generation(),
            announcement: found.announcement.announcement.digest,
        });
        Ok(Some(Recovery {
            model: model.clone(),
            log_generation: evidence.in_force.as_ref().map_or(Generation::ZERO, InForce::generation),
            lost: plan.lost,
            source,
            restored: plan.restore.iter().map(|found| found.announcement.generation()).collect(),
            announced: plan.announce.map(|generations| {
                (Generation::new(*generations.start()), Generation::new(*generations.end()))
            }),
            champion,
            warnings,
            log: evidence.in_force.as_ref().map(InForce::held),
            restore: plan.restore,
            announce,
        }))
    }

    /// What a person should know of a champion that is restored as it was.
    async fn champion_warning(
        &self,
        model: &ModelName,
        entry: &modelcast_protocol::desired::VersionEntry,
    ) -> Result<Vec<String>, PublishError> {
        let (_, lacks) = state::look(self.catalog(), model, entry).await?;
        let version = entry.version;
        let warning = |cause| {
            format!("version {version}, the champion, cannot be fetched any more ({cause}): publish it again")
        };
        Ok(lacks.map(warning).into_iter().collect())
    }

    /// Carries a plan out; `on_step` hears each generation that took force. What was begun and broke off can be planned
    /// and carried out again.
    ///
    /// # Errors
    /// [`RecoveryError::Moved`] when the log is not the one that was planned for, or somebody else announced;
    /// [`PublishError::Unknown`] when the log does not say what became of it; see [`PublishError`] for the others.
    pub async fn recover(
        &self,
        recovery: &Recovery,
        stamp: &Stamp,
        on_step: &(dyn Fn(Generation) + Send + Sync),
    ) -> Result<Recovered, PublishError> {
        let model = &recovery.model;
        let producer = self.producer()?;
        let log = self.catalog().log().await?;
        let mut work = Work { publisher: self, model, producer: &producer, log, last: recovery.log };
        work.must_be_unmoved()?;
        for found in &recovery.restore {
            let announcement = &found.announcement;
            let (digest, generation) = (announcement.announcement.digest, announcement.generation());
            let sealed = SealedAnnouncement { digest, generation, bytes: announcement.bytes.clone() };
            work = work.append(&sealed).await?;
            if found.place == Place::Given {
                self.audit(&producer, model, &sealed).await;
            }
            on_step(generation);
        }
        if let Some((generations, state)) = &recovery.announce {
            for generation in generations.clone().map(Generation::new) {
                let state = DesiredState {
                    nonce: rand::random(),
                    stamp: stamp.clone(),
                    summary: recovery.summary(),
                    ..state.clone()
                };
                let before = work.log.fold().in_force(model);
                let sealed = self.seal_at(model, generation, before, &state)?;
                work = work.append(&sealed).await?;
                self.audit(&producer, model, &sealed).await;
                on_step(generation);
            }
        }
        let held = work.last.ok_or_else(|| RecoveryError::Moved { model: model.clone() })?;
        info!(%model, generation = %held.generation, "recovered");
        Ok(Recovered { generation: held.generation, digest: held.digest })
    }
}

impl Recovery {
    fn summary(&self) -> String {
        match self.source {
            Some(source) => format!("recover the state of generation {}", source.generation),
            None => "recover what the fleet serves".to_owned(),
        }
    }
}

/// A recovery under way.
struct Work<'a> {
    publisher: &'a Publisher,
    model: &'a ModelName,
    producer: &'a crate::kafka::producer::Producer,
    log: AnnouncementLog,
    /// What is in force by our own doing.
    last: Option<Held>,
}

impl Work<'_> {
    /// Brings one announcement into force.
    async fn append(self, sealed: &SealedAnnouncement) -> Result<Self, PublishError> {
        let Self { publisher, model, producer, log, .. } = self;
        let decided = publisher.send_until_decided(producer, log, model, sealed).await?;
        if decided.lost_to.is_some() {
            return Err(RecoveryError::Moved { model: model.clone() }.into());
        }
        let last = Some(Held { generation: sealed.generation, digest: sealed.digest });
        let work = Self { publisher, model, producer, log: decided.log, last };
        work.must_be_unmoved()?;
        Ok(work)
    }

    /// Nobody else has announced.
    fn must_be_unmoved(&self) -> Result<(), RecoveryError> {
        let now = self.log.fold().in_force(self.model).map(InForce::held);
        if now == self.last { Ok(()) } else { Err(RecoveryError::Moved { model: self.model.clone() }) }
    }
}

fn refuse_too_far(generations: &RangeInclusive<u64>) -> Result<(), RecoveryError> {
    let (first, last) = (*generations.start(), *generations.end());
    if last > GENERATION_MAX {
        return Err(RecoveryError::Implausible { generation: Generation::new(last) });
    }
    if last.saturating_sub(first) >= ANNOUNCEMENTS_MAX {
        return Err(RecoveryError::TooFar { first, last });
    }
    Ok(())
}

/// Statuses are not signed, so they do not overrule a signed announcement; but neither is a newer version that is served
/// taken away unasked.
fn refuse_ambiguous(plan: &Plan, basis: Option<&DesiredState>, choice: &Choice) -> Result<(), RecoveryError> {
    let (Some(basis), Some(newest), None) = (basis, &plan.newest, choice.champion) else { return Ok(()) };
    let unknown = |(version, manifest): &(Version, Digest)| {
        (*version > basis.champion && basis.versions.iter().all(|entry| entry.manifest != *manifest))
            .then_some(*version)
    };
    match state::by_servings(&plan.lost).iter().find_map(unknown) {
        Some(served) => {
            let generation = newest.announcement.generation();
            Err(RecoveryError::Ambiguous { served, generation, champion: basis.champion })
        }
        None => Ok(()),
    }
}
