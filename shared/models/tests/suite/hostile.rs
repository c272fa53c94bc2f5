//! Bytes that nobody honest wrote: an error, never a panic, and never more memory than the cap allows.

use std::sync::Arc;

use allocation_counter::measure;
use modelcast_models::{
    DecodeContext, DecodeError, Decoder, GeneralizedLinearModel, GlmDecoder, Link, Model,
    glm::ARTIFACT_MAX_BYTES,
};
use modelcast_protocol::schema::FeatureSchema;
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::cases::{Case, decode, house, numeric, output};

/// Serde reserves at most a mebibyte for a list whose length it is told; three lists are nested.
const RESERVED_BYTES: u64 = 3 * 1024 * 1024;
/// Three bytes on the wire, an empty name and a zero, are 32 in memory; a growing list holds old and new at once.
const BYTES_PER_BYTE: u64 = 33;

/// Decodes within the memory allowed; what is taken must also predict without a panic.
fn survives(bytes: &[u8]) -> Result<(), DecodeError> {
    let Case { schema, rows, .. } = house(Link::Identity);
    let mut decoded = None;
    let cost = measure(|| decoded = Some(decode(bytes, &schema)));
    let allowed = RESERVED_BYTES + BYTES_PER_BYTE * bytes.len() as u64;
    assert!(cost.bytes_max <= allowed, "{} bytes for {}", cost.bytes_max, bytes.len());
    let model = decoded.unwrap()?;
    let mut outputs = [0.0];
    if model.predict(&rows[0], &mut outputs).is_ok() {
        assert!(outputs[0].is_finite());
    }
    Ok(())
}

fn artifact() -> Vec<u8> {
    house(Link::Identity).model.encode().unwrap()
}

/// An artifact up to the start of a list's header: what follows is the list `field`.
fn before_list(field: &str) -> Vec<u8> {
    let bytes = artifact();
    let start = bytes.windows(field.len()).position(|part| part == field.as_bytes()).unwrap();
    bytes[..start + field.len()].to_vec()
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = artifact();
    survives(&bytes).unwrap();
    for length in 0..bytes.len() {
        survives(&bytes[..length]).unwrap_err();
    }
    survives(&[&bytes[..], &[0]].concat()).unwrap_err();
}

#[test]
fn no_flipped_bit_panics() {
    let bytes = artifact();
    for (index, bit) in (0..bytes.len()).flat_map(|index| (0..8).map(move |bit| (index, bit))) {
        let mut flipped = bytes.clone();
        flipped[index] ^= 1 << bit;
        let _ = survives(&flipped); // a flipped weight is a model; the digest finds it, not the decoder
    }
}

#[test]
fn a_length_that_lies_reserves_little() {
    for field in ["numeric", "categorical"] {
        for header in
            [&b"\xdd\xff\xff\xff\xff"[..], b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
        {
            survives(&[&before_list(field), header].concat()).unwrap_err();
        }
        let long_name = b"\xdd\xff\xff\xff\xff\x92\xdb\xff\xff\xff\xff";
        survives(&[&before_list(field)[..], long_name].concat()).unwrap_err();
    }
    let weights = b"\xdd\xff\xff\xff\xff\x92\xa1a\xdd\xff\xff\xff\xff";
    survives(&[&before_list("categorical")[..], weights].concat()).unwrap_err();
    survives(&vec![0x91; 60_000]).unwrap_err();
    survives(&vec![0x81; 60_000]).unwrap_err();
}

#[test]
fn the_shortest_terms_cost_a_bounded_multiple() {
    let terms = [&b"\xdc\x4e\x20"[..], &b"\x92\xa0\x00".repeat(20_000)].concat();
    let error =
        survives(&[&before_list("numeric")[..], &terms, b"\xabcategorical\x90"].concat()).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn a_size_above_what_the_schema_needs_is_refused_before_it_is_read() {
    let Case { schema, .. } = house(Link::Identity);
    let refused = |schema: &Arc<FeatureSchema>, size_bytes| {
        let context = DecodeContext { schema, size_bytes, required_features: &[] };
        let mut endless = std::io::repeat(0x91);
        let mut found = None;
        let cost = measure(|| found = GlmDecoder.decode(&mut endless, &context).err());
        assert!(cost.bytes_max < 4096, "{} bytes", cost.bytes_max);
        match found.unwrap() {
            DecodeError::TooLarge { max_bytes, .. } => max_bytes,
            other => panic!("{other}"),
        }
    };
    assert!(refused(&schema, 1024 * 1024) < 128 * 1024);
    assert!(refused(&schema, u64::MAX) < 128 * 1024);
    // Whatever a schema claims, the format's own cap holds.
    let features = vec![numeric(&"x".repeat(65 * 1024 * 1024), None)];
    let vast = Arc::new(FeatureSchema { features, outputs: vec![output(Link::Identity)] });
    assert_eq!(refused(&vast, ARTIFACT_MAX_BYTES + 1), ARTIFACT_MAX_BYTES);
}

#[test]
fn a_required_feature_is_refused_by_name() {
    let bytes = artifact();
    let Case { schema, .. } = house(Link::Identity);
    let required = ["interactions".to_owned()];
    let context =
        DecodeContext { schema: &schema, size_bytes: bytes.len() as u64, required_features: &required };
    let error = GlmDecoder.decode(&mut &bytes[..], &context).err().unwrap();
    assert!(error.to_string().contains("\"interactions\""), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = survives(&bytes);
        let _ = GeneralizedLinearModel::decode(&bytes);
    }

    #[test]
    fn changed_artifacts_never_panic(changes in vec((any::<Index>(), any::<u8>(), any::<bool>()), 1..6)) {
        let mut bytes = artifact();
        for (place, byte, insert) in changes {
            let index = place.index(bytes.len());
            if insert {
                bytes.insert(index, byte);
            } else {
                bytes[index] = byte;
            }
        }
        let _ = survives(&bytes);
    }

    #[test]
    fn any_row_is_predicted_finite_or_refused(row in vec(any::<f64>(), 0..7), room in 0..3_usize) {
        let Case { schema, model, .. } = house(Link::Logit);
        let model = model.bind(&schema).unwrap();
        let mut outputs = vec![f64::NAN; room];
        if model.predict(&row, &mut outputs).is_ok() {
            prop_assert!(row.len() == 4 && room == 1 && (0.0..=1.0).contains(&outputs[0]));
        }
    }
}
