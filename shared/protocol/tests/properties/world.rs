//! A simulated log with everybody who touches it: publishers, housekeeping, readers, the network and strangers.
//!
//! Publishers are stale, paused, crash, and have their bytes delivered late and repeatedly; housekeeping copies what
//! is in force to the end and cuts the front by a plan that may be old; strangers write what is not valid. The whole
//! history is kept beside the log, which only its readers' eyes are cut from, and every step is checked against it.
//!
//! # Invariants
//! * `folds` are over the visible log from one start each, and only go forward.
//! * `decided` is what was in force in the whole uncut history, and never changes.

use std::collections::BTreeMap;

use modelcast_protocol::{
    Digest, Generation, ModelName, Namespace,
    announcement::Frame,
    desired::DesiredState,
    fold::{Continuity, Held, InForce, LogRecord, continuity},
    key::{SigningKey, TrustedKeys},
    limits::RECENT_MAX,
    outcome::Verdict,
};

use crate::{
    rule::{Case, Entry, Rule, held, namespace},
    runner::{self, ensure},
    sample,
};

/// How many publishers there are.
pub(crate) const PUBLISHERS: usize = 3;
const MODELS: [&str; 2] = ["price", "tumour"];

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A publisher reads to the end and keeps what it saw, for as long as it likes.
    Read { publisher: usize },
    /// A publisher announces the next generation of what it saw; the record arrives now, later or never.
    Announce { publisher: usize, model: usize, arrives: bool },
    /// The network delivers bytes that were sent at some time, perhaps once more.
    Deliver { which: usize },
    /// A publisher forgets everything.
    Crash { publisher: usize },
    /// Somebody writes what is no valid record.
    Noise { noise: Noise, which: usize },
    /// Housekeeping copies what is in force to the end.
    Copy { model: usize },
    /// Housekeeping looks for a place to cut, at this part (of 255) of the visible log.
    PlanCut { slot: usize, part: u8 },
    /// Housekeeping cuts as it planned, perhaps long ago.
    Cut { slot: usize },
    /// A reader joins at the front of the visible log and reads half of it.
    Join,
    /// A reader reads to the end.
    Poll { which: usize },
    /// The outcome of something that was sent is judged.
    Judge { which: usize },
}

/// What strangers and accidents write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Noise {
    Garbage,
    FlippedBit,
    UntrustedKey,
    OtherNamespace,
    OtherKey,
    Tombstone,
    FarAhead,
}

struct Sent {
    model: ModelName,
    generation: Generation,
    digest: Digest,
    bytes: Vec<u8>,
    verdict: Option<Verdict>,
}

struct Reader<F> {
    folded: F,
    next: usize,
    held: Vec<Option<Held>>,
}

/// How often what the simulation is about came to pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) committed: usize,
    pub(crate) conflicts: usize,
    pub(crate) cut_records: usize,
    pub(crate) folded_anew: usize,
}

/// What a publisher remembers of a model: the next generation, and the predecessors to name.
type Base = (Generation, Vec<Digest>);

pub(crate) struct World<'r, R: Rule> {
    rule: &'r R,
    models: Vec<ModelName>,
    keys: Vec<SigningKey>,
    trusted: TrustedKeys,
    state: DesiredState,
    history: Vec<Entry>,
    front: usize,
    folds: BTreeMap<usize, (usize, R::Folded)>,
    seen: [Option<Vec<Base>>; PUBLISHERS],
    sent: Vec<Sent>,
    plans: [Option<usize>; 2],
    readers: Vec<Reader<R::Folded>>,
    decided: BTreeMap<(ModelName, Generation), Digest>,
    pub(crate) tally: Tally,
}

