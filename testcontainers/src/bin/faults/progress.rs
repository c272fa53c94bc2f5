//! How far a run is: counts what the histories have so far, for people and for the end of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use modelcast_testcontainers::history::{Action, Ended, Event, Line, Outcome};

/// What there is so far.
#[derive(Default)]
pub(crate) struct Progress {
    /// How far each file was read, and the line that it ended with.
    files: BTreeMap<PathBuf, (u64, Vec<u8>)>,
    /// Operations that publish.
    publishing: BTreeSet<String>,
    /// Publishes whose end was told.
    pub(crate) publishes: u64,
    committed: u64,
    conflicts: u64,
    unknown: u64,
    without_kafka: u64,
    refused: u64,
    requests: u64,
    states: u64,
}

impl Progress {
    /// Reads what was written since.
    pub(crate) fn look(&mut self, folder: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (read, mut rest) = self.files.remove(&path).unwrap_or_default();
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(read))?;
            let more = file.read_to_end(&mut rest)?;
            let lines = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            let unfinished = rest.split_off(lines);
            rest.split(|byte| *byte == b'\n').for_each(|line| self.take(&name, line));
            self.files.insert(path, (read + u64::try_from(more)?, unfinished));
        }
        Ok(())
    }

    fn take(&mut self, file: &str, line: &[u8]) {
        if file.starts_with("app-") {
            // Most lines by far: not worth more than a look.
            let has = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
            self.requests += u64::from(has(b"{\"answer\":"));
            self.states += u64::from(has(b"{\"seen\":"));
            return;
        }
        let Ok(Line { event, .. }) = serde_json::from_slice(line) else { return };
        match event {
            Event::Attempt { operation, action: Action::Publish { .. }, .. } => {
                self.publishing.insert(operation);
            }
            Event::Ended(Ended { operation, outcome, lost }) => {
                self.publishes += u64::from(self.publishing.remove(&operation));
                self.conflicts += u64::try_from(lost.len()).unwrap_or_default();
                match outcome {
                    Outcome::Committed { .. } => self.committed += 1,
                    Outcome::Unknown { .. } => self.unknown += 1,
                    Outcome::Unavailable { .. } => self.without_kafka += 1,
                    Outcome::Refused { .. } => self.refused += 1,
                    Outcome::Unchanged { .. } | Outcome::Conflict => {}
                }
            }
            _ => {}
        }
    }

    /// In one line.
    pub(crate) fn shown(&self) -> String {
        let Self {
            publishes, committed, conflicts, unknown, without_kafka, refused, requests, states, ..
        } = self;
        format!(
            "{publishes} publishes, {committed} committed, {conflicts} conflicts, {refused} refused, \
             {without_kafka} without Kafka, {unknown} unknown; {requests} requests, {states} states"
        )
    }
}
