//! Records that every reader refuses, each valid but for one thing.

use modelcast_protocol::{
    Digest, Namespace,
    announcement::Frame,
    codec,
    desired::{DesiredState, Quarantined},
    envelope::{self, HEADER_BYTES, Purpose},
    status::Status,
};
use serde_json::json;

use crate::{
    folder::Vector,
    negative::reason,
    records::frame_bytes,
    scene::{Scene, stamp},
};

/// A record as it is read: what it is taken for, and under which key it stands.
struct Wrong {
    name: &'static str,
    record: &'static str,
    key: String,
    bytes: Vec<u8>,
}

pub(crate) fn make(scene: &Scene) -> Vec<Vector> {
    let wrong = [announcements(scene), bodies(scene), others(scene)].concat();
    let describe = |wrong: Wrong| {
        let value = json!({
            "kind": "refusal",
            "record": wrong.record,
            "file": format!("{}.bin", wrong.name),
            "key": wrong.key,
            "reason": reason(wrong.record, &wrong.key, &wrong.bytes),
        });
        vec![Vector::binary(wrong.name, &wrong.bytes), Vector::json(wrong.name, &value)]
    };
    wrong.into_iter().flat_map(describe).collect()
}

impl Clone for Wrong {
    fn clone(&self) -> Self {
        Self { name: self.name, record: self.record, key: self.key.clone(), bytes: self.bytes.clone() }
    }
}

fn wrong(name: &'static str, record: &'static str, key: &str, bytes: Vec<u8>) -> Wrong {
    Wrong { name, record, key: key.to_owned(), bytes }
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}

/// Envelopes that do not verify, and frames that belong elsewhere.
fn announcements(scene: &Scene) -> Vec<Wrong> {
    let told = scene.told("announcement-founding");
    let good = &told.sealed.bytes;
    let next = scene.next_frame();
    let price = |name, bytes| wrong(name, "announcement", "price", bytes);
    let elsewhere = Frame { namespace: Namespace::parse("staging").unwrap(), ..next.clone() };
    let relabelled = {
        let mut bytes = envelope::seal(Purpose::Manifest, &good[HEADER_BYTES..], &scene.publisher);
        bytes[4] = 1;
        bytes
    };
    let mut frame_version = good[HEADER_BYTES..].to_vec();
    frame_version[0] = 2;
    let mut zero = good[HEADER_BYTES..].to_vec();
    let generation = 1 + 1 + "modelcast".len() + 1 + "price".len();
    assert_eq!(zero[generation..generation + 8], 1_u64.to_be_bytes());
    zero[generation + 7] = 0;
    vec![
        price("refused-payload-bit", flipped(good, good.len() - 1)),
        price("refused-signature-bit", flipped(good, 20)),
        price("refused-magic", flipped(good, 0)),
        price("refused-truncated", good[..good.len() - 1].to_vec()),
        price("refused-too-short", good[..HEADER_BYTES - 1].to_vec()),
        price("refused-purpose", envelope::seal(Purpose::Manifest, &good[HEADER_BYTES..], &scene.publisher)),
        price("refused-domain", relabelled),
        price("refused-stranger", next.seal(&told.state, &scene.stranger).unwrap().bytes),
        price("refused-namespace", elsewhere.seal(&told.state, &scene.publisher).unwrap().bytes),
        wrong("refused-key", "announcement", "tumour", good.clone()),
        price(
            "refused-frame-version",
            envelope::seal(Purpose::Announcement, &frame_version, &scene.publisher),
        ),
        price("refused-generation-zero", envelope::seal(Purpose::Announcement, &zero, &scene.publisher)),
        price("refused-tombstone", Vec::new()),
    ]
}

/// Signed bodies that say what may not be said: the frame holds, the body is not followed.
fn bodies(scene: &Scene) -> Vec<Wrong> {
    let frame = scene.next_frame();
    let good = &scene.told("announcement-all").state;
    let body = codec::encode(good).unwrap();
    let sealed = frame.seal(good, &scene.publisher).unwrap().bytes;
    let with = |name, body: &[u8]| {
        let payload = [frame_bytes(&frame, &sealed, &codec::encode(good).unwrap()).as_slice(), body].concat();
        let bytes = envelope::seal(Purpose::Announcement, &payload, &scene.publisher);
        wrong(name, "body", "price", bytes)
    };
    let champion = good.entry(good.champion).unwrap();
    let stamp = stamp("ada", "contradiction", 30);
    let forbidden = Quarantined { version: champion.version, artifact: champion.artifact, stamp };
    let contradiction =
        DesiredState { quarantine: [&good.quarantine[..], &[forbidden]].concat(), ..good.clone() };
    let unnamed = DesiredState { versions: Vec::new(), ..good.clone() };
    vec![
        with("refused-body-quarantined-champion", &codec::encode(&contradiction).unwrap()),
        with("refused-body-unnamed-version", &codec::encode(&unnamed).unwrap()),
        with("refused-body-trailing-byte", &[&body[..], &[0xc0]].concat()),
        with("refused-body-nested", &[b"\x81\xa1x".as_slice(), &[0x91; 200]].concat()),
    ]
}

fn others(scene: &Scene) -> Vec<Wrong> {
    let manifest = scene.price.bytes();
    let chunk = &scene.raw;
    let key = chunk.entry.digest.to_hex();
    let status = Status::decode(&status_bytes()).unwrap();
    let newer = codec::encode(&Status { v: 2, ..status }).unwrap();
    vec![
        wrong("refused-manifest-bit", "manifest", "price", flipped(manifest, manifest.len() - 1)),
        wrong("refused-manifest-model", "manifest", "tumour", manifest.to_vec()),
        wrong("refused-chunk-bit", "chunk", &key, flipped(&chunk.bytes, 9)),
        wrong("refused-status-version", "status", "price/app-1", newer),
        wrong("refused-status-trailing", "status", "price/app-1", [&status_bytes()[..], &[0]].concat()),
    ]
    .into_iter()
    .inspect(|wrong| assert_ne!(Digest::of(&wrong.bytes), chunk.entry.digest))
    .collect()
}

/// A status of the fewest fields: what is optional is absent.
fn status_bytes() -> Vec<u8> {
    let fields: [&[u8]; 9] = [
        b"\x88",
        b"\xa1v\x01",
        b"\xa5model\xa5price",
        b"\xa8instance\xa5app-1",
        b"\xa7boot_id\xb000112233aabbccdd",
        b"\xa8sequence\x01",
        b"\xaaat_unix_ms\x02",
        b"\xa5phase\xa4live",
        b"\xafgeneration_seen\x05",
    ];
    fields.concat()
}

#[test]
fn the_smallest_status_is_a_status() {
    assert!(Status::decode(&status_bytes()).is_ok());
}
