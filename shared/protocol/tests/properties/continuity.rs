//! How a reader tells that the log went on, forked or was lost.

use modelcast_protocol::{
    Digest, Generation, ModelName,
    announcement::Frame,
    fold::{Continuity, Fold, Held, InForce, LogRecord, continuity},
    key::{SigningKey, TrustedKeys},
    limits::RECENT_MAX,
};
use proptest::prelude::{Just, Strategy, any};

use crate::{
    rule::namespace,
    runner::{ensure, holds},
    sample,
};

/// What is in force after each announcement of one line, from generation `first` on.
fn line(branch: u8, first: u64, count: usize) -> Vec<InForce> {
    let key = SigningKey::from_seed(&[1; 32]);
    let keys = TrustedKeys::new([key.public()]).unwrap();
    let model = ModelName::parse("price").unwrap();
    let mut state = sample::founding_state();
    state.nonce[0] = branch;
    let mut fold = Fold::new(namespace());
    let mut line: Vec<InForce> = Vec::new();
    for place in 0..count {
        sample::count_up(&mut state.nonce);
        let generation = Generation::new(first + place as u64);
        let recent = line.last().map_or_else(Vec::new, InForce::recent_for_next);
        let frame = Frame { namespace: namespace(), model: model.clone(), generation, recent };
        let value = frame.seal(&state, &key).unwrap().bytes;
        fold.apply(LogRecord { offset: 0, key: b"price", value: &value }, &keys);
        line.push(fold.in_force(&model).unwrap().clone());
    }
    line
}

#[test]
fn a_log_that_grew_is_never_lost_nor_forked() {
    let line = line(0, 1, 90);
    assert_eq!(continuity(None, None), Continuity::Same);
    assert_eq!(continuity(None, line.first()), Continuity::Advanced);
    for (before, held) in line.iter().enumerate() {
        for (now, in_force) in line.iter().enumerate().skip(before) {
            let wanted = if now == before { Continuity::Same } else { Continuity::Advanced };
            assert_eq!(continuity(Some(held.held()), Some(in_force)), wanted, "{before} to {now}");
        }
    }
}

#[test]
fn a_shorter_log_is_lost() {
    let line = line(0, 1, 40);
    for (before, held) in line.iter().enumerate() {
        assert_eq!(continuity(Some(held.held()), None), Continuity::Lost);
        for now in &line[..before] {
            assert_eq!(continuity(Some(held.held()), Some(now)), Continuity::Lost);
        }
    }
}

#[test]
fn another_log_is_lost_up_to_the_generation_held_and_forked_above_it() {
    let (ours, theirs) = (line(0, 1, 30), line(9, 1, 120));
    for (before, held) in ours.iter().enumerate() {
        for (now, in_force) in theirs.iter().enumerate() {
            let wanted = match now.checked_sub(before) {
                None | Some(0) => Continuity::Lost,
                // Further back than `recent` goes, nobody can tell.
                Some(ahead) if ahead > RECENT_MAX => Continuity::Advanced,
                Some(_) => Continuity::Forked,
            };
            assert_eq!(continuity(Some(held.held()), Some(in_force)), wanted, "{before} to {now}");
        }
    }
}

#[test]
fn a_log_founded_anew_above_the_generation_held_is_followed() {
    let (ours, recovered) = (line(0, 1, 5), line(9, 8, 3));
    for in_force in &recovered {
        assert_eq!(continuity(Some(ours[4].held()), Some(in_force)), Continuity::Advanced);
    }
}

#[test]
fn any_memory_gives_an_answer_that_fits_its_generation() {
    let line = line(0, 1, 80);
    let values = (any::<u64>(), any::<[u8; 32]>(), 0..line.len(), any::<bool>()).prop_flat_map(
        |(wild, digest, now, near)| {
            let generation = if near { wild % 100 } else { wild };
            (Just(generation), Just(digest), Just(now))
        },
    );
    holds(2_000, &values, |(generation, digest, now)| {
        let held = Held { generation: Generation::new(generation), digest: Digest::from_bytes(digest) };
        let in_force = &line[now];
        let reached = in_force.generation().get();
        let found = continuity(Some(held), Some(in_force));
        // A random digest is never the right one.
        let fits = match found {
            Continuity::Lost => generation >= reached,
            Continuity::Forked => generation < reached && in_force.digest_at(held.generation).is_some(),
            Continuity::Advanced => generation < reached && in_force.digest_at(held.generation).is_none(),
            Continuity::Same => false,
        };
        ensure(fits, || format!("{found:?} at {reached}"))
    });
}
