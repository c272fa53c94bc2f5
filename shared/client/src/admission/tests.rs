//! Each step refuses with its stage, and nothing that a model does gets past the gate.

use std::{fs, sync::atomic::Ordering::SeqCst};

use super::*;
use crate::fixture::{Probe, key, manifest, schema, version};

/// Takes a version through all steps.
fn admit(policy: &Policy, manifest: SignedManifest, artifact: Artifact) -> Result<LoadedModel, Refusal> {
    let verified = policy.accept(manifest)?.with(artifact).verify()?;
    verified.decode(policy)?.test()?.load(Version::FIRST, Generation::new(1))
}

fn refused(policy: &Policy, manifest: SignedManifest, artifact: Artifact) -> (Stage, String) {
    let refusal = admit(policy, manifest, artifact).unwrap_err();
    (refusal.stage, refusal.cause)
}

#[test]
fn a_good_version_passes() {
    let (manifest, artifact) = version("fine", 2);
    let loaded = admit(&Arc::<Probe>::default().policy(), manifest, artifact).unwrap();
    let mut outputs = [0.0];
    loaded.predict(&[4.0], &mut outputs).unwrap();
    assert_eq!(outputs, [8.0]);
}

#[test]
fn each_misbehaviour_is_refused_at_its_stage_and_panics_nobody() {
    for (behaviour, stage, cause) in [
        ("fails", Stage::Decode, "scripted to fail"),
        ("panics", Stage::Decode, "panicked: scripted to panic"),
        ("wide", Stage::Decode, "takes 2 features"),
        ("off", Stage::Golden, "golden row 0"),
        ("tires", Stage::WarmUp, "panicked: scripted to tire"),
    ] {
        let (manifest, artifact) = version(behaviour, 2);
        let found = refused(&Arc::<Probe>::default().policy(), manifest, artifact);
        assert_eq!(found.0, stage, "{behaviour}: {}", found.1);
        assert!(found.1.contains(cause), "{behaviour}: {}", found.1);
    }
}

#[test]
fn the_manifest_alone_decides_size_format_features_and_schema() {
    let probe = Arc::<Probe>::default();
    let good = || manifest(b"fine 2", 2.0);
    let check = |policy: &Policy, manifest: modelcast_protocol::manifest::Manifest, stage: Stage| {
        let refusal = policy.accept(manifest.sign(&key()).unwrap()).unwrap_err();
        assert_eq!(refusal.stage, stage, "{refusal}");
    };
    let small = Policy { artifact_max_bytes: 5, ..probe.policy() };
    check(&small, good(), Stage::Size);
    assert!(Policy { artifact_max_bytes: 6, ..probe.policy() }.accept(good().sign(&key()).unwrap()).is_ok());
    let mut other = good();
    other.format = "onnx".into();
    check(&probe.policy(), other, Stage::Format);
    let mut more = good();
    more.required_features = vec!["sparse".into()];
    check(&probe.policy(), more, Stage::Format);
    let mut relied_on = schema();
    relied_on.features[0].name = "rooms".into();
    check(&Policy { schema: Some(Arc::new(relied_on)), ..probe.policy() }, good(), Stage::Schema);
    assert_eq!(probe.decodes(), 0);
}

#[test]
fn other_bytes_are_refused_before_a_decoder_sees_them() {
    let probe = Arc::<Probe>::default();
    for bytes in ["fine 3", "fine 2 and more", "fine"] {
        let (manifest, _) = version("fine", 2);
        let found = refused(&probe.policy(), manifest, Artifact::Memory(bytes.as_bytes().to_vec()));
        assert_eq!(found.0, Stage::Digest, "{bytes}");
    }
    assert_eq!(probe.decodes(), 0);
}

#[test]
fn bytes_that_change_after_they_were_verified_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (probe, path) = (Arc::<Probe>::default(), folder.path().join("artifact"));
    // The decoder reads 64 bytes and leaves the rest: what it did not read counts too.
    let bytes = format!("fine 2 {}", "x".repeat(300_000)).into_bytes();
    let signed = || manifest(&bytes, 2.0).sign(&key()).unwrap();
    fs::write(&path, &bytes).unwrap();
    let policy = probe.policy();
    let verified = || policy.accept(signed()).unwrap().with(Artifact::File(path.clone())).verify().unwrap();
    assert!(verified().decode(&policy).is_ok(), "a decoder need not read everything");
    let before = verified();
    let mut changed = bytes.clone();
    changed[299_999] = b'y';
    fs::write(&path, &changed).unwrap();
    assert_eq!(before.decode(&policy).err().unwrap().stage, Stage::Digest);
    assert_eq!(probe.alive.load(SeqCst), 0, "what was made of them is gone");
}

#[test]
fn a_cause_is_bounded_however_long_its_error() {
    assert_eq!(refusal(Stage::Decode, &"é".repeat(10_000)).cause.chars().count(), CAUSE_MAX_CHARS);
}
