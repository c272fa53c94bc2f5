//! Damage to the records of a publisher on paper: it really is damage, and all of it is listed.

use std::collections::{BTreeMap, BTreeSet};

use modelcast::protocol::golden::{Column, GoldenRows};
use modelcast::protocol::key::{SigningKey, TrustedKeys};
use modelcast::protocol::schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind};
use modelcast::protocol::status::{Phase, Status, Traffic};
use modelcast::protocol::{Generation, ModelName, Namespace, announcement};

use super::*;
use crate::hostile::{Draft, Package};

fn package(model: &ModelName, text: &str, signing: &SigningKey) -> Package {
    let pieces: Vec<_> = (0..5).map(|place| format!("{text} {place} {}", "x".repeat(40 + place))).collect();
    let pieces: Vec<_> = pieces.iter().map(String::as_bytes).collect();
    let schema = FeatureSchema {
        features: vec![Feature {
            name: "area".into(),
            title: None,
            kind: FeatureKind::Numeric(Numeric::default()),
        }],
        outputs: vec![Output { name: "price".into(), title: None, kind: OutputKind::Numeric { unit: None } }],
    };
    let golden = GoldenRows {
        inputs: vec![Column::Numbers(vec![1.0])],
        outputs: vec![vec![1.0]],
        relative_tolerance: 1e-9,
    };
    Package::of(model, "glm", &pieces, schema, golden, signing)
}

fn report(sequence: u64, instance: &str, model: &ModelName) -> Status {
    Status {
        v: 1,
        model: model.clone(),
        instance: instance.parse().unwrap(),
        boot_id: "00112233".into(),
        sequence,
        at_unix_ms: sequence,
        labels: [].into(),
        phase: Phase::Live,
        wanted: None,
        served: None,
        generation_seen: Generation::new(sequence),
        announcement_seen: None,
        warnings: vec![],
        traffic: Traffic::default(),
    }
}

/// The records that each kind of damage is done to, with what replaces them.
struct Paper {
    signing: SigningKey,
    records: BTreeMap<Kind, (Vec<Record>, Spares)>,
}

fn value(record: &Record) -> Vec<u8> {
    record.value.clone().unwrap()
}

fn paper() -> Paper {
    let model: ModelName = "price".parse().unwrap();
    let (signing, stranger) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let mut draft = Draft::founding(&Namespace::parse("modelcast").unwrap(), &model, &signing);
    let before = draft.version(&package(&model, "one", &signing)).unwrap();
    let mut theirs = draft.signed_by(&stranger);
    let good = draft.version(&package(&model, "two", &signing)).unwrap();
    let forged = theirs.version(&package(&model, "two", &stranger)).unwrap();
    let next = draft.version(&package(&model, "three", &signing)).unwrap();
    let of = |records: &[Record], kind| value(records.iter().find(|record| record.kind == kind).unwrap());
    let spares = |kind| Spares { another: of(&before, kind), forged: of(&forged, kind) };
    let status = |sequence, instance| draft.status(&report(sequence, instance, &model)).unwrap();
    let reports = vec![status(2, "app-1"), status(3, "app-1")];
    let lies = Spares { another: value(&status(3, "app-2")), forged: value(&status(99, "app-1")) };
    let records = BTreeMap::from([
        (Kind::Chunk, (good.clone(), Spares::default())),
        (Kind::Manifest, (good.clone(), spares(Kind::Manifest))),
        (Kind::Announcement, ([good, next].concat(), spares(Kind::Announcement))),
        (Kind::Status, (reports, lies)),
    ]);
    Paper { signing, records }
}

/// All damage of some seeds, with the records before and after.
fn for_all(mut check: impl FnMut(&Damage, &[Record], &[Record])) {
    let paper = paper();
    for damage in (0..50).flat_map(matrix) {
        let (good, spares) = &paper.records[&damage.kind];
        check(&damage, good, &damage.apply(good, spares));
    }
}

#[test]
fn each_action_meets_each_kind_of_record() {
    let cells: BTreeSet<_> = matrix(1).iter().map(Damage::cell).collect();
    let actions = ["flip", "truncate", "drop", "duplicate", "reorder", "replace"];
    let kinds = ["chunk", "manifest", "announcement", "status"];
    let all = actions.iter().flat_map(|action| kinds.map(|kind| format!("{action}-{kind}")));
    assert_eq!(cells, all.collect());
}

#[test]
fn damage_changes_the_records_and_is_repeatable() {
    let paper = paper();
    for_all(|damage, good, damaged| assert_ne!(good, damaged, "{damage:?}"));
    for (damage, again) in matrix(7).iter().zip(matrix(7)) {
        let (good, spares) = &paper.records[&damage.kind];
        assert_eq!(damage.apply(good, spares), again.apply(good, spares));
    }
}

