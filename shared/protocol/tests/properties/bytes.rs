//! Bytes from outside are errors, never a panic and never a large allocation.

use modelcast_protocol::{
    Digest, ModelName, Namespace, Version, announcement,
    chunk::ChunkEntry,
    codec::{CodecError, decode},
    desired::DesiredState,
    envelope::{self, Purpose},
    fold::{Fold, LogRecord},
    key::{SigningKey, TrustedKeys},
    limits::CHUNK_MAX_BYTES,
    manifest::{Manifest, SignedManifest},
    status::{Status, parse_key},
};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
};

use crate::{rule::namespace, runner::holds, sample};

struct Reader {
    key: SigningKey,
    keys: TrustedKeys,
    model: ModelName,
}

impl Reader {
    fn new() -> Self {
        let key = SigningKey::from_seed(&[5; 32]);
        let keys = TrustedKeys::new([key.public()]).unwrap();
        Self { key, keys, model: ModelName::parse("price").unwrap() }
    }

    /// Everything that takes bytes takes these.
    fn take(&self, bytes: &[u8]) {
        let _ = decode::<DesiredState>(bytes).map(|state| state.validate());
        let _ = decode::<Manifest>(bytes).map(|manifest| manifest.validate());
        let _ = Status::decode(bytes);
        let _ = announcement::claimed_frame(bytes);
        for purpose in [Purpose::Announcement, Purpose::Manifest] {
            let _ = envelope::open(purpose, bytes, &self.keys);
            let _ = envelope::claim(purpose, bytes);
        }
        let _ = SignedManifest::open(bytes.to_vec(), &self.model, &self.keys);
        let mut fold = Fold::new(namespace());
        fold.apply(LogRecord { offset: 0, key: self.model.as_str().as_bytes(), value: bytes }, &self.keys);
        fold.apply(LogRecord { offset: 1, key: bytes, value: bytes }, &self.keys);
    }

    /// The same behind a good signature: whoever holds a key may still be wrong.
    fn take_signed(&self, bytes: &[u8]) {
        for purpose in [Purpose::Announcement, Purpose::Manifest] {
            self.take(&envelope::seal(purpose, bytes, &self.key));
        }
    }
}

/// What is done to valid bytes: at a place (of 65,535), take some away and put others there.
#[derive(Debug, Clone)]
struct Damage {
    place: u16,
    taken: usize,
    put: Vec<u8>,
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    // Markers of MessagePack that claim lengths, and a few plain bytes.
    let marker = prop_oneof![
        3 => proptest::sample::select(vec![
            0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcf,
            0xd3, 0xd4, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xff,
        ]),
        1 => any::<u8>(),
    ];
    let damage = (any::<u16>(), prop_oneof![Just(0_usize), Just(1), 0_usize..40], vec(marker, 0..6));
    vec(damage.prop_map(|(place, taken, put)| Damage { place, taken, put }), 1..4)
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        let start = bytes.len() * usize::from(damage.place) / 65_536;
        let end = (start + damage.taken).min(bytes.len());
        bytes.splice(start..end, damage.put.iter().copied());
    }
    bytes
}

#[test]
fn random_bytes_are_errors() {
    let reader = Reader::new();
    holds(1_500, &vec(any::<u8>(), 0..600), |bytes| {
        reader.take(&bytes);
        reader.take_signed(&bytes);
        Ok(())
    });
}

#[test]
fn damaged_payloads_are_errors_even_when_signed() {
    let reader = Reader::new();
    let payloads: Vec<_> = sample::payloads().into_values().collect();
    let frame = frame_bytes();
    holds(2_500, &(0..payloads.len(), damages()), |(which, damages)| {
        let payload = damaged(&payloads[which], &damages);
        reader.take(&payload);
        reader.take_signed(&payload);
        reader.take_signed(&[&frame[..], &payload].concat());
        reader.take_signed(&damaged(&[&frame[..], &payloads[which]].concat(), &damages));
        Ok(())
    });
}

/// A frame of `modelcast`, `price`, generation 1, two predecessors.
fn frame_bytes() -> Vec<u8> {
    let (namespace, model, generation) = (b"\x01\x09modelcast", b"\x05price", 1_u64.to_be_bytes());
    [&namespace[..], model, &generation, &[2], &[7; 64]].concat()
}

