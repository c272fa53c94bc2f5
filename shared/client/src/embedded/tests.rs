//! What a file holds is admitted as a version from Kafka is, or refused with its cause.

use std::{fs, sync::Arc};

use modelcast_protocol::{change::Change, key::SigningKey, status::Stage};

use super::*;
use crate::fixture::{Line, Probe, embedded, keys, model, version};

/// The file of version 1, which multiplies by `weight`.
fn file(behaviour: &str, weight: u64) -> Vec<u8> {
    let (manifest, artifact) = version(behaviour, weight);
    let in_force = Line::new(1).publish_version(&manifest, None);
    embedded(&in_force, &manifest, &artifact)
}

fn admit_from(embedded: &Embedded) -> Result<LoadedModel, EmbeddedError> {
    LoadedModel::embedded(embedded.clone(), &keys(), &Arc::<Probe>::default().policy())
}

fn admit(bytes: Vec<u8>) -> Result<LoadedModel, EmbeddedError> {
    admit_from(&Embedded::Bytes(bytes.leak()))
}

fn refused(bytes: Vec<u8>) -> String {
    crate::with_causes(&admit(bytes).unwrap_err())
}

#[test]
fn compiled_in_or_as_a_file_it_predicts_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("price.modelcast");
    fs::write(&path, file("fine", 2)).unwrap();
    for embedded in [Embedded::Bytes(file("fine", 2).leak()), Embedded::File(path)] {
        let loaded = admit_from(&embedded).unwrap();
        let mut outputs = [0.0];
        loaded.predict(&[4.0], &mut outputs).unwrap();
        assert_eq!(outputs, [8.0]);
        assert_eq!((loaded.name(), loaded.version().get(), loaded.generation().get()), (&model(), 1, 1));
        assert_eq!((loaded.origin(), loaded.digest()), (Origin::Embedded, version("fine", 2).0.digest()));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = file("fine", 2);
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(admit(flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let good = file("fine", 2);
    for length in 0..good.len() {
        assert!(admit(good[..length].to_vec()).is_err(), "{length}");
    }
    assert!(refused([good, vec![0]].concat()).contains("was not written to its end"));
}

#[test]
fn the_checks_of_admission_are_made() {
    for (behaviour, stage) in
        [("panics", Stage::Decode), ("wide", Stage::Decode), ("off", Stage::Golden), ("tires", Stage::WarmUp)]
    {
        match admit(file(behaviour, 2)) {
            Err(EmbeddedError::Refused(refusal)) => assert_eq!(refusal.stage, stage, "{refusal}"),
            other => panic!("{behaviour}: {other:?}"),
        }
    }
    let policy = Policy { artifact_max_bytes: 5, ..Arc::<Probe>::default().policy() };
    let bytes: &'static [u8] = file("fine", 2).leak();
    let error = LoadedModel::embedded(bytes, &keys(), &policy).unwrap_err();
    assert!(error.to_string().contains("5 are allowed"), "{error}");
}

#[test]
fn only_what_trusted_keys_signed_for_each_other_is_admitted() {
    let stranger = TrustedKeys::new([SigningKey::from_seed(&[8; 32]).public()]).unwrap();
    let bytes: &'static [u8] = file("fine", 2).leak();
    let error = LoadedModel::embedded(bytes, &stranger, &Policy::standard()).unwrap_err();
    assert!(matches!(error, EmbeddedError::Announcement(_)), "{error}");

    let ((one, _), (two, artifact)) = (version("fine", 1), version("fine", 2));
    let names_one = Line::new(1).publish_version(&one, None);
    assert!(refused(embedded(&names_one, &two, &artifact)).contains("does not name its manifest"));
}

#[test]
fn a_version_that_its_own_announcement_forbids_is_refused() {
    let mut line = Line::new(1);
    let (one, artifact) = version("fine", 1);
    line.publish_version(&one, None);
    line.publish("fine", 2);
    let quarantine = Change::Quarantine { version: Version::FIRST, instead: None };
    let in_force = line.change(&quarantine);
    assert!(refused(embedded(&in_force, &one, &artifact)).contains("version 1 is quarantined"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = admit_from(&Embedded::from(PathBuf::from("/nowhere/price.modelcast"))).unwrap_err();
    assert!(error.to_string().contains("/nowhere/price.modelcast"), "{error}");
}