impl<'r, R: Rule> World<'r, R> {
    pub(crate) fn new(rule: &'r R) -> Self {
        let keys: Vec<_> = (1..=4).map(|seed| SigningKey::from_seed(&[seed; 32])).collect();
        // The fourth key is a stranger's.
        let trusted = TrustedKeys::new(keys[..PUBLISHERS].iter().map(SigningKey::public)).unwrap();
        Self {
            rule,
            models: MODELS.iter().map(|name| ModelName::parse(name).unwrap()).collect(),
            keys,
            trusted,
            state: sample::founding_state(),
            history: Vec::new(),
            front: 0,
            folds: BTreeMap::new(),
            seen: [const { None }; PUBLISHERS],
            sent: Vec::new(),
            plans: [None; 2],
            readers: Vec::new(),
            decided: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Lets everything happen, then checks everybody at the end.
    pub(crate) fn run(&mut self, acts: &[Act]) -> runner::Held {
        acts.iter().try_for_each(|act| self.act(act))?;
        (0..self.readers.len()).try_for_each(|which| self.poll(which))?;
        (0..self.sent.len()).try_for_each(|which| self.judge(which))?;
        self.agree("the end")
    }

    fn act(&mut self, act: &Act) -> runner::Held {
        match *act {
            Act::Read { publisher } => self.read(publisher),
            Act::Announce { publisher, model, arrives } => self.announce(publisher, model, arrives)?,
            Act::Deliver { which } if !self.sent.is_empty() => self.deliver(which % self.sent.len())?,
            Act::Crash { publisher } => self.seen[publisher] = None,
            Act::Noise { noise, which } => self.noise(noise, which)?,
            Act::Copy { model } => self.copy(model)?,
            Act::PlanCut { slot, part } => self.plan_cut(slot, part),
            Act::Cut { slot } => self.cut(slot)?,
            Act::Join => self.join(),
            Act::Poll { which } if !self.readers.is_empty() => self.poll(which % self.readers.len())?,
            Act::Judge { which } if !self.sent.is_empty() => self.judge(which % self.sent.len())?,
            Act::Deliver { .. } | Act::Poll { .. } | Act::Judge { .. } => {}
        }
        Ok(())
    }

    fn read(&mut self, publisher: usize) {
        let folded = self.fold_from(self.front);
        let base = |model| match self.rule.in_force(&folded, model) {
            None => Some((Generation::new(1), Vec::new())),
            Some(in_force) => Some((in_force.generation().next()?, in_force.recent_for_next())),
        };
        self.seen[publisher] = self.models.iter().map(base).collect();
    }

    fn announce(&mut self, publisher: usize, model: usize, arrives: bool) -> runner::Held {
        let Some(base) = self.seen[publisher].as_ref().map(|seen| seen[model].clone()) else { return Ok(()) };
        let key = self.keys[publisher].clone();
        let (digest, bytes) = self.seal(&namespace(), model, &base, &key);
        let model = self.models[model].clone();
        self.sent.push(Sent { model, generation: base.0, digest, bytes, verdict: None });
        if arrives { self.deliver(self.sent.len() - 1) } else { Ok(()) }
    }

    fn deliver(&mut self, which: usize) -> runner::Held {
        let sent = &self.sent[which];
        let entry = Entry { key: sent.model.as_str().into(), value: sent.bytes.clone() };
        self.append(entry)
    }

    fn noise(&mut self, noise: Noise, which: usize) -> runner::Held {
        let model = which % self.models.len();
        let base = self.now(model);
        let key = self.models[model].as_str().as_bytes().to_vec();
        let value = match (noise, self.sent.is_empty()) {
            (Noise::Tombstone, _) => Vec::new(),
            (Noise::UntrustedKey, _) => self.seal(&namespace(), model, &base, &self.keys[3].clone()).1,
            (Noise::OtherNamespace, _) => {
                let other = Namespace::parse("staging").unwrap();
                self.seal(&other, model, &base, &self.keys[0].clone()).1
            }
            // On an empty log it would be no noise: it would found the model.
            (Noise::FarAhead, _) if !base.1.is_empty() => {
                let ahead = Generation::new(base.0.get() + 2);
                self.seal(&namespace(), model, &(ahead, base.1), &self.keys[0].clone()).1
            }
            (Noise::FlippedBit | Noise::OtherKey, false) => {
                let mut bytes = self.sent[which % self.sent.len()].bytes.clone();
                if matches!(noise, Noise::FlippedBit) {
                    let place = which % bytes.len();
                    bytes[place] ^= 1;
                }
                bytes
            }
            _ => vec![0xc1; which % 200],
        };
        let key = if matches!(noise, Noise::OtherKey) { b"another".to_vec() } else { key };
        self.append(Entry { key, value })
    }

    fn copy(&mut self, model: usize) -> runner::Held {
        let folded = self.fold_from(self.front);
        let model = &self.models[model];
        let copy = self.rule.in_force(&folded, model).map(|in_force| in_force.bytes.clone());
        let key = model.as_str().as_bytes().to_vec();
        copy.map_or(Ok(()), |value| self.append(Entry { key, value }))
    }

    fn plan_cut(&mut self, slot: usize, part: u8) {
        let visible = self.history.len() - self.front;
        let place = self.front + visible * usize::from(part) / 255;
        let (whole, rest) = (self.fold_from(self.front), self.fold_from(place));
        if self.rule.may_cut(&whole, &rest, &self.models) {
            self.plans[slot] = Some(place);
        }
    }

    fn cut(&mut self, slot: usize) -> runner::Held {
        if let Some(place) = self.plans[slot].take() {
            self.tally.cut_records += place.saturating_sub(self.front);
            self.front = self.front.max(place);
        }
        self.agree("a cut")
    }

    fn join(&mut self) {
        let next = self.front + (self.history.len() - self.front) / 2;
        let mut folded = self.rule.start();
        self.advance(&mut folded, self.front, next);
        self.readers.push(Reader { folded, next, held: vec![None; self.models.len()] });
    }

    /// Reads to the end; what was cut from under a reader makes it fold anew.
    fn poll(&mut self, which: usize) -> runner::Held {
        let end = self.history.len();
        let mut folded = self.readers[which].folded.clone();
        if self.readers[which].next < self.front {
            folded = self.fold_from(self.front);
            self.tally.folded_anew += 1;
        } else {
            self.advance(&mut folded, self.readers[which].next, end);
        }
        let whole = self.fold_from(0);
        for (place, model) in self.models.iter().enumerate() {
            let now = self.rule.in_force(&folded, model);
            let before = self.readers[which].held[place];
            let step = continuity(before, now);
            ensure(matches!(step, Continuity::Same | Continuity::Advanced), || {
                format!("a reader was told {step:?} of {model}, and the log only grew")
            })?;
            let wanted = held(self.rule, &whole, model);
            ensure(now.map(InForce::held) == wanted, || {
                format!("a reader of {model} differs from the whole history")
            })?;
            self.readers[which].held[place] = wanted;
        }
        self.readers[which].folded = folded;
        self.readers[which].next = end;
        Ok(())
    }

    fn judge(&mut self, which: usize) -> runner::Held {
        let folded = self.fold_from(self.front);
        let sent = &self.sent[which];
        let (model, ours, generation) = (&sent.model, sent.digest, sent.generation);
        let in_force = self.rule.in_force(&folded, model);
        let case = Case { model, ours, generation, in_force };
        let verdict = self.rule.judge(case, &self.history[self.front..], &self.trusted);
        let took = self.decided.get(&(model.clone(), generation)).copied();
        let (honest, may_forget) = match verdict {
            Verdict::Committed => (took == Some(ours), false),
            Verdict::Conflict { by } => (took == Some(by) && by != ours, false),
            Verdict::Undecided => (true, true),
        };
        let claim = || format!("{verdict:?} is a lie: {took:?} took generation {generation} of {model}");
        ensure(honest, claim)?;
        let distance = in_force.map_or(0, |now| now.generation().get().saturating_sub(generation.get()));
        let near = distance <= RECENT_MAX as u64;
        ensure(!(may_forget && near && took.is_some()), || {
            format!("generation {generation} of {model} is decided, and nobody says so")
        })?;
        self.tally.committed += usize::from(verdict == Verdict::Committed);
        self.tally.conflicts += usize::from(matches!(verdict, Verdict::Conflict { .. }));
        let before = self.sent[which].verdict.replace(verdict);
        ensure(
            before.is_none_or(|before| before == Verdict::Undecided || before == verdict || may_forget),
            || format!("{before:?} became {verdict:?}"),
        )
    }

    /// Appends a record and notes what is in force in the whole history.
    fn append(&mut self, entry: Entry) -> runner::Held {
        let before = self.fold_from(0);
        self.history.push(entry);
        let after = self.fold_from(0);
        for model in &self.models {
            let (before, after) = (held(self.rule, &before, model), held(self.rule, &after, model));
            let (Some(now), true) = (after, before != after) else {
                ensure(before == after, || format!("{model} has nothing in force any more"))?;
                continue;
            };
            let gap = before.is_some_and(|before| before.generation.next() != Some(now.generation));
            let earlier = self.decided.insert((model.clone(), now.generation), now.digest);
            ensure(earlier.is_none(), || {
                format!("generation {} of {model} has two winners", now.generation)
            })?;
            ensure(!gap, || format!("{model} went from {before:?} to {now:?}"))?;
        }
        Ok(())
    }

    /// Whoever starts at the front of the visible log ends where the whole history ends.
    fn agree(&mut self, occasion: &str) -> runner::Held {
        let (whole, visible) = (self.fold_from(0), self.fold_from(self.front));
        self.models.iter().try_for_each(|model| {
            let same = held(self.rule, &whole, model) == held(self.rule, &visible, model);
            ensure(same, || {
                format!("after {occasion} a new reader of {model} differs from the whole history")
            })
        })
    }

    fn fold_from(&mut self, start: usize) -> R::Folded {
        let end = self.history.len();
        let (next, mut folded) = self.folds.remove(&start).unwrap_or_else(|| (start, self.rule.start()));
        self.advance(&mut folded, next, end);
        self.folds.insert(start, (end, folded.clone()));
        folded
    }

    fn advance(&self, folded: &mut R::Folded, from: usize, to: usize) {
        for (place, entry) in self.history.iter().enumerate().take(to).skip(from) {
            let offset = i64::try_from(place).unwrap();
            self.rule.apply(
                folded,
                LogRecord { offset, key: &entry.key, value: &entry.value },
                &self.trusted,
            );
        }
    }

    fn now(&mut self, model: usize) -> Base {
        let folded = self.fold_from(0);
        let in_force = self.rule.in_force(&folded, &self.models[model]);
        let first = (Generation::new(1), Vec::new());
        in_force.map_or(first, |now| (now.generation().next().unwrap(), now.recent_for_next()))
    }

    fn seal(
        &mut self,
        namespace: &Namespace,
        model: usize,
        base: &Base,
        key: &SigningKey,
    ) -> (Digest, Vec<u8>) {
        sample::count_up(&mut self.state.nonce);
        let (generation, recent) = base.clone();
        let frame =
            Frame { namespace: namespace.clone(), model: self.models[model].clone(), generation, recent };
        let sealed = frame.seal(&self.state, key).unwrap();
        (sealed.digest, sealed.bytes)
    }
}
