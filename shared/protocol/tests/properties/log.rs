//! The log decides, whatever its publishers, its housekeeping and its network do.

use std::cell::Cell;

use modelcast_protocol::{
    Generation, ModelName,
    announcement::Frame,
    desired::DesiredState,
    fold::{Fold, LogRecord, Step},
    key::{SigningKey, TrustedKeys},
    limits::{RECENT_MAX, UNVERIFIED_KEPT},
    outcome::{Verdict, judge},
};
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::{
    rule::{Real, namespace},
    runner::holds,
    sample,
    world::{Act, Noise, PUBLISHERS, Tally, World},
};

/// Up to 90 things that happen.
pub(crate) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let publisher = || 0..PUBLISHERS;
    let noise = prop_oneof![
        Just(Noise::Garbage),
        Just(Noise::FlippedBit),
        Just(Noise::UntrustedKey),
        Just(Noise::OtherNamespace),
        Just(Noise::OtherKey),
        Just(Noise::Tombstone),
        Just(Noise::FarAhead),
    ];
    // Mostly one model, so that its publishers meet.
    let model = || prop_oneof![4 => Just(0_usize), 1 => Just(1_usize)];
    let announce = (publisher(), model(), prop_oneof![4 => Just(true), 1 => Just(false)]);
    let act = prop_oneof![
        5 => publisher().prop_map(|publisher| Act::Read { publisher }),
        8 => announce.prop_map(|(publisher, model, arrives)| Act::Announce { publisher, model, arrives }),
        3 => any::<usize>().prop_map(|which| Act::Deliver { which }),
        1 => publisher().prop_map(|publisher| Act::Crash { publisher }),
        2 => (noise, 0_usize..4_096).prop_map(|(noise, which)| Act::Noise { noise, which }),
        2 => model().prop_map(|model| Act::Copy { model }),
        3 => (0_usize..2, any::<u8>()).prop_map(|(slot, part)| Act::PlanCut { slot, part }),
        2 => (0_usize..2).prop_map(|slot| Act::Cut { slot }),
        2 => Just(Act::Join),
        2 => any::<usize>().prop_map(|which| Act::Poll { which }),
        3 => any::<usize>().prop_map(|which| Act::Judge { which }),
    ];
    proptest::collection::vec(act, 10..90)
}

#[test]
fn readers_agree_and_no_outcome_is_a_lie() {
    let total = Cell::new(Tally::default());
    holds(160, &acts(), |acts| {
        let mut world = World::new(&Real);
        world.run(&acts)?;
        let (sum, tally) = (total.get(), world.tally);
        total.set(Tally {
            committed: sum.committed + tally.committed,
            conflicts: sum.conflicts + tally.conflicts,
            cut_records: sum.cut_records + tally.cut_records,
            folded_anew: sum.folded_anew + tally.folded_anew,
        });
        Ok(())
    });
    let Tally { committed, conflicts, cut_records, folded_anew } = total.get();
    let counts = [committed, conflicts, cut_records, folded_anew];
    assert!(counts.iter().all(|&count| count > 20), "the simulation is too tame: {:?}", total.get());
}

/// Announcements one after the other, each computed from the one before.
struct Line {
    key: SigningKey,
    keys: TrustedKeys,
    state: DesiredState,
    fold: Fold,
    model: ModelName,
}

impl Line {
    fn new() -> Self {
        let key = SigningKey::from_seed(&[1; 32]);
        let keys = TrustedKeys::new([key.public()]).unwrap();
        let model = ModelName::parse("price").unwrap();
        Self { key, keys, state: sample::founding_state(), fold: Fold::new(namespace()), model }
    }

    fn next_frame(&self) -> Frame {
        let now = self.fold.in_force(&self.model);
        let recent = now.map_or_else(Vec::new, |now| now.recent_for_next());
        let generation = now.map_or(Generation::new(1), |now| now.generation().next().unwrap());
        Frame { namespace: namespace(), model: self.model.clone(), generation, recent }
    }

    fn apply(&mut self, value: &[u8]) -> Step {
        let record = LogRecord { offset: 0, key: self.model.as_str().as_bytes(), value };
        self.fold.apply(record, &self.keys)
    }

    fn announce(&mut self) -> modelcast_protocol::Digest {
        sample::count_up(&mut self.state.nonce);
        let sealed = self.next_frame().seal(&self.state, &self.key).unwrap();
        assert_eq!(self.apply(&sealed.bytes), Step::TookForce(self.model.clone()));
        sealed.digest
    }
}

#[test]
fn an_outcome_can_be_settled_for_as_many_generations_as_recent_names() {
    let mut line = Line::new();
    let sent: Vec<_> = (0..200).map(|_| line.announce()).collect();
    let now = line.fold.in_force(&line.model).unwrap();
    for (place, digest) in sent.iter().enumerate() {
        let generation = Generation::new(place as u64 + 1);
        let settled = sent.len() - 1 - place <= RECENT_MAX;
        let wanted = if settled { Verdict::Committed } else { Verdict::Undecided };
        assert_eq!(judge(*digest, generation, Some(now)), wanted, "generation {generation}");
        let other = modelcast_protocol::Digest::of(b"another");
        let conflict = if settled { Verdict::Conflict { by: *digest } } else { Verdict::Undecided };
        assert_eq!(judge(other, generation, Some(now)), conflict, "generation {generation}");
    }
    assert_eq!(judge(sent[0], Generation::new(201), Some(now)), Verdict::Undecided);
    assert_eq!(judge(sent[0], Generation::new(1), None), Verdict::Undecided);
}

#[test]
fn an_unverified_record_ahead_is_remembered_however_many_follow_that_are_not() {
    let mut line = Line::new();
    line.announce();
    let stranger = SigningKey::from_seed(&[9; 32]);
    let ahead = line.next_frame().seal(&line.state, &stranger).unwrap();
    line.apply(&ahead.bytes);
    let old = Frame { generation: Generation::new(1), ..line.next_frame() };
    let old = old.seal(&line.state, &stranger).unwrap();
    for _ in 0..2 * UNVERIFIED_KEPT {
        assert!(matches!(line.apply(&old.bytes), Step::Unverified(..)));
    }
    let found: Vec<_> = line.fold.unverified_ahead(&line.model).map(|record| record.generation).collect();
    assert_eq!(found, [Generation::new(2)]);
    line.announce();
    assert_eq!(line.fold.unverified_ahead(&line.model).count(), 0, "what was decided otherwise is past");
}

#[test]
fn generation_zero_is_no_announcement() {
    let line = Line::new();
    let frame = Frame { generation: Generation::ZERO, ..line.next_frame() };
    assert!(frame.seal(&line.state, &line.key).is_err());
}
