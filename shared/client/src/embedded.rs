//! An embedded model: one version in one file, which an application carries with it.
//!
//! `modelcast pull` writes the file: the announcement in force, the version's manifest and its artifact. It is admitted
//! as a version from Kafka is, and needs no Kafka. A subscriber takes one as its last resort.
//! Does not write files (see `catalog`), and does not decide whether it serves (see `subscribe`).
//!
//! # Invariants
//! * Nothing in a file is believed that a trusted key did not sign; every flipped bit is refused.
//! * A version that its own announcement forbids is refused.
//! * Opening reads the head only, whatever the artifact's size; [`EmbeddedVersion::admit`] reads the artifact.

pub mod layout;

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use modelcast_protocol::{
    Version,
    announcement::{self, Announcement, AnnouncementError},
    codec::CodecError,
    desired::VersionEntry,
    key::TrustedKeys,
    manifest::{ManifestError, SignedManifest},
    status::Phase,
};
use thiserror::Error;

use self::layout::{HEADER_BYTES, Layout, LayoutError};
use crate::{
    admission::{FetchedBlob, Policy, Refusal},
    artifact::Artifact,
    loaded::{LoadedModel, Origin},
};

/// Where an embedded model is.
#[derive(Debug, Clone)]
pub enum Embedded {
    /// Compiled in, by `include_bytes!`.
    Bytes(&'static [u8]),
    /// In a file that is shipped with the application.
    File(PathBuf),
}

/// An embedded model whose signatures were verified, and which was not admitted yet.
#[derive(Debug, Clone)]
pub struct EmbeddedVersion {
    announcement: Announcement,
    entry: VersionEntry,
    manifest: SignedManifest,
    artifact: Artifact,
}

/// Why an embedded model is not used.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no embedded model, or not a whole one.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its announcement is not trusted.
    #[error("its announcement is refused; trust the key that signed it, or pull the model again")]
    Announcement(#[source] AnnouncementError),
    /// Its announcement is of a later release.
    #[error("its announcement is not understood: upgrade this program")]
    NotUnderstood(#[source] CodecError),
    /// Its manifest is not trusted.
    #[error(
        "its manifest is refused; trust the key that signed it, or publish the version again and pull it"
    )]
    Manifest(#[source] ManifestError),
    /// Announcement and manifest do not belong together.
    #[error("its announcement does not name its manifest: pull the model again")]
    NotAnnounced,
    /// Its announcement forbids it.
    #[error("version {version} is quarantined by its own announcement: pull the model again")]
    Quarantined {
        /// Which.
        version: Version,
    },
    /// A check of admission said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<&'static [u8]> for Embedded {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<const N: usize> From<&'static [u8; N]> for Embedded {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<PathBuf> for Embedded {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Embedded {
    /// Verifies the signatures of announcement and manifest, and that they belong together; reads at most some 1.2 MB.
    ///
    /// # Errors
    /// [`EmbeddedError`], in the order of its variants, but never `Refused`.
    pub fn open(&self, keys: &TrustedKeys) -> Result<EmbeddedVersion, EmbeddedError> {
        let (announcement, manifest, artifact) = match self {
            Self::Bytes(bytes) => parts_of(bytes)?,
            Self::File(path) => read_parts(path)?,
        };
        let announcement = announcement::open(&announcement, keys).map_err(EmbeddedError::Announcement)?;
        let state =
            announcement.body.as_ref().map_err(|error| EmbeddedError::NotUnderstood(error.clone()))?;
        let manifest = SignedManifest::open(manifest, &announcement.frame.model, keys)
            .map_err(EmbeddedError::Manifest)?;
        let entry = state.versions.iter().find(|entry| entry.manifest == manifest.digest());
        let entry = entry.ok_or(EmbeddedError::NotAnnounced)?.clone();
        if state.is_quarantined(entry.version) {
            return Err(EmbeddedError::Quarantined { version: entry.version });
        }
        Ok(EmbeddedVersion { entry, manifest, artifact, announcement })
    }
}

impl EmbeddedVersion {
    /// The announcement that was in force when it was pulled.
    #[must_use]
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// Which version it is.
    #[must_use]
    pub fn entry(&self) -> &VersionEntry {
        &self.entry
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &SignedManifest {
        &self.manifest
    }

    /// Admits it as a subscriber admits a version: declared size, format and schema, digest, decoding, golden rows,
    /// warm-up. `on_phase` hears each phase that it reaches. Blocks: not for the runtime's threads.
    ///
    /// # Errors
    /// The [`Refusal`] of the first check that says no.
    pub fn admit(self, policy: &Policy, on_phase: &dyn Fn(Phase)) -> Result<LoadedModel, Refusal> {
        let (version, generation) = (self.entry.version, self.announcement.frame.generation);
        self.fetched(policy)?.admit(policy, version, generation, Origin::Embedded, on_phase)
    }

    /// Its artifact behind the check of its manifest, as if it had been fetched.
    pub(crate) fn fetched(self, policy: &Policy) -> Result<FetchedBlob, Refusal> {
        Ok(policy.accept(self.manifest)?.with(self.artifact))
    }
}

impl LoadedModel {
    /// The model that an application carries with it, admitted as a subscriber admits a version: `include_bytes!` of
    /// the file that `modelcast pull` wrote, or its path. Blocks while it decodes: not for the runtime's threads.
    ///
    /// # Errors
    /// [`EmbeddedError`], in the order of its variants.
    pub fn embedded(
        embedded: impl Into<Embedded>,
        keys: &TrustedKeys,
        policy: &Policy,
    ) -> Result<Self, EmbeddedError> {
        Ok(embedded.into().open(keys)?.admit(policy, &|_| {})?)
    }
}

type Parts = (Vec<u8>, Vec<u8>, Artifact);

fn parts_of(bytes: &'static [u8]) -> Result<Parts, LayoutError> {
    let layout = Layout::decode(bytes, bytes.len() as u64)?;
    // The layout's lengths are those of the bytes: nothing is missing.
    let part = |range| bytes.get(range).unwrap_or_default();
    let artifact = bytes.get(layout.manifest().end..).unwrap_or_default();
    Ok((part(layout.announcement()).to_vec(), part(layout.manifest()).to_vec(), Artifact::Static(artifact)))
}

fn read_parts(path: &Path) -> Result<Parts, EmbeddedError> {
    let unreadable = |source| EmbeddedError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let file_bytes = file.metadata().map_err(unreadable)?.len();
    let mut start = Vec::new();
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(unreadable)?;
    let layout = Layout::decode(&start, file_bytes)?;
    let mut read = |bytes: usize| {
        let mut part = vec![0; bytes];
        file.read_exact(&mut part).map(|()| part).map_err(unreadable)
    };
    let (announcement, manifest) = (read(layout.announcement().len())?, read(layout.manifest().len())?);
    let artifact = Artifact::Part { path: path.to_owned(), offset: layout.artifact_at() };
    Ok((announcement, manifest, artifact))
}

#[cfg(test)]
mod tests;
