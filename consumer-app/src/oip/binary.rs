//! The binary tensor data extension of REST: values as bytes behind the JSON, in both directions.
//!
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>. A header
//! says where the JSON ends; each tensor says how many of the bytes are its own, in the order of the tensors.

use axum::http::{HeaderMap, HeaderName};

use super::{raw, request::InferRequest, rows};
use crate::refusal::Refusal;

/// Says how many bytes of a body are JSON.
pub(super) const HEADER: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Reads a request, and fills the tensors whose values stand behind the JSON.
///
/// # Errors
/// [`Refusal`] for what is no request, and for bytes that are too few, too many or no values.
pub(super) fn parse(
    body: &[u8],
    json_len: Option<usize>,
    rows_max: usize,
) -> Result<InferRequest<'_>, Refusal> {
    let (json, mut rest) = match json_len {
        None => (body, &[][..]),
        Some(len) => body.split_at_checked(len).ok_or_else(|| Refusal::Malformed {
            cause: format!("{HEADER} says {len} bytes, and the body has {}", body.len()),
        })?,
    };
    let mut request = InferRequest::parse(json)?;
    // Before values are read: bytes take up to eight times their size as numbers.
    rows::row_count(&request.inputs.0, rows_max)?;
    for tensor in &mut request.inputs.0 {
        let Some(size) = tensor.binary_data_size else { continue };
        let (bytes, after) = rest.split_at_checked(size).ok_or_else(|| {
            let cause =
                format!("binary_data_size is {size}, and {} bytes are left behind the JSON", rest.len());
            Refusal::tensor(&tensor.name, cause)
        })?;
        tensor.data = raw::column(tensor, bytes)?;
        rest = after;
    }
    if !rest.is_empty() {
        let cause = format!("{} bytes behind the JSON belong to no tensor", rest.len());
        return Err(Refusal::Malformed { cause });
    }
    Ok(request)
}

/// How many bytes of the body are JSON; none when all are.
///
/// # Errors
/// [`Refusal::Malformed`] for a header that says no number.
pub(super) fn json_len(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let len = value.to_str().ok().and_then(|text| text.parse().ok());
    len.map(Some).ok_or_else(|| Refusal::Malformed { cause: format!("{HEADER} is no number of bytes") })
}
