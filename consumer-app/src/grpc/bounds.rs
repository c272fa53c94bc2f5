//! Whether decoding a message costs memory in proportion to its bytes: how often each part of it is repeated.
//!
//! A decoder makes a tensor of two bytes that say "a tensor"; eight million of them fit into one body. This walks the
//! message without making anything. Whether it is a right message, the decoder finds out.
//!
//! # Invariants
//! * Allocates nothing but the text of a refusal, and looks at each byte at most three times.

use crate::oip::request::{DIMENSIONS_MAX, INPUTS_MAX, OUTPUTS_MAX};

/// Most parameters of a request, a tensor or an output.
const PARAMETERS_MAX: usize = 64;
const LENGTH_DELIMITED: u64 = 2;

/// What is bounded in a message: the field, its name, how often it may stand there, and what is bounded within it.
struct Part {
    field: u64,
    name: &'static str,
    max: usize,
    within: &'static [Part],
}

const PARAMETERS: Part = Part { field: 4, name: "parameters", max: PARAMETERS_MAX, within: &[] };
/// Each dimension is one field, where they are not packed into one.
const SHAPE: Part = Part { field: 3, name: "shape", max: DIMENSIONS_MAX, within: &[] };
const TEXTS: Part = Part { field: 8, name: "bytes_contents", max: usize::MAX, within: &[] };
/// Given in pieces they are put together.
const CONTENTS: Part = Part { field: 5, name: "contents", max: 1, within: &[TEXTS] };
const OUTPUT_PARAMETERS: Part = Part { field: 2, name: "parameters", max: PARAMETERS_MAX, within: &[] };

const REQUEST: [Part; 4] = [
    PARAMETERS,
    Part { field: 5, name: "inputs", max: INPUTS_MAX, within: &[SHAPE, PARAMETERS, CONTENTS] },
    Part { field: 6, name: "outputs", max: OUTPUTS_MAX, within: &[OUTPUT_PARAMETERS] },
    Part { field: 7, name: "raw_input_contents", max: INPUTS_MAX, within: &[] },
];

/// Looks through a message; one of another method than inference has none of these fields, or is as small.
///
/// # Errors
/// What there is too much of. A message that ends within a field is left to the decoder.
pub(super) fn check(message: &[u8], rows_max: usize) -> Result<(), String> {
    check_parts(message, &REQUEST, rows_max)
}

fn check_parts(message: &[u8], parts: &[Part], rows_max: usize) -> Result<(), String> {
    let mut counts = [0_usize; REQUEST.len()];
    let mut rest = message;
    while let Some((field, inner, after)) = next_field(rest) {
        rest = after;
        let found = parts.iter().zip(&mut counts).find(|(part, _)| part.field == field);
        let Some((part, count)) = found else { continue };
        *count = count.saturating_add(1);
        let max = part.max.min(if part.field == TEXTS.field { rows_max } else { usize::MAX });
        if *count > max {
            return Err(format!("`{}` has more than {max} items", part.name));
        }
        check_parts(inner, part.within, rows_max)?;
    }
    Ok(())
}

/// The number of the next field, its bytes where it has a length, and what is behind it.
fn next_field(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (key, rest) = varint(bytes)?;
    let (inner, after) = match key & 7 {
        0 => (&[][..], varint(rest)?.1),
        1 => rest.split_at_checked(8)?,
        LENGTH_DELIMITED => {
            let (len, rest) = varint(rest)?;
            rest.split_at_checked(usize::try_from(len).ok()?)?
        }
        5 => rest.split_at_checked(4)?,
        // A group begins or ends: what is in it stands in the message as if it were outside.
        3 | 4 => (&[][..], rest),
        _ => return None,
    };
    Some((key >> 3, inner, after))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(index).ok()?.saturating_mul(7))?;
        if byte < 0x80 {
            return Some((value, bytes.get(index.saturating_add(1)..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::{
        super::proto::{InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor},
        *,
    };

    fn tensor(texts: usize, dimensions: usize) -> InferInputTensor {
        let contents = InferTensorContents {
            bytes_contents: vec![prost::bytes::Bytes::new(); texts],
            fp64_contents: vec![1.5; 3],
            ..InferTensorContents::default()
        };
        let shape = vec![i64::MAX; dimensions];
        InferInputTensor { name: "x".into(), shape, contents: Some(contents), ..InferInputTensor::default() }
    }

    fn found(request: &ModelInferRequest) -> Result<(), String> {
        check(&request.encode_to_vec(), 100)
    }

    #[test]
    fn a_request_within_the_bounds_passes_and_one_more_of_anything_does_not() {
        let with = |inputs| ModelInferRequest { inputs, ..ModelInferRequest::default() };
        assert_eq!(found(&with(vec![tensor(100, 2); INPUTS_MAX])), Ok(()));
        let rows = [
            (with(vec![tensor(0, 2); INPUTS_MAX + 1]), "`inputs` has more than 4096 items"),
            (with(vec![tensor(101, 2)]), "`bytes_contents` has more than 100 items"),
            (
                ModelInferRequest {
                    raw_input_contents: vec![prost::bytes::Bytes::new(); INPUTS_MAX + 1],
                    ..ModelInferRequest::default()
                },
                "`raw_input_contents` has more than",
            ),
        ];
        for (request, words) in rows {
            let cause = found(&request).unwrap_err();
            assert!(cause.contains(words), "{words}: {cause}");
        }
        let unpacked = [[0x18, 0x01]; 9].concat();
        let message = [&[0x2a, 18][..], &unpacked].concat();
        assert!(check(&message, 100).unwrap_err().contains("`shape` has more than 8 items"));
    }

    #[test]
    fn garbage_ends_the_walk() {
        for message in [&[0xff; 20][..], &[0x2a, 0xff, 0xff], &[0x2a], &[0x0f], &[0x2b, 0x2c]] {
            assert_eq!(check(message, 100), Ok(()), "{message:?}");
        }
    }
}
