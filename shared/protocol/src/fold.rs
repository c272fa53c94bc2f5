//! Which announcement is in force: a fold over the announcements topic, in offset order.
//!
//! **The first announcement of the next generation wins, in log order.** The first valid record of a model founds it;
//! after that a record takes force when it is valid and its generation is exactly one higher; every other record is
//! as if it were not there. That is all the concurrency control there is: no claim, no lease, no clock.
//!
//! Does not read Kafka, and does not say what an announcement means (see `resolve`).
//!
//! # Invariants
//! * The state of a model is its generation and digest in force, so two folds that agree once agree for ever,
//!   wherever they started.
//! * A record that cannot be verified never changes the state; it is remembered, so that a publisher can refuse to
//!   write over what it cannot read.

use std::collections::BTreeMap;

use crate::{
    announcement::{self, Announcement, Frame},
    digest::Digest,
    key::TrustedKeys,
    limits::{MODELS_MAX, RECENT_MAX, UNVERIFIED_KEPT},
    name::{ModelName, Namespace},
    number::Generation,
};

/// A record of the announcements topic.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its key: the model's name.
    pub key: &'a [u8],
    /// Its value: a signed announcement.
    pub value: &'a [u8],
}

/// The announcement in force of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce {
    /// What it says.
    pub announcement: Announcement,
    /// Where it stands in the log.
    pub offset: i64,
    /// The record's value, for keeping on disk and for copying.
    pub bytes: Vec<u8>,
}

/// A record that claims to be an announcement and cannot be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    /// Where it stands in the log.
    pub offset: i64,
    /// The generation that it claims.
    pub generation: Generation,
    /// Why it is not trusted.
    pub cause: String,
}

/// What one record did to the fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is in force now.
    TookForce(ModelName),
    /// It is the announcement in force once more, or one from before.
    Known(ModelName),
    /// Valid, but not the next generation: it lost, or came too late or too early.
    Superseded(ModelName),
    /// It claims to be an announcement of this model and cannot be verified.
    Unverified(ModelName, Unverified),
    /// It is not an announcement of this topic.
    Foreign {
        /// What is wrong with it.
        cause: String,
    },
}

/// What a reader remembers of a model from before: across a restart, or a fold anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The highest generation seen.
    pub generation: Generation,
    /// The digest of the announcement in force at it.
    pub digest: Digest,
}

/// How the log now relates to what a reader held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// Nothing new.
    Same,
    /// It went on; follow it.
    Advanced,
    /// It went on, but from another announcement than the one held: follow it, and report `history forked`.
    Forked,
    /// It has less than was held, or something else in its place: do not follow it, and report `history lost`.
    Lost,
}

/// The fold over one namespace.
#[derive(Debug, Clone)]
pub struct Fold {
    namespace: Namespace,
    models: BTreeMap<ModelName, InForce>,
    unverified: BTreeMap<ModelName, Vec<Unverified>>,
}

