//! Tensors as bytes: numbers little-endian, each text behind its length in four bytes.
//!
//! The form that `raw_input_contents` of gRPC and the binary data of REST share. Does not know the model.
//!
//! # Invariants
//! * A length that bytes claim is looked up, never allocated.

use std::borrow::Cow;

use super::{
    column::{Column, Values},
    datatype::Datatype,
    request::Tensor,
};
use crate::refusal::Refusal;

/// The values of a tensor whose name, shape and datatype are known.
///
/// # Errors
/// [`Refusal::Tensor`] for bytes that are not values of its datatype.
pub(crate) fn column<'a>(tensor: &Tensor<'_>, bytes: &'a [u8]) -> Result<Column<'a>, Refusal> {
    let values = if tensor.datatype == "BYTES" {
        texts(bytes).map(Values::Texts)
    } else {
        Datatype::of_numbers(tensor)?;
        numbers(&tensor.datatype, bytes).map(Values::Numbers)
    };
    let values = values.map_err(|cause| Refusal::tensor(&tensor.name, cause))?;
    Ok(Column { values, inner_len: None })
}

/// Writes a number.
pub(crate) fn put_number(to: &mut Vec<u8>, value: f64) {
    to.extend_from_slice(&value.to_le_bytes());
}

/// Writes a text.
pub(crate) fn put_text(to: &mut Vec<u8>, text: &str) {
    // A label is a few bytes: its manifest is smaller than what four bytes can say.
    to.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn texts(bytes: &[u8]) -> Result<Vec<Cow<'_, str>>, String> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let row = found.len();
        let (len, after) =
            rest.split_first_chunk().ok_or_else(|| format!("row {row}: its bytes end within a length"))?;
        let len = u32::from_le_bytes(*len);
        let split = usize::try_from(len).ok().and_then(|len| after.split_at_checked(len));
        let (text, after) = split.ok_or_else(|| {
            format!("row {row}: a text of {len} bytes is said, and {} are left", after.len())
        })?;
        let text = std::str::from_utf8(text).map_err(|_| format!("row {row}: the text is no UTF-8"))?;
        found.push(Cow::Borrowed(text));
        rest = after;
    }
    Ok(found)
}

// Above 2^53 a whole number rounds, and `rows` refuses it.
fn numbers(datatype: &str, bytes: &[u8]) -> Result<Vec<f64>, String> {
    let found = match datatype {
        "FP64" => read(bytes, f64::from_le_bytes),
        "FP32" => read(bytes, |value| f64::from(f32::from_le_bytes(value))),
        "INT8" => read(bytes, |value| f64::from(i8::from_le_bytes(value))),
        "INT16" => read(bytes, |value| f64::from(i16::from_le_bytes(value))),
        "INT32" => read(bytes, |value| f64::from(i32::from_le_bytes(value))),
        "INT64" => read(bytes, |value| i64::from_le_bytes(value) as f64),
        "UINT8" => read(bytes, |value| f64::from(u8::from_le_bytes(value))),
        "UINT16" => read(bytes, |value| f64::from(u16::from_le_bytes(value))),
        "UINT32" => read(bytes, |value| f64::from(u32::from_le_bytes(value))),
        _ => read(bytes, |value| u64::from_le_bytes(value) as f64),
    };
    found.ok_or_else(|| format!("its {} bytes are no whole number of {datatype} values", bytes.len()))
}

fn read<const WIDTH: usize>(bytes: &[u8], value: impl Fn([u8; WIDTH]) -> f64) -> Option<Vec<f64>> {
    let (values, rest) = bytes.as_chunks::<WIDTH>();
    rest.is_empty().then(|| values.iter().copied().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::request::Shape, *};

    fn tensor(datatype: &'static str) -> Tensor<'static> {
        let (name, datatype) = ("x".into(), datatype.into());
        Tensor { name, shape: Shape(vec![1]), datatype, data: Column::default(), binary_data_size: None }
    }

    #[test]
    fn each_datatype_is_read_little_endian() {
        let rows: [(&str, &[u8], f64); 10] = [
            ("FP64", &1.1_f64.to_le_bytes(), 1.1),
            ("FP32", &1.5_f32.to_le_bytes(), 1.5),
            ("INT8", &[0xff], -1.0),
            ("INT16", &(-300_i16).to_le_bytes(), -300.0),
            ("INT32", &(-70_000_i32).to_le_bytes(), -70_000.0),
            ("INT64", &(-5_000_000_000_i64).to_le_bytes(), -5e9),
            ("UINT8", &[0xff], 255.0),
            ("UINT16", &65_535_u16.to_le_bytes(), 65_535.0),
            ("UINT32", &4_000_000_000_u32.to_le_bytes(), 4e9),
            ("UINT64", &5_000_000_000_u64.to_le_bytes(), 5e9),
        ];
        for (datatype, bytes, expected) in rows {
            let Values::Numbers(found) = column(&tensor(datatype), bytes).unwrap().values else {
                panic!("{datatype}: no numbers")
            };
            assert_eq!(found, [expected], "{datatype}");
        }
    }

    #[test]
    fn texts_come_back_as_they_were_written() {
        let mut bytes = Vec::new();
        for text in ["", "Old_Town", "ä€"] {
            put_text(&mut bytes, text);
        }
        let Values::Texts(found) = column(&tensor("BYTES"), &bytes).unwrap().values else {
            panic!("no texts")
        };
        assert_eq!(found, ["", "Old_Town", "ä€"]);
    }

    #[test]
    fn bytes_that_are_no_values_are_refused() {
        let rows: [(&str, &[u8], &str); 6] = [
            ("FP64", &[0; 9], "its 9 bytes are no whole number of FP64 values"),
            ("BYTES", &[1, 0, 0], "row 0: its bytes end within a length"),
            ("BYTES", &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1], "row 1: a text of 4294967295 bytes"),
            ("BYTES", &[1, 0, 0, 0, 0xff], "no UTF-8"),
            ("BOOL", &[1], "not \"BOOL\""),
            ("FP16", &[1, 1], "not \"FP16\""),
        ];
        for (datatype, bytes, words) in rows {
            let cause = column(&tensor(datatype), bytes).unwrap_err().to_string();
            assert!(cause.starts_with("tensor \"x\"") && cause.contains(words), "{cause}");
        }
    }
}
