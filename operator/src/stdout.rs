//! Results: the only thing that is written to stdout.

use std::io::{self, Write as _};

use serde::Serialize;

/// Whether somebody still reads stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// As far as one can tell.
    There,
    /// The pipe was closed: what would follow is not wanted.
    Gone,
}

/// Writes text as it is.
///
/// # Errors
/// When stdout cannot be written to; a reader that went away is none.
pub(crate) fn text(text: &str) -> io::Result<Reader> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::There),
        // `modelcast versions house | head -1` is not an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// As [`text`].
pub(crate) fn json(value: &impl Serialize) -> io::Result<Reader> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    text(&line)
}