#[test]
fn the_frame_of_this_test_is_a_frame() {
    let reader = Reader::new();
    let payload = [frame_bytes(), sample::payloads().remove("state").unwrap()].concat();
    let bytes = envelope::seal(Purpose::Announcement, &payload, &reader.key);
    let announcement = announcement::open(&bytes, &reader.keys).unwrap();
    assert_eq!(announcement.body.unwrap(), sample::rich_state());
}

#[test]
fn a_length_of_four_gigabytes_is_an_error_at_every_place() {
    let reader = Reader::new();
    for payload in sample::payloads().into_values() {
        for place in 0..payload.len() {
            for marker in [0xc6, 0xc9, 0xdb, 0xdd, 0xdf] {
                let claim = [marker, 0xff, 0xff, 0xff, 0xff];
                let bytes = [&payload[..place], &claim, &payload[place..]].concat();
                let _ = decode::<DesiredState>(&bytes);
                let _ = decode::<Manifest>(&bytes);
                let _ = Status::decode(&bytes);
            }
        }
    }
    reader.take(&[]);
}

#[test]
fn nesting_is_bounded_in_fields_that_nobody_knows_too() {
    for opening in [&[0x91_u8][..], &[0x81, 0xa1, b'x'], &[0xd4, 0x00, 0x00], &[0x92, 0xc0]] {
        let nested = [b"\x82\xa1v\x01\xa1x", opening.repeat(100_000).as_slice()].concat();
        let found = decode::<DesiredState>(&nested);
        assert!(matches!(found, Err(CodecError::Malformed { .. })), "{opening:?}");
    }
}

#[test]
fn chunks_of_any_bytes_are_errors_or_the_stated_size() {
    let values = (vec(any::<u8>(), 0..400), any::<u32>(), any::<bool>());
    holds(1_500, &values, |(mut bytes, raw_bytes, zstd)| {
        if zstd {
            bytes.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
        }
        let stored_bytes = u32::try_from(bytes.len()).unwrap();
        let entry = ChunkEntry { digest: Digest::of(&bytes), stored_bytes, raw_bytes, offset: None };
        if let Ok(raw) = entry.load(&bytes) {
            assert_eq!(u32::try_from(raw.len()), Ok(raw_bytes));
        }
        Ok(())
    });
}

#[test]
fn a_chunk_never_becomes_larger_than_a_chunk_may_be() {
    for (size, fits) in [(CHUNK_MAX_BYTES, true), (CHUNK_MAX_BYTES + 1, false), (64 * CHUNK_MAX_BYTES, false)]
    {
        let stored = zstd::bulk::compress(&vec![0; size], 1).unwrap();
        let (stored_bytes, raw_bytes) = (stored.len().try_into().unwrap(), size.try_into().unwrap());
        let entry = ChunkEntry { digest: Digest::of(&stored), stored_bytes, raw_bytes, offset: None };
        assert_eq!(entry.load(&stored).is_ok(), fits, "{size}");
    }
}

#[test]
fn any_text_is_a_name_or_an_error_that_is_short() {
    holds(1_000, &".{0,200}", |text| {
        let errors = [
            ModelName::parse(&text).map(|_| ()).map_err(|error| error.to_string()),
            Namespace::parse(&text).map(|_| ()).map_err(|error| error.to_string()),
            text.parse::<Digest>().map(|_| ()).map_err(|error| error.to_string()),
            text.parse::<Version>().map(|_| ()).map_err(|error| error.to_string()),
        ];
        let _ = parse_key(&text);
        assert!(errors.into_iter().filter_map(Result::err).all(|error| error.len() < 1_200));
        Ok(())
    });
}

#[test]
fn version_zero_is_refused_on_the_wire() {
    let mut state = sample::rich_state();
    let bytes = modelcast_protocol::codec::encode(&state).unwrap();
    assert_eq!(decode::<DesiredState>(&bytes).unwrap(), state);
    state.inline = None;
    let champion = [b"\xa8champion".as_slice(), &[4]].concat();
    let place = bytes.windows(champion.len()).position(|window| window == champion).unwrap();
    let mut zero = bytes.clone();
    zero[place + champion.len() - 1] = 0;
    let error = decode::<DesiredState>(&zero).unwrap_err().to_string();
    assert!(error.contains("from 1"), "{error}");
}
