//! What survives a restart: the last known good versions, the highest generation seen, and marks of crashes.
//!
//! One folder for each model:
//! ```text
//! lock                              held by the process that uses the folder
//! seen.json                         highest generation followed, with the announcement's digest
//! decoding.json                     there while a decoder runs: found at start, it means that the process died of it
//! crashed.json                      manifests that did that
//! incoming/<manifest>               an artifact that is still coming in
//! versions/<manifest>/announcement  the announcement at which the version served last
//! versions/<manifest>/manifest      the signed manifest
//! versions/<manifest>/artifact      the artifact's raw bytes
//! versions/<manifest>.new           the same while it is being put together
//! ```
//!
//! # Invariants
//! * A crash at any instant leaves a folder that loads: everything is written beside, synced, and renamed.
//! * What is read back is bytes from outside: the caller verifies it as if it came from the network.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use modelcast_protocol::{
    Digest, Generation, Version, chunk::ChunkEntry, fold::Held, limits, manifest::SignedManifest,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use tracing::warn;

use crate::artifact::Artifact;

/// Most crashes that are remembered, newest last.
const CRASHES_MAX: usize = 64;

/// The folder of one model.
pub(crate) struct Cache {
    folder: PathBuf,
    /// Locked as long as the cache lives.
    _lock: File,
}

/// A version on disk, not verified.
pub(crate) struct Kept {
    pub(crate) announcement: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) artifact: Artifact,
}

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Another process has it.
    #[error("state folder {} is used by another process; give each instance a folder of its own", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot use state folder {}", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Seen {
    generation: Generation,
    digest: Digest,
}

/// A version that a decoder was, or is, at work on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct DecodeMark {
    pub(crate) version: Version,
    pub(crate) manifest: Digest,
}

impl Cache {
    /// Opens or creates the folder, and turns a mark that a dead process left into a crash.
    pub(crate) fn open(folder: &Path) -> Result<Self, CacheError> {
        let io = |source| CacheError::Io { path: folder.to_owned(), source };
        for name in ["incoming", "versions"] {
            fs::create_dir_all(folder.join(name)).map_err(io)?;
        }
        let lock = File::create(folder.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(CacheError::InUse { path: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        let cache = Self { folder: folder.to_owned(), _lock: lock };
        cache.finish_keeping();
        if let Some(mark) = cache.read_json::<DecodeMark>("decoding.json") {
            let mut crashes = cache.crashes();
            crashes.push(mark);
            let surplus = crashes.len().saturating_sub(CRASHES_MAX);
            crashes.drain(..surplus);
            cache.write_json("crashed.json", &crashes).map_err(io)?;
            cache.end_decode().map_err(io)?;
        }
        Ok(cache)
    }

    /// The highest generation followed so far.
    pub(crate) fn seen(&self) -> Option<Held> {
        self.read_json::<Seen>("seen.json")
            .map(|seen| Held { generation: seen.generation, digest: seen.digest })
    }

    /// Remembers a generation before anything is done because of it.
    pub(crate) fn remember(&self, held: Held) -> io::Result<()> {
        self.write_json("seen.json", &Seen { generation: held.generation, digest: held.digest })
    }

    /// Versions whose decoding ended the process.
    pub(crate) fn crashes(&self) -> Vec<DecodeMark> {
        self.read_json("crashed.json").unwrap_or_default()
    }

    /// Forgets the crashes: somebody asked for another try.
    pub(crate) fn forgive(&self) -> io::Result<()> {
        remove_file(&self.folder.join("crashed.json"))
    }

    /// Marks a version before its decoder runs. Not synced: it tells of the death of a process, not of a machine.
    pub(crate) fn begin_decode(&self, mark: DecodeMark) -> io::Result<()> {
        let new = self.mark().with_extension("new");
        fs::write(&new, serde_json::to_vec(&mark)?)?;
        fs::rename(&new, self.mark())
    }

    /// The decoder came back.
    pub(crate) fn end_decode(&self) -> io::Result<()> {
        remove_file(&self.mark())
    }

    /// The mark: whoever ends this process in good order while a decoder runs removes it, since that is no crash.
    pub(crate) fn mark(&self) -> PathBuf {
        self.folder.join("decoding.json")
    }

    /// Versions on disk.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let Ok(entries) = fs::read_dir(self.folder.join("versions")) else { return Vec::new() };
        let folders = entries.flatten().map(|entry| entry.path());
        folders.filter(|path| path.extension().is_none()).filter_map(|path| kept(&path)).collect()
    }

    /// A version on disk by its manifest.
    pub(crate) fn find(&self, manifest: Digest) -> Option<Kept> {
        kept(&self.version_folder(manifest))
    }

    /// Where an artifact comes in, and how many of its chunks are there already; the file ends after the last of them.
    pub(crate) fn incoming(&self, manifest: &SignedManifest) -> io::Result<(PathBuf, File, usize)> {
        let path = self.folder.join("incoming").join(manifest.digest().to_hex());
        let mut file = File::options().create(true).append(true).open(&path)?;
        let length = file.metadata()?.len();
        let (mut whole, mut chunks) = (0, 0);
        for entry in &manifest.manifest().chunks.entries {
            let next = whole + u64::from(entry.raw_bytes);
            if next > length {
                break;
            }
            (whole, chunks) = (next, chunks + 1);
        }
        file.set_len(whole)?;
        file.flush()?;
        Ok((path, file, chunks))
    }

    /// Removes what came in of versions other than this one.
    pub(crate) fn drop_incoming(&self, except: Option<Digest>) {
        let Ok(entries) = fs::read_dir(self.folder.join("incoming")) else { return };
        let except = except.map(|digest| self.folder.join("incoming").join(digest.to_hex()));
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| Some(path) != except.as_ref()) {
            if let Err(error) = fs::remove_file(&path) {
                warn!(path = %path.display(), %error, "cannot remove an artifact that is not wanted any more");
            }
        }
    }

    /// Keeps a version with the announcement at which it serves; an artifact that came in is moved, not copied.
    pub(crate) fn keep(
        &self,
        manifest: &SignedManifest,
        artifact: &Artifact,
        announcement: &[u8],
    ) -> io::Result<()> {
        let folder = self.version_folder(manifest.digest());
        if matches!(artifact, Artifact::File(path) if path.starts_with(&folder)) {
            return self.keep_announcement(manifest.digest(), announcement);
        }
        let new = folder.with_extension("new");
        remove_dir(&new)?;
        fs::create_dir(&new)?;
        write_new(&new.join("manifest"), manifest.bytes())?;
        match artifact {
            Artifact::File(path) => {
                File::open(path)?.sync_all()?;
                fs::rename(path, new.join("artifact"))?;
            }
            Artifact::Memory(_) | Artifact::Static(_) | Artifact::Part { .. } => {
                let mut file = File::create(new.join("artifact"))?;
                io::copy(&mut artifact.reader()?, &mut file)?;
                file.sync_all()?;
            }
        }
        sync_dir(&new)?;
        // Last, so that a folder with an announcement is whole.
        write(&new.join("announcement"), announcement)?;
        // One that is there was not used: it is damaged. A crash between these two lines is made up for at the start.
        remove_dir(&folder)?;
        fs::rename(&new, &folder)?;
        sync_dir(&self.folder.join("versions"))
    }

    /// Replaces the announcement of a version that is on disk.
    pub(crate) fn keep_announcement(&self, manifest: Digest, announcement: &[u8]) -> io::Result<()> {
        write(&self.version_folder(manifest).join("announcement"), announcement)
    }

    /// Removes one version: it is damaged.
    pub(crate) fn drop_version(&self, manifest: Digest) -> io::Result<()> {
        remove_dir(&self.version_folder(manifest))
    }

    /// Finishes or undoes what a dead process was putting together.
    fn finish_keeping(&self) {
        let Ok(entries) = fs::read_dir(self.folder.join("versions")) else { return };
        for new in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some()) {
            let folder = new.with_extension("");
            let done = match kept(&new) {
                Some(_) => remove_dir(&folder).and_then(|()| fs::rename(&new, &folder)),
                None => remove_dir(&new),
            };
            if let Err(error) = done {
                warn!(path = %new.display(), %error, "cannot tidy up after a process that died");
            }
        }
    }

