//! Records that every reader accepts: announcements, manifests, chunks, status records, and the keys.

use modelcast_protocol::{
    Digest, Generation, InstanceName, Version,
    announcement::{self, Frame},
    chunk::{ChunkEntry, StoredChunk},
    codec,
    envelope::{self, HEADER_BYTES, Purpose},
    key::SigningKey,
    manifest::SignedManifest,
    status::{self, Phase, Served, Stage, Status, StatusVersion, Traffic},
    topic,
};
use serde_json::{Value, json};

use crate::{
    describe,
    folder::{Vector, read},
    scene::{SEEDS, Scene, frame, model, namespace, stamp, trusted},
};

/// What a record is, where it stands and under which key; `says` is filled in by decoding it.
struct Place {
    name: &'static str,
    record: &'static str,
    topic: &'static str,
    key: String,
    /// Whether encoding what was decoded gives the bytes again: not for a field that is skipped.
    encodes_again: bool,
}

pub(crate) fn make(scene: &Scene) -> Vec<Vector> {
    let mut made = vec![Vector::json("keys", &keys())];
    for told in &scene.line {
        made.extend(announcement(told.name, &told.sealed.bytes, true));
    }
    made.extend(announcement("announcement-unknown-field", &unknown_field(scene), false));
    made.extend(announcement("announcement-newer-body", &newer_body(scene), false));
    for (name, topic, signed) in [
        ("manifest-price", "modelcast.blobs.price", &scene.price),
        ("manifest-tumour", "modelcast.blobs.tumour", &scene.tumour),
    ] {
        let key = signed.digest().to_hex();
        made.extend(record(
            Place { name, record: "manifest", topic, key, encodes_again: true },
            signed.bytes(),
        ));
    }
    for (name, chunk) in [("chunk-raw", &scene.raw), ("chunk-zstd", &scene.zstd)] {
        made.extend(chunk_record(name, chunk));
    }
    for (name, status) in statuses(scene) {
        let (topic, key) = ("modelcast.fleet", status.key());
        let place = Place { name, record: "status", topic, key, encodes_again: true };
        made.extend(record(place, &status.encode().unwrap()));
    }
    made
}

fn keys() -> Value {
    let key = |&(name, seed): &(&str, [u8; 32])| {
        let key = SigningKey::from_seed(&seed);
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        json!({
            "name": name,
            "seed": hex::encode(seed),
            "public": hex::encode(public),
            "key_id": key.id().to_string(),
            "public_pem": key.public().to_pem().unwrap(),
            "trusted": trusted().get(key.id()).is_some(),
        })
    };
    json!({ "kind": "keys", "keys": SEEDS.iter().map(key).collect::<Vec<_>>() })
}

fn announcement(name: &'static str, bytes: &[u8], encodes_again: bool) -> Vec<Vector> {
    let key = announcement::claimed_frame(bytes).unwrap().model.to_string();
    let topic = "modelcast.announcements";
    record(Place { name, record: "announcement", topic, key, encodes_again }, bytes)
}

fn record(place: Place, bytes: &[u8]) -> Vec<Vector> {
    let Place { name, record, topic, key, encodes_again } = place;
    let mut value = json!({
        "kind": "record",
        "record": record,
        "file": format!("{name}.bin"),
        "topic": topic,
        "key": key,
        "encodes_again": encodes_again,
        "says": says(record, &key, bytes),
    });
    if record == "status" {
        value["partition"] = partition(&key).into();
    } else {
        value["envelope"] = describe::envelope(bytes);
    }
    vec![Vector::binary(name, bytes), Vector::json(name, &value)]
}

fn partition(key: &str) -> i32 {
    status::partition(key, topic::fleet(&namespace()).partitions)
}

fn chunk_record(name: &str, chunk: &StoredChunk) -> Vec<Vector> {
    let raw = chunk.entry.load(&chunk.bytes).unwrap();
    let value = json!({
        "kind": "record",
        "record": "chunk",
        "file": format!("{name}.bin"),
        "topic": "modelcast.blobs.tumour",
        "key": chunk.entry.digest.to_hex(),
        "entry": describe::entry(&chunk.entry),
        "raw_digest": Digest::of(&raw).to_string(),
        "encodes_again": false,
    });
    vec![Vector::binary(name, &chunk.bytes), Vector::json(name, &value)]
}

/// What the decoder reads in a record.
fn says(record: &str, key: &str, bytes: &[u8]) -> Value {
    match record {
        "announcement" => describe::announcement(&announcement::open(bytes, &trusted()).unwrap()),
        "manifest" => {
            let name = codec::decode::<modelcast_protocol::manifest::Manifest>(&bytes[HEADER_BYTES..]);
            let model = name.unwrap().model;
            let signed = SignedManifest::open(bytes.to_vec(), &model, &trusted()).unwrap();
            assert_eq!(signed.digest().to_hex(), key);
            describe::signed_manifest(&signed)
        }
        _ => {
            let status = Status::decode(bytes).unwrap();
            assert_eq!(status.key(), key);
            describe::status(&status)
        }
    }
}

/// Reads a record of the folder as its description says.
pub(crate) fn check(description: &Value) {
    let file = description["file"].as_str().unwrap();
    let (record, key) = (description["record"].as_str().unwrap(), description["key"].as_str().unwrap());
    let bytes = read(file);
    if record == "chunk" {
        return check_chunk(description, &bytes);
    }
    assert_eq!(says(record, key, &bytes), description["says"], "{file}");
    assert!(record != "status" || description["partition"] == partition(key), "{file}");
    if description["encodes_again"] == true {
        assert!(encoded_again(record, &bytes) == bytes, "{file} encodes to other bytes");
    }
}

