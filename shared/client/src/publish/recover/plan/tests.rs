//! What a plan restores and announces, row by row.

use modelcast_protocol::{
    Version,
    announcement::{self, Frame},
    change::{Change, NewRole, NewVersion},
    desired::Stamp,
    key::{SigningKey, TrustedKeys},
};

use super::*;

fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// An announcement computed from another; `line` tells histories apart.
fn after(before: Option<&InForce>, generation: u64, line: u8) -> InForce {
    let digest = Digest::of(b"artifact");
    let new = NewVersion {
        manifest: digest,
        manifest_offset: 0,
        artifact: digest,
        inline_manifest: None,
        inline_artifact: None,
        role: NewRole::Champion,
    };
    let stamp = Stamp { author: "ada".into(), reason: "why".into(), at_unix_ms: 0 };
    let state = Change::Publish(new).apply(None, &stamp, [line; 16]).unwrap();
    let frame = Frame {
        namespace: "test".parse().unwrap(),
        model: "house".parse().unwrap(),
        generation: Generation::new(generation),
        recent: before.map_or_else(Vec::new, InForce::recent_for_next),
    };
    let bytes = frame.seal(&state, &key()).unwrap().bytes;
    let announcement = announcement::open(&bytes, &TrustedKeys::new([key().public()]).unwrap()).unwrap();
    InForce { announcement, offset: 0, bytes }
}

/// Generations 1 to `last` of one history.
fn line(last: u64, line: u8) -> Vec<InForce> {
    let mut all: Vec<InForce> = Vec::new();
    for generation in 1..=last {
        all.push(after(all.last(), generation, line));
    }
    all
}

fn audit(announcements: &[InForce]) -> Vec<Found> {
    let found = |announcement: &InForce| Found { announcement: announcement.clone(), place: Place::Audit };
    announcements.iter().map(found).collect()
}

fn saw(announcement: &InForce) -> Witness {
    Witness {
        instance: "app-1".parse().unwrap(),
        generation: announcement.generation(),
        announcement: Some(announcement.announcement.digest),
        served: Some(StatusVersion { version: Version::FIRST, manifest: Digest::of(b"manifest") }),
        at_unix_ms: 0,
    }
}

fn evidence(in_force: Option<&InForce>, found: &[InForce], witnesses: Vec<Witness>) -> Evidence {
    Evidence { in_force: in_force.cloned(), found: audit(found), witnesses }
}

/// What is restored, and what is announced.
fn steps(evidence: &Evidence, own: bool) -> Option<(Vec<u64>, Option<RangeInclusive<u64>>)> {
    let plan = evidence.plan(own)?;
    let restored = plan.restore.iter().map(|found| found.announcement.generation().get()).collect();
    Some((restored, plan.announce))
}

#[test]
fn nothing_is_lost_while_everybody_has_seen_what_the_log_has() {
    let all = line(5, 1);
    let witnesses = vec![saw(&all[4]), saw(&all[2])];
    assert_eq!(steps(&evidence(Some(&all[4]), &all, witnesses), true), None);
    assert_eq!(steps(&evidence(None, &[], vec![]), false), None);
    let waiting = Witness { generation: Generation::ZERO, announcement: None, ..saw(&all[0]) };
    assert_eq!(steps(&evidence(None, &[], vec![waiting]), false), None);
}

#[test]
fn lost_records_that_continue_the_log_are_restored_as_they_were() {
    let all = line(5, 1);
    let found = evidence(Some(&all[1]), &all, vec![saw(&all[4])]);
    assert_eq!(steps(&found, false), Some((vec![3, 4, 5], None)));
    // Without a witness too: only what took force is in the audit topic.
    assert_eq!(steps(&evidence(Some(&all[1]), &all, vec![]), false), Some((vec![3, 4, 5], None)));
    // Of a log that has nothing the newest is enough, and is one record.
    assert_eq!(steps(&evidence(None, &all, vec![saw(&all[4])]), false), Some((vec![5], None)));
    // What is wanted beside it is announced on top.
    assert_eq!(steps(&evidence(None, &all, vec![saw(&all[4])]), true), Some((vec![5], Some(6..=6))));
}

#[test]
fn what_nobody_has_any_more_is_announced_anew_above_all_that_was_seen() {
    let all = line(9, 1);
    let check = |in_force: Option<&InForce>, found: &[InForce], expected| {
        assert_eq!(
            steps(&evidence(in_force, found, vec![saw(&all[4]), saw(&all[8])]), false),
            Some(expected)
        );
    };
    check(Some(&all[2]), &[], (vec![], Some(4..=10)));
    check(Some(&all[2]), &all[..5], (vec![4, 5], Some(6..=10)));
    check(None, &all[..7], (vec![7], Some(8..=10)));
    check(None, &[], (vec![], Some(10..=10)));
    // A gap is not jumped: those who hold what is before it would be contradicted unseen.
    check(Some(&all[2]), &all[5..8], (vec![], Some(4..=10)));
}

#[test]
fn records_of_another_history_are_not_appended_to_this_one() {
    let (ours, theirs) = (line(4, 1), line(9, 2));
    let found = evidence(Some(&ours[3]), &theirs, vec![saw(&theirs[8])]);
    assert_eq!(steps(&found, false), Some((vec![], Some(5..=10))));
    let newest = found.plan(false).unwrap().newest.unwrap();
    assert_eq!((newest.place, newest.announcement.generation().get()), (Place::Audit, 9));
}

#[test]
fn the_same_generation_of_another_history_is_lost_too() {
    let (ours, theirs) = (line(4, 1), line(4, 2));
    let found = evidence(Some(&ours[3]), &ours, vec![saw(&theirs[3])]);
    assert_eq!(steps(&found, false), Some((vec![], Some(5..=5))));
    // Of two newest records the one that an instance has seen is the model's.
    let both = [ours.clone(), theirs.clone()].concat();
    let plan = evidence(None, &both, vec![saw(&theirs[3])]).plan(false).unwrap();
    assert_eq!(plan.restore[0].announcement.announcement.digest, theirs[3].announcement.digest);
    assert_eq!(plan.announce, None);
}
