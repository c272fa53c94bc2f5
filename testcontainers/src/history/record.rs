//! Writing a history: one file for each process, one line for each event.
//!
//! # Invariants
//! * A line is with the operating system before [`Recorder::record`] gives it: the end of the process, whichever way,
//!   loses at most the line that was being written.
//! * Lines stand in the order of their numbers, whichever thread writes.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use modelcast::clock;

use super::event::{Event, Line};

/// Writes what one process does and sees.
#[derive(Debug)]
pub struct Recorder {
    process: String,
    started: Instant,
    file: Mutex<(File, u64)>,
}

impl Recorder {
    /// Begins the file `<process>.jsonl` in a folder.
    ///
    /// # Errors
    /// When it is there already, or cannot be made.
    pub fn create(folder: &Path, process: &str) -> io::Result<Self> {
        let file = File::create_new(folder.join(format!("{process}.jsonl")))?;
        Ok(Self { process: process.to_owned(), started: Instant::now(), file: Mutex::new((file, 0)) })
    }

    /// Writes one event.
    ///
    /// # Errors
    /// When it cannot be written: whoever goes on after that makes a history with holes.
    pub fn record(&self, event: Event) -> io::Result<()> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, sequence) = &mut *guard;
        *sequence += 1;
        let mono_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let process = self.process.clone();
        let line = Line { process, sequence: *sequence, mono_us, wall_ms: clock::unix_ms(), event };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        // One write: a process that is killed leaves at most the beginning of a line.
        file.write_all(&text)
    }
}