impl Fold {
    /// A fold that has seen no record yet.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        Self { namespace, models: BTreeMap::new(), unverified: BTreeMap::new() }
    }

    /// Takes in the next record. Verifying its signature costs some 60 µs.
    pub fn apply(&mut self, record: LogRecord<'_>, keys: &TrustedKeys) -> Step {
        let announcement = match announcement::open(record.value, keys) {
            Ok(announcement) => announcement,
            Err(error) => return self.distrust(record, &error.to_string()),
        };
        let frame = &announcement.frame;
        if let Err(cause) = self.belongs(frame, record.key) {
            return Step::Foreign { cause };
        }
        let model = frame.model.clone();
        let (wanted, known) = match self.models.get(&model) {
            None if self.models.len() >= MODELS_MAX => {
                return Step::Foreign { cause: format!("more than {MODELS_MAX} models in one namespace") };
            }
            None => (Some(frame.generation), false),
            Some(in_force) => (in_force.generation().next(), in_force.knows(&announcement)),
        };
        if wanted == Some(frame.generation) {
            let bytes = record.value.to_vec();
            self.models.insert(model.clone(), InForce { announcement, offset: record.offset, bytes });
            Step::TookForce(model)
        } else if known {
            Step::Known(model)
        } else {
            Step::Superseded(model)
        }
    }

    /// The announcement in force of a model.
    #[must_use]
    pub fn in_force(&self, model: &ModelName) -> Option<&InForce> {
        self.models.get(model)
    }

    /// The announcements in force of all models.
    pub fn models(&self) -> impl Iterator<Item = (&ModelName, &InForce)> {
        self.models.iter()
    }

    /// Records of a model at generations that are still to come, newest last: somebody may have decided them with a
    /// key that is not trusted here.
    pub fn unverified_ahead(&self, model: &ModelName) -> impl Iterator<Item = &Unverified> {
        let reached = self.models.get(model).map_or(Generation::ZERO, InForce::generation);
        let records = self.unverified.get(model).into_iter().flatten();
        records.filter(move |record| record.generation > reached)
    }

    fn belongs(&self, frame: &Frame, key: &[u8]) -> Result<(), String> {
        if frame.namespace != self.namespace {
            return Err(format!("an announcement of namespace {}", frame.namespace));
        }
        if frame.model.as_str().as_bytes() != key {
            return Err(format!("an announcement of model {} under another key", frame.model));
        }
        Ok(())
    }

    fn distrust(&mut self, record: LogRecord<'_>, cause: &str) -> Step {
        let claimed =
            announcement::claimed_frame(record.value).filter(|frame| self.belongs(frame, record.key).is_ok());
        let Some(frame) = claimed else {
            return Step::Foreign { cause: cause.to_owned() };
        };
        let (offset, generation) = (record.offset, frame.generation);
        let unverified = Unverified { offset, generation, cause: cause.to_owned() };
        if self.unverified.len() < MODELS_MAX || self.unverified.contains_key(&frame.model) {
            remember(self.unverified.entry(frame.model.clone()).or_default(), unverified.clone());
        }
        Step::Unverified(frame.model, unverified)
    }
}

/// Adds a record; of too many, the lowest generation goes, so that one that is still ahead is never forgotten for
/// those that are not.
fn remember(records: &mut Vec<Unverified>, unverified: Unverified) {
    records.push(unverified);
    if records.len() > UNVERIFIED_KEPT {
        let lowest = records.iter().enumerate().min_by_key(|(_, record)| record.generation);
        if let Some((place, _)) = lowest {
            records.remove(place);
        }
    }
}

impl InForce {
    /// Its generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.announcement.frame.generation
    }

    /// What a reader should remember of it.
    #[must_use]
    pub fn held(&self) -> Held {
        Held { generation: self.generation(), digest: self.announcement.digest }
    }

    /// Predecessors that an announcement computed from this one names: its own, and this one.
    #[must_use]
    pub fn recent_for_next(&self) -> Vec<Digest> {
        let recent = &self.announcement.frame.recent;
        let surplus = (recent.len() + 1).saturating_sub(RECENT_MAX);
        recent.iter().skip(surplus).copied().chain([self.announcement.digest]).collect()
    }

    /// The digest that was in force at `generation`, as far back as this announcement tells: its own generation and
    /// at most [`RECENT_MAX`] before it.
    #[must_use]
    pub fn digest_at(&self, generation: Generation) -> Option<Digest> {
        let back = self.generation().get().checked_sub(generation.get())?;
        let Some(back) = back.checked_sub(1) else {
            return Some(self.announcement.digest);
        };
        let back = usize::try_from(back).ok()?;
        self.announcement.frame.recent.iter().rev().nth(back).copied()
    }

    /// Whether `other` is this announcement or one that this one goes back to.
    fn knows(&self, other: &Announcement) -> bool {
        self.digest_at(other.frame.generation) == Some(other.digest)
    }
}

/// Compares what a reader held with what is in force at the end of the log now.
#[must_use]
pub fn continuity(held: Option<Held>, now: Option<&InForce>) -> Continuity {
    let (Some(held), now) = (held, now) else {
        return now.map_or(Continuity::Same, |_| Continuity::Advanced);
    };
    let Some(now) = now else {
        return Continuity::Lost;
    };
    match (now.generation().cmp(&held.generation), now.digest_at(held.generation)) {
        (std::cmp::Ordering::Less, _) => Continuity::Lost,
        (std::cmp::Ordering::Equal, Some(digest)) if digest == held.digest => Continuity::Same,
        (std::cmp::Ordering::Equal, _) => Continuity::Lost,
        (std::cmp::Ordering::Greater, Some(digest)) if digest != held.digest => Continuity::Forked,
        (std::cmp::Ordering::Greater, _) => Continuity::Advanced,
    }
}
