//! Reading a history back, all of it or nothing.
//!
//! # Invariants
//! * The last line of a file may be torn: its process was killed while it wrote. It is named, and not used. Anything
//!   else that is not a line is an error: a verdict on half a history would be none.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::event::{Event, Line, Started};
use super::report::Place;

/// Longest line that is read: an announcement with a thousand pins and more has room.
const LINE_MAX_BYTES: usize = 4 * 1024 * 1024;
const EXTENSION: &str = "jsonl";

/// A line, before anybody has to read of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    process: &'a str,
    line: u64,
}

/// Everything that was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// What each process wrote, by name.
    pub processes: Vec<Process>,
}

/// What one process wrote.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Whether it was killed while it wrote another.
    pub torn: bool,
}

/// Why there is no history to check.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds no history.
    #[error("{} holds no file *.{EXTENSION}", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A line other than a last one is damaged or missing.
    #[error("{at}: {cause}")]
    Damaged {
        /// Where.
        at: Place,
        /// What is wrong.
        cause: String,
    },
}

impl History {
    /// Reads every file of a folder.
    ///
    /// # Errors
    /// [`HistoryError`]; never because the last line of a file is torn.
    pub fn load(folder: &Path) -> Result<Self, HistoryError> {
        let unreadable = |source| HistoryError::Unreadable { path: folder.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(HistoryError::Empty { path: folder.to_owned() });
        }
        paths.sort();
        let processes = paths.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        Ok(Self { processes })
    }

    /// All events with their places; those of one process in its order.
    pub(super) fn events(&self) -> impl Iterator<Item = (At<'_>, &Line)> {
        self.processes.iter().flat_map(Process::events)
    }
}

impl Process {
    /// Its events with their places, in its order.
    pub(super) fn events(&self) -> impl Iterator<Item = (At<'_>, &Line)> {
        self.lines.iter().map(|line| (At { process: &self.name, line: line.sequence }, line))
    }

    /// What it said of itself at first.
    pub(super) fn started(&self) -> Option<&Started> {
        self.lines.iter().find_map(|line| match &line.event {
            Event::Started(started) => Some(started),
            _ => None,
        })
    }
}

impl At<'_> {
    pub(super) fn place(self) -> Place {
        Place { file: format!("{}.{EXTENSION}", self.process), line: self.line }
    }
}

fn read(path: &Path) -> Result<Process, HistoryError> {
    let unreadable = |source| HistoryError::Unreadable { path: path.to_owned(), source };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut process = Process { name, ..Process::default() };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let limit = u64::try_from(LINE_MAX_BYTES).unwrap_or(u64::MAX);
        file.by_ref().take(limit).read_until(b'\n', &mut text).map_err(unreadable)?;
        if text.is_empty() {
            break;
        }
        let damaged = |cause: String| HistoryError::Damaged {
            at: At { process: &process.name, line: number }.place(),
            cause,
        };
        if text.pop_if(|last| *last == b'\n').is_none() {
            if text.len() >= LINE_MAX_BYTES {
                return Err(damaged(format!("longer than {LINE_MAX_BYTES} bytes")));
            }
            process.torn = true;
            break;
        }
        let line: Line = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if line.sequence != number {
            return Err(damaged(format!("this line has number {}: lines are missing", line.sequence)));
        }
        if line.process != process.name {
            return Err(damaged(format!("written by {}", line.process)));
        }
        process.lines.push(line);
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Recorder;

    /// Three lines of one process, changed by `damage`.
    fn after(damage: impl Fn(&mut String)) -> Result<History, HistoryError> {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(folder.path(), "app-1.1").unwrap();
        for _ in 0..3 {
            recorder.record(Event::Healed).unwrap();
        }
        let path = folder.path().join("app-1.1.jsonl");
        let mut text = fs::read_to_string(&path).unwrap();
        damage(&mut text);
        fs::write(&path, text).unwrap();
        History::load(folder.path())
    }

    #[test]
    fn a_torn_last_line_is_named_and_the_others_count() {
        for torn in 1..60 {
            let history = after(|text| text.truncate(text.len() - torn)).unwrap();
            let [process] = &history.processes[..] else { panic!("{history:?}") };
            assert_eq!((process.lines.len(), process.torn), (2, true));
        }
        assert!(!after(|_| ()).unwrap().processes[0].torn);
    }

    #[test]
    fn half_a_history_is_none() {
        let second = |text: &str| text.find('\n').unwrap() + 1;
        assert!(matches!(after(|text| text.insert(second(text), '}')), Err(HistoryError::Damaged { .. })));
        assert!(matches!(after(|text| drop(text.drain(..second(text)))), Err(HistoryError::Damaged { .. })));
        assert!(matches!(
            after(|text| *text = text.replace("app-1.1", "app-2.1")),
            Err(HistoryError::Damaged { .. })
        ));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(History::load(empty.path()), Err(HistoryError::Empty { .. })));
    }

    #[test]
    fn a_history_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        drop(Recorder::create(folder.path(), "app-1.1").unwrap());
        assert!(Recorder::create(folder.path(), "app-1.1").is_err());
    }
}
