//! The folder that a run works in: what it is about, how far it is, and the parts of its output.
//!
//! ```text
//! lock            held by the process that uses the folder
//! journal.json    the run that is under way; none when there is none
//! last.json       the last run that was completed: its model, its input, its summary
//! parts/<n>       output up to the journal's position, in files
//! parts/<n>.new   a part that is being written
//! failures.csv    rows without a prediction, written anew by each process that works on the run
//! ```
//!
//! # Invariants
//! * A crash at any instant leaves a folder to go on with: what counts is written beside, synced, and renamed, and a
//!   part counts when the journal says so.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use modelcast_protocol::{Digest, Generation, ModelName, Version};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use thiserror::Error;
use tracing::warn;

use super::{input::Fingerprint, settings::OutputSettings, summary::Summary};
use crate::predictions::run::RunId;

/// The name of the journal.
const JOURNAL: &str = "journal.json";
/// Larger journals are none.
const JOURNAL_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The folder.
pub struct Work {
    folder: PathBuf,
    /// Locked as long as this value lives.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, Error)]
pub enum WorkError {
    /// Another process has it.
    #[error("folder {} is used by another process; give each instance a state folder of its own", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot use folder {}", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Its name.
    #[serde(deserialize_with = "parsed")]
    pub run: RunId,
    /// Which version it uses, from start to end.
    pub scorer: Scorer,
    /// What it reads.
    pub input: Fingerprint,
    /// How it reads it: digest of the settings that say so.
    pub reading: Digest,
    /// Where it writes.
    pub output: OutputSettings,
    /// When it began, Unix milliseconds.
    pub began_at_unix_ms: u64,
    /// Rows of the input whose predictions are in the parts.
    pub position: u64,
    /// Parts that count.
    pub parts: u64,
}

/// The version that a run uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scorer {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
    /// Digest of that version's manifest.
    pub digest: Digest,
    /// The generation at which it was live.
    pub generation: Generation,
}

/// The run that was completed last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// Its name.
    #[serde(deserialize_with = "parsed")]
    pub run: RunId,
    /// Which version it used.
    pub scorer: Scorer,
    /// What it read.
    pub input: Fingerprint,
    /// What it had to say of itself.
    pub summary: Summary,
}

impl Work {
    /// Opens or creates the folder.
    ///
    /// # Errors
    /// [`WorkError`].
    pub fn open(folder: &Path) -> Result<Self, WorkError> {
        let io = |source| WorkError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder.join("parts")).map_err(io)?;
        let lock = File::create(folder.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(WorkError::InUse { path: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Opens the folder if that run is under way there; none where it is not.
    ///
    /// # Errors
    /// [`WorkError::InUse`] while a process is at work on it.
    pub fn of_run(folder: &Path, run: &RunId) -> Result<Option<Self>, WorkError> {
        let journal: Option<Journal> = read_json(&folder.join(JOURNAL));
        journal.filter(|journal| journal.run == *run).map(|_| Self::open(folder)).transpose()
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a part is.
    #[must_use]
    pub fn part(&self, part: u64) -> PathBuf {
        self.folder.join("parts").join(format!("{part:08}"))
    }

    /// The run that is under way.
    #[must_use]
    pub fn journal(&self) -> Option<Journal> {
        read_json(&self.folder.join(JOURNAL))
    }

    /// The run that was completed last.
    #[must_use]
    pub fn last(&self) -> Option<Last> {
        read_json(&self.folder.join("last.json"))
    }

    /// Writes down how far a run is; what it says is on disk afterwards.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_journal(&self, journal: &Journal) -> io::Result<()> {
        sync_dir(&self.folder.join("parts"))?;
        replace(&self.folder.join(JOURNAL), &serde_json::to_vec_pretty(journal)?)
    }

    /// Ends the run that is under way, and remembers it as the last one if it was completed.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn end(&self, completed: Option<&Last>) -> io::Result<()> {
        if let Some(last) = completed {
            replace(&self.folder.join("last.json"), &serde_json::to_vec_pretty(last)?)?;
        }
        remove(&self.folder.join(JOURNAL))?;
        sync_dir(&self.folder)?;
        self.drop_parts(0)?;
        remove(&self.failures())
    }

    /// Removes the parts from this one on, and what was being written: no journal counts them.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn drop_parts(&self, from: u64) -> io::Result<()> {
        let keep: Vec<PathBuf> = (0..from).map(|part| self.part(part)).collect();
        for entry in fs::read_dir(self.folder.join("parts"))? {
            let path = entry?.path();
            if keep.binary_search(&path).is_err() {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Where the rows without a prediction are written.
    #[must_use]
    pub fn failures(&self) -> PathBuf {
        self.folder.join("failures.csv")
    }
}

/// Replaces a file: beside, synced, renamed, folder synced.
///
/// # Errors
/// When the file system refuses.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    put_in_place(&new, path)
}

/// The name under which a file is written before it takes the place of the one at `path`.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// Renames a file that is synced, so that the rename is on disk.
///
/// # Errors
/// When the file system refuses.
pub fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(folder) => sync_dir(folder),
        None => Ok(()),
    }
}

/// Removes a file, if it is there.
///
/// # Errors
/// When the file system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RunId, D::Error> {
    RunId::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(JOURNAL_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let parsed = serde_json::from_slice(&bytes);
    parsed.inspect_err(|error| warn!(path = %path.display(), %error, "file ignored")).ok()
}
