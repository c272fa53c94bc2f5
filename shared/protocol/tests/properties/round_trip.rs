//! What is encoded is read back as it was, and encoding it again gives the same bytes.

use modelcast_protocol::{
    Digest, Generation, ModelName,
    announcement::{self, Frame},
    chunk::{ChunkTable, store},
    chunking::{ChunkSizes, cut},
    codec::{decode, encode},
    desired::DesiredState,
    envelope::{self, Purpose},
    fold::LogRecord,
    key::{SigningKey, TrustedKeys},
    limits::{REASON_MAX_BYTES, RECENT_MAX, STATUS_MAX_BYTES},
    manifest::{Manifest, SignedManifest},
    status::{Phase, Status, WARNINGS_MAX, parse_key},
};
use proptest::{
    collection::vec,
    prelude::{Strategy, any},
};

use crate::{
    changes::{change, wishes},
    rule::{Real, Rule, namespace},
    runner::{ensure, holds},
    sample,
};

fn key() -> (SigningKey, TrustedKeys) {
    let key = SigningKey::from_seed(&[5; 32]);
    let keys = TrustedKeys::new([key.public()]).unwrap();
    (key, keys)
}

#[test]
fn an_announcement_reads_back() {
    let (key, keys) = key();
    let recent = vec(sample::digests(), 0..=RECENT_MAX);
    let values = (wishes(), 1_u64.., recent, any::<[u8; 16]>());
    holds(100, &values, |(wishes, generation, recent, nonce)| {
        let mut state: Option<DesiredState> = None;
        for wish in &wishes {
            let next = change(wish, state.as_ref()).apply(state.as_ref(), &sample::stamp(), nonce);
            state = next.ok().or(state);
        }
        let Some(state) = state else { return Ok(()) };
        let (generation, model) = (Generation::new(generation), ModelName::parse("price").unwrap());
        let frame = Frame { namespace: namespace(), model, generation, recent };
        let sealed = frame.seal(&state, &key).unwrap();
        ensure(frame.seal(&state, &key).unwrap() == sealed, || "two seals differ".into())?;
        let opened = announcement::open(&sealed.bytes, &keys).unwrap();
        ensure(opened.frame == frame && opened.digest == sealed.digest, || "another frame".into())?;
        ensure(opened.body == Ok(state), || "another state".into())?;
        ensure(announcement::claimed_frame(&sealed.bytes) == Some(frame), || "another claim".into())?;
        let mut folded = Real.start();
        let record = LogRecord { offset: 3, key: b"price", value: &sealed.bytes };
        Real.apply(&mut folded, record, &keys);
        let in_force = folded.in_force(&opened.frame.model).unwrap();
        ensure(in_force.held().digest == sealed.digest, || "not in force".into())
    });
}

#[test]
fn a_manifest_reads_back() {
    let (key, keys) = key();
    holds(200, &sample::manifests(), |manifest| {
        let signed = manifest.clone().sign(&key).unwrap();
        let opened = SignedManifest::open(signed.bytes().to_vec(), &manifest.model, &keys).unwrap();
        ensure(opened == signed && *opened.manifest() == manifest, || "another manifest".into())?;
        let again = encode(&decode::<Manifest>(&signed.bytes()[envelope::HEADER_BYTES..]).unwrap()).unwrap();
        ensure(Digest::of(&again) == signed.digest(), || "other bytes".into())?;
        let other = ModelName::parse("tumour").unwrap();
        ensure(SignedManifest::open(signed.bytes().to_vec(), &other, &keys).is_err(), || "any model".into())
    });
}

