//! The rules that decide, behind one trait: the real ones, and three that are wrong on purpose.
//!
//! A wrong rule differs in one place, and every property of the simulated log is run with it too: a property that no
//! wrong rule breaks would prove nothing.

use std::collections::BTreeMap;

use modelcast_protocol::{
    Digest, Generation, ModelName, Namespace,
    announcement::{self, Announcement},
    fold::{Fold, Held, InForce, LogRecord},
    key::TrustedKeys,
    outcome::{self, Verdict},
};

/// A record of the simulated log; its offset is its place.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// What decides: which announcement is in force, what became of one, and where the log may be cut.
pub(crate) trait Rule {
    /// What a reader keeps while it reads.
    type Folded: Clone;

    fn start(&self) -> Self::Folded;
    fn apply(&self, folded: &mut Self::Folded, record: LogRecord<'_>, keys: &TrustedKeys);
    fn in_force<'a>(&self, folded: &'a Self::Folded, model: &ModelName) -> Option<&'a InForce>;

    /// Whether the log may be cut to what gives `rest`, where all of it gives `whole`.
    fn may_cut(&self, whole: &Self::Folded, rest: &Self::Folded, models: &[ModelName]) -> bool {
        let held = |folded, model| self.in_force(folded, model).map(InForce::held);
        models.iter().all(|model| held(whole, model) == held(rest, model))
    }

    /// What became of an announcement, at the end of the log.
    fn judge(&self, case: Case<'_>, _visible: &[Entry], _keys: &TrustedKeys) -> Verdict {
        outcome::judge(case.ours, case.generation, case.in_force)
    }
}

/// An announcement that was sent, and what is in force now.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) model: &'a ModelName,
    pub(crate) ours: Digest,
    pub(crate) generation: Generation,
    pub(crate) in_force: Option<&'a InForce>,
}

/// The namespace of the simulated log.
pub(crate) fn namespace() -> Namespace {
    Namespace::parse("modelcast").unwrap()
}

/// The rule of the crate.
pub(crate) struct Real;

impl Rule for Real {
    type Folded = Fold;

    fn start(&self) -> Fold {
        Fold::new(namespace())
    }

    fn apply(&self, folded: &mut Fold, record: LogRecord<'_>, keys: &TrustedKeys) {
        folded.apply(record, keys);
    }

    fn in_force<'a>(&self, folded: &'a Fold, model: &ModelName) -> Option<&'a InForce> {
        folded.in_force(model)
    }
}

/// Wrong: the last record of a generation wins, as an upsert or a compacted topic would have it.
pub(crate) struct LastOfGenerationWins;

impl Rule for LastOfGenerationWins {
    type Folded = BTreeMap<ModelName, InForce>;

    fn start(&self) -> Self::Folded {
        BTreeMap::new()
    }

    fn apply(&self, folded: &mut Self::Folded, record: LogRecord<'_>, keys: &TrustedKeys) {
        let Some(announcement) = genuine(record.key, record.value, keys) else { return };
        let generation = announcement.frame.generation;
        let takes = match folded.get(&announcement.frame.model).map(InForce::generation) {
            None => true,
            Some(reached) => generation == reached || Some(generation) == reached.next(),
        };
        if takes {
            let model = announcement.frame.model.clone();
            let bytes = record.value.to_vec();
            folded.insert(model, InForce { announcement, offset: record.offset, bytes });
        }
    }

    fn in_force<'a>(&self, folded: &'a Self::Folded, model: &ModelName) -> Option<&'a InForce> {
        folded.get(model)
    }
}

/// Wrong: housekeeping may cut anywhere.
pub(crate) struct CutAnywhere;

impl Rule for CutAnywhere {
    type Folded = Fold;

    fn start(&self) -> Fold {
        Real.start()
    }

    fn apply(&self, folded: &mut Fold, record: LogRecord<'_>, keys: &TrustedKeys) {
        Real.apply(folded, record, keys);
    }

    fn in_force<'a>(&self, folded: &'a Fold, model: &ModelName) -> Option<&'a InForce> {
        folded.in_force(model)
    }

    fn may_cut(&self, _whole: &Fold, _rest: &Fold, _models: &[ModelName]) -> bool {
        true
    }
}

/// Wrong: an outcome is judged by the first record of the generation that is still visible; by the announcement in
/// force only where none is.
pub(crate) struct JudgedByFirstVisible;

impl Rule for JudgedByFirstVisible {
    type Folded = Fold;

    fn start(&self) -> Fold {
        Real.start()
    }

    fn apply(&self, folded: &mut Fold, record: LogRecord<'_>, keys: &TrustedKeys) {
        Real.apply(folded, record, keys);
    }

    fn in_force<'a>(&self, folded: &'a Fold, model: &ModelName) -> Option<&'a InForce> {
        folded.in_force(model)
    }

    fn judge(&self, case: Case<'_>, visible: &[Entry], keys: &TrustedKeys) -> Verdict {
        let of_generation = |announcement: &Announcement| {
            announcement.frame.model == *case.model && announcement.frame.generation == case.generation
        };
        let mut records = visible.iter().filter_map(|entry| genuine(&entry.key, &entry.value, keys));
        match records.find(of_generation).map(|announcement| announcement.digest) {
            Some(digest) if digest == case.ours => Verdict::Committed,
            Some(by) => Verdict::Conflict { by },
            None => outcome::judge(case.ours, case.generation, case.in_force),
        }
    }
}

/// What a reader remembers of a model, if anything is in force.
pub(crate) fn held<R: Rule>(rule: &R, folded: &R::Folded, model: &ModelName) -> Option<Held> {
    rule.in_force(folded, model).map(InForce::held)
}

fn genuine(key: &[u8], value: &[u8], keys: &TrustedKeys) -> Option<Announcement> {
    let announcement = announcement::open(value, keys).ok()?;
    let frame = &announcement.frame;
    let belongs = frame.namespace == namespace() && frame.model.as_str().as_bytes() == key;
    belongs.then_some(announcement)
}