#[test]
fn a_flip_changes_one_bit_of_one_record_within_its_part() {
    for_all(|damage, good, damaged| {
        let Action::Flip(part) = damage.action else { return };
        assert_eq!(good.len(), damaged.len());
        let changed: Vec<_> = good.iter().zip(damaged).filter(|(good, damaged)| good != damaged).collect();
        let [(good, damaged)] = changed.as_slice() else { panic!("{damage:?}") };
        assert_eq!((good.kind, &good.key, &good.topic), (damage.kind, &damaged.key, &damaged.topic));
        let (good, damaged) = (value(good), value(damaged));
        let bits = good.iter().zip(&damaged).map(|(good, damaged)| (good ^ damaged).count_ones());
        assert_eq!(bits.sum::<u32>(), 1, "{damage:?}");
        let place = good.iter().zip(&damaged).position(|(good, damaged)| good != damaged).unwrap();
        assert!(place == part.place(&good, damage.seed));
    });
}

#[test]
fn flips_of_many_seeds_hit_every_byte_of_an_announcement() {
    let paper = paper();
    let (good, _) = &paper.records[&Kind::Announcement];
    let value = value(good.iter().find(|record| record.kind == Kind::Announcement).unwrap());
    let places = |part: &Part| (0..5_000).map(|seed| part.place(&value, seed)).collect::<BTreeSet<_>>();
    let hit: BTreeSet<_> = Part::of(Kind::Announcement).iter().flat_map(places).collect();
    assert!(hit.into_iter().eq(0..value.len()));
}

#[test]
fn a_flip_in_the_generation_is_a_flip_in_the_generation() {
    let keys = TrustedKeys::new([paper().signing.public()]).unwrap();
    for_all(|damage, good, damaged| {
        let Action::Flip(Part::Generation) = damage.action else { return };
        let find =
            |records: &[Record]| value(records.iter().rfind(|record| record.kind == damage.kind).unwrap());
        match damage.kind {
            Kind::Announcement => {
                let hit =
                    |records: &[Record]| value(records.iter().find(|one| one.kind == damage.kind).unwrap());
                let (good, damaged) = (hit(good), hit(damaged));
                assert!(
                    announcement::open(&good, &keys).is_ok() && announcement::open(&damaged, &keys).is_err()
                );
                let [before, now] = [good, damaged].map(|bytes| announcement::claimed_frame(&bytes));
                let before = before.unwrap();
                assert!(
                    now.is_none_or(|now| now.model == before.model && now.generation != before.generation)
                );
            }
            _ => {
                let status = Status::decode(&find(damaged));
                assert!(status.is_err() || status.unwrap().generation_seen != Generation::new(3));
            }
        }
    });
}

#[test]
fn a_truncation_takes_from_the_end_of_one_record() {
    for_all(|damage, good, damaged| {
        let Action::Truncate(_) = damage.action else { return };
        let changed: Vec<_> = good.iter().zip(damaged).filter(|(good, damaged)| good != damaged).collect();
        let [(good, damaged)] = changed.as_slice() else { panic!("{damage:?}") };
        let (good, damaged) = (value(good), value(damaged));
        assert!(good.starts_with(&damaged) && damaged.len() < good.len(), "{damage:?}");
    });
}

#[test]
fn dropped_doubled_and_moved_records_keep_their_bytes() {
    for_all(|damage, good, damaged| {
        let count = |records: &[Record]| records.iter().filter(|record| record.kind == damage.kind).count();
        let grown = match damage.action {
            Action::Drop => -1,
            Action::Duplicate => 1,
            Action::Reorder(_) => 0,
            Action::Flip(_) | Action::Truncate(_) | Action::Replace(_) => return,
        };
        assert_eq!(count(damaged).cast_signed(), count(good).cast_signed() + grown, "{damage:?}");
        assert!(damaged.iter().all(|record| good.contains(record)), "{damage:?}");
    });
}

#[test]
fn a_substitute_stands_under_the_key_of_what_it_replaces() {
    for_all(|damage, good, damaged| {
        let Action::Replace(substitute) = damage.action else { return };
        let places = good.iter().zip(damaged).filter(|(good, damaged)| good != damaged);
        let changed: Vec<_> = places.collect();
        let [(good, damaged)] = changed.as_slice() else { panic!("{damage:?}") };
        assert_eq!((&good.key, &good.topic), (&damaged.key, &damaged.topic));
        assert_eq!(damaged.value.is_none(), substitute == Substitute::Nothing);
    });
}