#[test]
fn a_status_reads_back_cut_to_what_readers_accept() {
    holds(300, &sample::statuses(), |status| {
        let bytes = status.encode().unwrap();
        ensure(bytes.len() <= STATUS_MAX_BYTES, || "too large".into())?;
        let read = Status::decode(&bytes).unwrap();
        let fits = match (&read.phase, &status.phase) {
            (Phase::Refused { cause, stage }, Phase::Refused { cause: whole, stage: same }) => {
                let long_enough = cause == whole || cause.len() > REASON_MAX_BYTES - 4;
                whole.starts_with(cause.as_str()) && long_enough && stage == same
            }
            (read, status) => read == status,
        };
        ensure(fits, || format!("{:?}", read.phase))?;
        ensure(status.warnings.starts_with(&read.warnings), || "other warnings".into())?;
        ensure(read.warnings.len() == status.warnings.len().min(WARNINGS_MAX), || "lost a warning".into())?;
        let rest = Status { phase: status.phase.clone(), warnings: status.warnings.clone(), ..read.clone() };
        ensure(rest == status, || "another status".into())?;
        ensure(read.encode() == Ok(bytes), || "other bytes".into())?;
        ensure(parse_key(&read.key()) == Some((read.model, read.instance)), || "another key".into())
    });
}

#[test]
fn a_status_beyond_its_limits_is_refused_on_both_sides() {
    let (_, status) = sample::payloads().remove_entry("status").unwrap();
    let status: Status = decode(&status).unwrap();
    let crowded = Status { warnings: vec![String::new(); WARNINGS_MAX + 1], ..status.clone() };
    assert!(Status::decode(&encode(&crowded).unwrap()).is_err());
    let long = Phase::Refused {
        stage: modelcast_protocol::status::Stage::Golden,
        cause: "x".repeat(REASON_MAX_BYTES + 1),
    };
    assert!(Status::decode(&encode(&Status { phase: long, ..status.clone() }).unwrap()).is_err());
    let labels = (0..40).map(|number| (number.to_string(), String::new())).collect();
    let labelled = Status { labels, ..status };
    assert!(labelled.encode().is_err());
    assert!(Status::decode(&encode(&labelled).unwrap()).is_err());
}

#[test]
fn a_chunk_table_reads_back() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Holder {
        v: u16,
        chunks: ChunkTable,
    }
    impl modelcast_protocol::codec::Record for Holder {
        const VERSION: u16 = 1;
        const NOUN: &'static str = "holder";
    }
    holds(200, &sample::tables(), |chunks| {
        let holder = Holder { v: 1, chunks };
        let read: Holder = decode(&encode(&holder).unwrap()).unwrap();
        ensure(read == holder, || "another table".into())
    });
}

#[test]
fn an_artifact_comes_together_again() {
    let pieces = (vec(any::<u8>(), 1..300), 1_usize..4_000);
    holds(60, &pieces.prop_map(|(seed, times)| seed.repeat(times)), |artifact: Vec<u8>| {
        let mut whole = Vec::new();
        for piece in cut(artifact.as_slice(), ChunkSizes::for_artifact(artifact.len() as u64)) {
            let stored = store(&piece.unwrap());
            ensure(stored.entry.stored_bytes <= stored.entry.raw_bytes, || "grew".into())?;
            whole.extend(stored.entry.load(&stored.bytes).unwrap());
        }
        ensure(whole == artifact, || "another artifact".into())
    });
}

#[test]
fn any_payload_opens_under_its_own_purpose_only() {
    let (key, keys) = key();
    holds(300, &vec(any::<u8>(), 0..300), |payload| {
        for (purpose, other) in
            [(Purpose::Announcement, Purpose::Manifest), (Purpose::Manifest, Purpose::Announcement)]
        {
            let mut bytes = envelope::seal(purpose, &payload, &key);
            let opened = envelope::open(purpose, &bytes, &keys).unwrap();
            ensure(opened.payload == payload && opened.digest == Digest::of(&payload), || "other".into())?;
            ensure(envelope::open(other, &bytes, &keys).is_err(), || "any purpose".into())?;
            bytes[4] = 3 - bytes[4];
            ensure(envelope::open(other, &bytes, &keys).is_err(), || "a relabelled purpose".into())?;
        }
        Ok(())
    });
}
