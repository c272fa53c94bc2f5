//! Swaps, residence, room, and on which thread a model is freed.

use modelcast_protocol::{Generation, Version};

use super::*;
use crate::fixture::{Probe, eventually, version};

fn loaded(probe: &Arc<Probe>, behaviour: &str, weight: u64) -> LoadedModel {
    let policy = probe.policy();
    let (manifest, artifact) = version(behaviour, weight);
    let verified = policy.accept(manifest).unwrap().with(artifact).verify().unwrap();
    let tested = verified.decode(&policy).unwrap().test().unwrap();
    tested.load(Version::new(weight).unwrap(), Generation::new(weight)).unwrap()
}

fn serving(slot: &ModelSlot) -> u64 {
    slot.load().unwrap().version().get()
}

#[test]
fn a_reader_keeps_its_snapshot_over_a_swap_and_never_frees_it() {
    let (probe, slot) = (Arc::default(), ModelSlot::new().unwrap());
    assert!(slot.load().is_none());
    slot.swap(loaded(&probe, "fine", 1).into());
    let snapshot = slot.load().unwrap();
    slot.swap(loaded(&probe, "fine", 2).into());
    slot.swap(loaded(&probe, "fine", 3).into());
    assert_eq!((serving(&slot), snapshot.version().get()), (3, 1));
    let mut outputs = [0.0];
    snapshot.predict(&[5.0], &mut outputs).unwrap();
    assert_eq!(outputs, [5.0]);
    assert_eq!(probe.alive(), 3, "the snapshot holds its model");
    drop(snapshot);
    eventually("the reaper frees the oldest", || probe.alive() == 2);
    assert_ne!(probe.dropped_on.lock().unwrap()[0], thread::current().id());
}

#[test]
fn what_the_slot_held_is_freed_off_its_owners_thread_too() {
    let (probe, slot) = (Arc::default(), ModelSlot::new().unwrap());
    slot.swap(loaded(&probe, "fine", 1).into());
    slot.swap(loaded(&probe, "fine", 2).into());
    let snapshot = slot.load();
    drop(slot);
    eventually("the previous one goes", || probe.alive() == 1);
    drop(snapshot);
    eventually("the last reader is gone", || probe.alive() == 0);
    assert!(!probe.dropped_on.lock().unwrap().contains(&thread::current().id()));
}

#[test]
fn a_model_that_panics_when_it_is_dropped_does_not_end_the_reaper() {
    let (probe, slot) = (Arc::default(), ModelSlot::new().unwrap());
    for (behaviour, weight) in [("clings", 1), ("fine", 2), ("fine", 3), ("fine", 4)] {
        slot.swap(loaded(&probe, behaviour, weight).into());
    }
    eventually("two are resident", || probe.alive() == 2);
    assert!(!probe.dropped_on.lock().unwrap().contains(&thread::current().id()));
}

#[cfg(feature = "kafka")]
#[test]
fn the_previous_model_is_resident_until_room_is_made() {
    let (probe, slot) = (Arc::default(), ModelSlot::new().unwrap());
    let (one, two) = (loaded(&probe, "fine", 1), loaded(&probe, "fine", 2));
    let (first, second) = (one.digest(), two.digest());
    slot.swap(one.into());
    slot.swap(two.into());
    for digest in [first, second] {
        assert_eq!(slot.resident(digest).unwrap().digest(), digest);
    }
    assert!(slot.make_room(|| true));
    assert_eq!(probe.alive(), 1, "gone when it says so, not some time later");
    assert!(slot.resident(first).is_none());
    assert_eq!(serving(&slot), 2);
}

#[cfg(feature = "kafka")]
#[test]
fn there_is_no_room_while_a_reader_holds_a_replaced_model() {
    let (probe, slot) = (Arc::default(), ModelSlot::new().unwrap());
    slot.swap(loaded(&probe, "fine", 1).into());
    let snapshot = slot.load();
    slot.swap(loaded(&probe, "fine", 2).into());
    for _ in 0..2 {
        let mut looks = 0;
        let made = slot.make_room(|| {
            looks += 1;
            looks < 5
        });
        assert!(!made, "the second try must not have forgotten it");
    }
    drop(snapshot);
    assert!(slot.make_room(|| true));
    assert_eq!(probe.alive(), 1);
}

#[cfg(feature = "kafka")]
#[test]
fn a_reader_of_the_serving_model_at_an_older_generation_is_no_surplus() {
    let (probe, slot) = (Arc::default(), ModelSlot::new().unwrap());
    let one = loaded(&probe, "fine", 1);
    let again = one.at(one.version(), Generation::new(9));
    slot.swap(one.into());
    let snapshot = slot.load().unwrap();
    slot.swap(again.into());
    assert_eq!((snapshot.generation().get(), slot.load().unwrap().generation().get()), (1, 9));
    assert!(slot.make_room(|| false));
    assert_eq!(probe.alive(), 1);
}

#[cfg(feature = "kafka")]
#[test]
fn a_discarded_model_takes_room_until_it_is_freed() {
    let (probe, slot) = (Arc::default(), ModelSlot::new().unwrap());
    slot.swap(loaded(&probe, "fine", 1).into());
    let two = loaded(&probe, "fine", 2);
    let held = two.at(two.version(), Generation::new(9));
    slot.discard(two);
    assert!(!slot.make_room(|| false));
    drop(held);
    assert!(slot.make_room(|| true));
    assert_eq!((probe.alive(), serving(&slot)), (1, 1));
}