    /// Removes all versions but these.
    pub(crate) fn prune(&self, keep: &[Digest]) {
        let keep: Vec<_> = keep.iter().map(|digest| self.version_folder(*digest)).collect();
        let Ok(entries) = fs::read_dir(self.folder.join("versions")) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !keep.contains(path)) {
            if let Err(error) = remove_dir(&path) {
                warn!(path = %path.display(), %error, "cannot remove an old version");
            }
        }
    }

    fn version_folder(&self, manifest: Digest) -> PathBuf {
        self.folder.join("versions").join(manifest.to_hex())
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.folder.join(name);
        let bytes = read_bounded(&path, 1024 * 1024)?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.inspect_err(|error| warn!(path = %path.display(), %error, "state file ignored")).ok()
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        write(&self.folder.join(name), &serde_json::to_vec(value)?)
    }
}

/// Where pieces of kept artifacts are: a chunk that is on this machine is not fetched.
#[derive(Default)]
pub(crate) struct LocalChunks(std::collections::HashMap<Digest, (PathBuf, u64)>);

impl LocalChunks {
    /// Adds the chunks of a kept version.
    pub(crate) fn add(&mut self, manifest: &SignedManifest, artifact: &Artifact) {
        let Artifact::File(path) = artifact else { return };
        let mut offset = 0;
        for entry in &manifest.manifest().chunks.entries {
            self.0.entry(entry.digest).or_insert_with(|| (path.clone(), offset));
            offset += u64::from(entry.raw_bytes);
        }
    }

    /// The raw bytes of a chunk. That they are right is found when the whole artifact is verified.
    pub(crate) fn load(&self, entry: &ChunkEntry) -> Option<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;
        let (path, offset) = self.0.get(&entry.digest)?;
        let mut raw = vec![0; usize::try_from(entry.raw_bytes).ok()?];
        File::open(path).and_then(|file| file.read_exact_at(&mut raw, *offset)).ok()?;
        // Of a chunk that is stored compressed only the artifact's digest can tell.
        let compressed = entry.stored_bytes != entry.raw_bytes;
        (compressed || Digest::of(&raw) == entry.digest).then_some(raw)
    }
}

fn kept(folder: &Path) -> Option<Kept> {
    let announcement = read_bounded(&folder.join("announcement"), limits::ANNOUNCEMENT_MAX_BYTES)?;
    let manifest = read_bounded(&folder.join("manifest"), limits::MANIFEST_MAX_BYTES)?;
    let artifact = folder.join("artifact");
    artifact.is_file().then_some(Kept { announcement, manifest, artifact: Artifact::File(artifact) })
}

/// A file's bytes, if it is there and not larger than `cap`.
fn read_bounded(path: &Path, cap: usize) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(cap as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= cap).then_some(bytes)
}

/// Replaces a file: beside, synced, renamed, folder synced.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    write_new(&new, bytes)?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_file(path: &Path) -> io::Result<()> {
    unless_missing(fs::remove_file(path))
}

fn remove_dir(path: &Path) -> io::Result<()> {
    unless_missing(fs::remove_dir_all(path))
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
