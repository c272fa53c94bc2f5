//! The headers of a record, kept as they came and added to.
//!
//! # Invariants
//! * They are copied, not read: a name that is no text passes through too.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedHeaders, Header, Headers as _, OwnedHeaders};

use crate::pipe::RECORD_MAX_BYTES;

/// What one header takes beside its name and value, at most.
const OVERHEAD_BYTES: usize = 10;

/// The headers of one record. Of several by one name the last counts, as Kafka's own clients have it.
#[derive(Debug, Clone)]
pub struct Headers {
    headers: OwnedHeaders,
    bytes: usize,
}

impl Headers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { headers: OwnedHeaders::new(), bytes: 0 }
    }

    pub(super) fn of(headers: Option<&BorrowedHeaders>) -> Self {
        let Some(headers) = headers else { return Self::new() };
        // rdkafka panics at a name that is not UTF-8 (0.39: `BorrowedHeaders::try_get`); a copy reads none. What
        // cannot be counted counts as too much for any topic.
        let counted = || headers.iter().map(|header| size(header.key, header.value)).sum();
        let bytes = catch_unwind(AssertUnwindSafe(counted)).unwrap_or(RECORD_MAX_BYTES);
        Self { headers: headers.detach(), bytes }
    }

    /// Adds one at the end.
    #[must_use]
    pub fn with(self, name: &str, value: &[u8]) -> Self {
        let bytes = self.bytes + size(name, Some(value));
        Self { headers: self.headers.insert(Header { key: name, value: Some(value) }), bytes }
    }

    /// The text of the last one by this name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let last =
            || self.headers.iter().filter(|header| header.key == name).last()?.value.map(<[u8]>::to_vec);
        String::from_utf8(catch_unwind(AssertUnwindSafe(last)).ok()??).ok()
    }

    /// What they take in a record.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn into_owned(self) -> OwnedHeaders {
        self.headers
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::new()
    }
}

fn size(name: &str, value: Option<&[u8]>) -> usize {
    name.len() + value.map_or(0, <[u8]>::len) + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_header_of_a_name_counts() {
        let headers = Headers::new().with("a", b"1").with("b", b"\xff").with("a", b"2");
        assert_eq!(headers.text("a").as_deref(), Some("2"));
        assert_eq!((headers.text("b"), headers.text("c")), (None, None));
        assert_eq!(headers.bytes(), 36);
    }
}