fn check_chunk(description: &Value, bytes: &[u8]) {
    let stated = &description["entry"];
    let size = |name: &str| u32::try_from(stated[name].as_u64().unwrap()).unwrap();
    let digest: Digest = stated["digest"].as_str().unwrap().parse().unwrap();
    let (stored_bytes, raw_bytes) = (size("stored_bytes"), size("raw_bytes"));
    let raw = ChunkEntry { digest, stored_bytes, raw_bytes, offset: None }.load(bytes).unwrap();
    assert_eq!(Digest::of(&raw).to_string(), description["raw_digest"], "{description}");
    assert_eq!(digest.to_hex(), description["key"], "{description}");
}

/// What was decoded, encoded and signed by the key that signed it: Ed25519 is deterministic.
fn encoded_again(record: &str, bytes: &[u8]) -> Vec<u8> {
    let signer = |id: modelcast_protocol::key::KeyId| {
        let keys = SEEDS.iter().map(|(_, seed)| SigningKey::from_seed(seed));
        keys.into_iter().find(|key| key.id() == id).unwrap()
    };
    match record {
        "announcement" => {
            let opened = announcement::open(bytes, &trusted()).unwrap();
            opened.frame.seal(&opened.body.unwrap(), &signer(opened.signer)).unwrap().bytes
        }
        "manifest" => {
            let opened = envelope::open(Purpose::Manifest, bytes, &trusted()).unwrap();
            let manifest: modelcast_protocol::manifest::Manifest = codec::decode(opened.payload).unwrap();
            manifest.sign(&signer(opened.signer)).unwrap().bytes().to_vec()
        }
        _ => Status::decode(bytes).unwrap().encode().unwrap(),
    }
}

/// The frame of some announcement as bytes: what stands before the body.
pub(crate) fn frame_bytes(frame: &Frame, sealed: &[u8], body: &[u8]) -> Vec<u8> {
    let payload = &sealed[HEADER_BYTES..];
    assert!(payload.ends_with(body) && frame.generation > Generation::ZERO);
    payload[..payload.len() - body.len()].to_vec()
}

/// A state with one more field, of a later release with the same major version.
fn unknown_field(scene: &Scene) -> Vec<u8> {
    let state = &scene.told("announcement-founding").state;
    let frame = frame("tumour", &[]);
    let mut body = codec::encode(state).unwrap();
    let sealed = frame.seal(state, &scene.publisher).unwrap().bytes;
    let mut payload = frame_bytes(&frame, &sealed, &body);
    assert_eq!(body[0] & 0xf0, 0x80, "a map of fewer than 15 fields");
    body[0] += 1;
    body.extend(b"\xa5later\x93\x01\x02\x03");
    payload.extend(body);
    envelope::seal(Purpose::Announcement, &payload, &scene.publisher)
}

/// A body of the next major version: it takes force, and nobody here understands it.
fn newer_body(scene: &Scene) -> Vec<u8> {
    let state = &scene.told("announcement-all").state;
    let frame = scene.next_frame();
    let body = codec::encode(state).unwrap();
    let sealed = frame.seal(state, &scene.publisher).unwrap().bytes;
    let payload =
        [frame_bytes(&frame, &sealed, &body).as_slice(), b"\x82\xa1v\x02\xa4plan\xa5other"].concat();
    envelope::seal(Purpose::Announcement, &payload, &scene.publisher)
}

fn statuses(scene: &Scene) -> Vec<(&'static str, Status)> {
    let seen = scene.told("announcement-inline");
    let at = stamp("", "", 9).at_unix_ms;
    let version = Version::new(2).unwrap();
    let manifest = scene.price.digest();
    let generation = Generation::new(2);
    let live = Status {
        v: 1,
        model: model("price"),
        instance: InstanceName::parse("app-1").unwrap(),
        boot_id: "00112233aabbccdd".into(),
        sequence: 7,
        at_unix_ms: at,
        labels: [("zone".to_owned(), "eu-west".to_owned())].into(),
        phase: Phase::Live,
        wanted: Some(StatusVersion { version, manifest }),
        served: Some(Served { version, manifest, generation, since_unix_ms: at - 1_000 }),
        generation_seen: generation,
        announcement_seen: Some(seen.sealed.digest),
        warnings: Vec::new(),
        traffic: Traffic {
            predictions: 12_345,
            errors: 1,
            latency_p50_seconds: Some(0.000_25),
            latency_p99_seconds: Some(0.002),
            output_mean: Some(180_000.5),
            output_deviation: Some(1_024.0),
        },
    };
    let cause = "row 2 gives 3.5, expected 3.25".to_owned();
    let refused = Status {
        phase: Phase::Refused { stage: Stage::Golden, cause },
        served: None,
        warnings: vec!["history lost: the log has generation 2, seen was 9".into()],
        traffic: Traffic::default(),
        ..live.clone()
    };
    let fetching = Status {
        phase: Phase::Fetching { done_bytes: 100, total_bytes: 20_256 },
        labels: [].into(),
        ..refused.clone()
    };
    let waiting = Status {
        phase: Phase::Waiting,
        wanted: None,
        generation_seen: Generation::ZERO,
        announcement_seen: None,
        warnings: Vec::new(),
        ..fetching.clone()
    };
    let warm_up = Phase::Refused { stage: Stage::WarmUp, cause: String::new() };
    let warm_up = Status { phase: warm_up, ..live.clone() };
    vec![
        ("status-live", live),
        ("status-refused", refused),
        ("status-fetching", fetching),
        ("status-waiting", waiting),
        ("status-warm-up", warm_up),
    ]
}
