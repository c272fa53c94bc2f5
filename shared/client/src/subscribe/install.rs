//! Bringing one version from the log, or from disk, to a loaded model: fetch, admit, keep.
//!
//! Blocks: runs on a thread that may. Does not decide which version, and does not swap.
//!
//! # Invariants
//! * Every model but the serving one leaves memory before the next is decoded.
//! * A version is on disk, synced, before it is handed out: what serves can be served again after a crash.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use modelcast_protocol::{
    Digest, Generation, announcement,
    chunk::ChunkEntry,
    desired::{Inline, VersionEntry},
    fold::{Held, InForce},
    key::TrustedKeys,
    manifest::SignedManifest,
    status::{Phase, Stage},
};
use thiserror::Error;
use tracing::warn;

use super::cache::{Cache, DecodeMark, Kept, LocalChunks};
use crate::{
    admission::{FetchedBlob, Policy, Refusal, VerifiedBlob, refusal},
    artifact::Artifact,
    fetch::{FetchError, Fetcher, Watch, open_manifest},
    live::LiveModel,
    loaded::{LoadedModel, Origin},
};

/// From when on a broken connection ends a fetch; before, it is tried again at once.
const FETCH_PATIENCE: Duration = Duration::from_secs(20);
/// How long readers may hold on to the model that leaves memory, before it is said and tried again.
const ROOM_DEADLINE: Duration = Duration::from_secs(30);

/// Installs the versions of one model; goes to a blocking thread and back.
pub(crate) struct Installer {
    pub(crate) live: LiveModel,
    pub(crate) policy: Policy,
    pub(crate) keys: TrustedKeys,
    pub(crate) cache: Cache,
    pub(crate) fetcher: Fetcher,
    /// Why the embedded version does not serve, if it was to and cannot.
    pub(crate) resort: Option<String>,
}

/// What is to be done for one model.
pub(crate) struct Order {
    /// The announcement to follow: remembered before anything is done because of it.
    pub(crate) in_force: Arc<InForce>,
    /// The version to bring to a loaded model, if that is to be done.
    pub(crate) entry: Option<VersionEntry>,
    /// Whether the crashes on disk are to be forgotten.
    pub(crate) forgive: bool,
    /// Set when something else is wanted.
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// What became of an order.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The generation is remembered; there was nothing to install.
    Followed,
    /// The version can serve.
    Loaded(Box<LoadedModel>),
    /// The generation cannot be remembered on disk, so nothing was done because of it.
    NotRemembered(std::io::Error),
    /// The generation is remembered, but the version is not there.
    Failed(InstallError),
}

/// Why a version is not installed.
#[derive(Debug, Error)]
pub(crate) enum InstallError {
    /// It cannot be had, or is refused.
    #[error(transparent)]
    Fetch(FetchError),
    /// Old and new are all that may be in memory.
    #[error("a request still holds a model that was replaced: there is no room in memory for the next")]
    NoRoom,
}

impl<E: Into<FetchError>> From<E> for InstallError {
    fn from(error: E) -> Self {
        Self::Fetch(error.into())
    }
}

impl Installer {
    /// Carries an order out. A panic of what came with a model refuses the version and leaves the installer usable.
    pub(crate) fn carry_out(&mut self, order: &Order) -> Outcome {
        if order.forgive
            && let Err(error) = self.cache.forgive()
        {
            warn!(model = %self.live.name(), %error, "cannot forget the crashes on disk");
        }
        let held = order.in_force.held();
        if self.cache.seen() != Some(held)
            && let Err(error) = self.cache.remember(held)
        {
            return Outcome::NotRemembered(error);
        }
        self.show(Some(held));
        let Some(entry) = &order.entry else { return Outcome::Followed };
        let installed = catch_unwind(AssertUnwindSafe(|| self.install(entry, order)));
        let installed = installed.unwrap_or_else(|_| {
            drop(self.cache.end_decode()); // the process lives
            Err(refusal(Stage::Decode, &"panicked outside of its decoder: see the log of this instance")
                .into())
        });
        self.fetcher.rest();
        match installed {
            Ok(loaded) => Outcome::Loaded(Box::new(loaded)),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Takes the version from memory, from disk, or fetches it; admits and keeps it.
    fn install(&mut self, entry: &VersionEntry, order: &Order) -> Result<LoadedModel, InstallError> {
        if let Some(resident) = self.resident(entry, order) {
            return Ok(resident);
        }
        self.cache.drop_incoming(Some(entry.manifest));
        let kept = self.cache.find(entry.manifest);
        if let Some(Ok(fetched)) = kept.map(|kept| self.open_kept(&kept, entry.manifest)) {
            match self.admit_and_keep(fetched, entry, order) {
                Err(InstallError::Fetch(FetchError::Refused(refused))) if is_damage(&refused) => {
                    warn!(model = %self.live.name(), version = %entry.version, %refused, "fetched anew: damaged on disk");
                    self.cache.drop_version(entry.manifest).map_err(|error| store(&error))?;
                }
                done => return done,
            }
        }
        let fetched = self.fetch(entry, order, self.local_chunks())?;
        match self.admit_and_keep(fetched, entry, order) {
            // What came in before a restart, or a piece of a kept version, may be damaged: what comes fresh decides.
            Err(InstallError::Fetch(FetchError::Refused(refused))) if is_damage(&refused) => {
                self.cache.drop_incoming(None);
                let fetched = self.fetch(entry, order, LocalChunks::default())?;
                self.admit_and_keep(fetched, entry, order)
            }
            done => done,
        }
    }

    /// The version, when it is still in memory and on disk.
    fn resident(&self, entry: &VersionEntry, order: &Order) -> Option<LoadedModel> {
        let resident = self.live.slot().resident(entry.manifest)?;
        self.cache.find(entry.manifest)?;
        if let Err(error) = self.cache.keep_announcement(entry.manifest, &order.in_force.bytes) {
            warn!(model = %self.live.name(), %error, "cannot keep the announcement beside its version");
        }
        Some(resident.at(entry.version, order.in_force.generation()))
    }

    /// The highest generation that this instance followed: remembered, or by the versions on disk.
    pub(crate) fn held(&self) -> Option<Held> {
        let kept = self.cache.kept().into_iter();
        let kept = kept.filter_map(|kept| {
            let announcement = announcement::open(&kept.announcement, &self.keys).ok()?;
            let ours = announcement.frame.model == *self.live.name();
            ours.then_some(Held { generation: announcement.frame.generation, digest: announcement.digest })
        });
        kept.chain(self.cache.seen()).max_by_key(|held| held.generation)
    }

    /// Shows what [`held`](Self::held) gives, and gives it. A publisher learns from it that the log has lost something,
    /// also after everybody was restarted.
    pub(crate) fn show_held(&self) -> Option<Held> {
        let held = self.held();
        self.show(held);
        held
    }

    fn show(&self, held: Option<Held>) {
        self.live.update(|state| {
            state.generation_seen = held.map_or(state.generation_seen, |held| held.generation);
            state.announcement_seen = held.map(|held| held.digest);
        });
    }

    /// The last known good version, with the announcement at which it served; the newest that still verifies.
    pub(crate) fn last_known_good(&self) -> Option<LoadedModel> {
        let mut found: Vec<(Generation, VersionEntry, Kept)> =
            self.cache.kept().into_iter().filter_map(|kept| self.dated(kept)).collect();
        found.sort_by_key(|(generation, ..)| std::cmp::Reverse(*generation));
        // Decoding one of these ended the process before: trying it again could do so at every start.
        let crashed: Vec<_> = self.cache.crashes().into_iter().map(|mark| mark.manifest).collect();
        found.retain(|(_, entry, _)| !crashed.contains(&entry.manifest));
        for (generation, entry, kept) in found {
            let loaded = self.open_kept(&kept, entry.manifest).and_then(|fetched| {
                let mark = DecodeMark { version: entry.version, manifest: entry.manifest };
                self.decode(self.verify(fetched)?, mark, generation, Origin::Kafka)
            });
            match loaded {
                Ok(loaded) => return Some(loaded),
                Err(refused) => {
                    let model = self.live.name();
                    warn!(%model, version = %entry.version, %refused, "last known good version not usable");
                }
            }
        }
        None
    }

    fn admit_and_keep(
        &mut self,
        fetched: FetchedBlob,
        entry: &VersionEntry,
        order: &Order,
    ) -> Result<LoadedModel, InstallError> {
        let (manifest, artifact) = fetched.parts();
        let verified = self.verify(fetched)?;
        self.make_room(order)?;
        let mark = DecodeMark { version: entry.version, manifest: entry.manifest };
        let loaded = self.decode(verified, mark, order.in_force.generation(), Origin::Kafka)?;
        if order.cancelled.load(Relaxed) {
            // It must not become the last known good one: something else was wanted before it could serve.
            self.live.slot().discard(loaded);
            return Err(FetchError::Cancelled.into());
        }
        self.keep(&manifest, &artifact, order)?;
        Ok(loaded)
    }

    fn fetch(
        &mut self,
        entry: &VersionEntry,
        order: &Order,
        local: LocalChunks,
    ) -> Result<FetchedBlob, FetchError> {
        let state = order.in_force.announcement.body.as_ref().ok();
        let inline =
            state.and_then(|state| state.inline.as_ref()).filter(|inline| inline.version == entry.version);
        let manifest = match inline {
            Some(Inline { manifest, .. }) => {
                open_manifest(manifest, entry.manifest, self.live.name(), &self.keys)?
            }
            None => self.fetcher.manifest(entry, &|| order.cancelled.load(Relaxed))?,
        };
        let accepted = self.policy.accept(manifest)?;
        if let Some(artifact) = inline.and_then(|inline| inline.artifact.clone()) {
            return Ok(accepted.with(Artifact::Memory(artifact)));
        }
        let (path, mut file, first) =
            self.cache.incoming(accepted.signed()).map_err(|error| store(&error))?;
        let total_bytes = accepted.signed().manifest().size_bytes;
        let watch = Watcher { live: &self.live, cancelled: &order.cancelled, local, total_bytes };
        // Then the loop says what is wrong, and goes on where this ended.
        let patience = Some(Instant::now() + FETCH_PATIENCE);
        self.fetcher.artifact(accepted.signed(), first, &mut file, &watch, patience)?;
        Ok(accepted.with(Artifact::File(path)))
    }

    pub(super) fn verify(&self, fetched: FetchedBlob) -> Result<VerifiedBlob, Refusal> {
        let verified = fetched.verify()?;
        self.phase(Phase::Verified);
        Ok(verified)
    }

    /// Waits until no model but the serving one is in memory.
    fn make_room(&self, order: &Order) -> Result<(), InstallError> {
        let until = Instant::now() + ROOM_DEADLINE;
        let made = self.live.slot().make_room(|| Instant::now() < until && !order.cancelled.load(Relaxed));
        match made {
            true => Ok(()),
            false if order.cancelled.load(Relaxed) => Err(FetchError::Cancelled.into()),
            false => Err(InstallError::NoRoom),
        }
    }

    /// The part of admission that runs the model's code, under a mark that outlives this process.
    pub(super) fn decode(
        &self,
        verified: VerifiedBlob,
        mark: DecodeMark,
        generation: Generation,
        origin: Origin,
    ) -> Result<LoadedModel, Refusal> {
        let marked =
            |error: std::io::Error| refusal(Stage::Fetch, &format!("cannot write its mark: {error}"));
        self.cache.begin_decode(mark).map_err(marked)?;
        let loaded = verified
            .decode(&self.policy)
            .inspect(|_| self.phase(Phase::Decoded))
            .and_then(crate::admission::DecodedModel::test)
            .inspect(|_| self.phase(Phase::Tested))
            .and_then(|tested| tested.load_from(mark.version, generation, origin));
        self.cache.end_decode().map_err(marked)?;
        loaded
    }

    fn keep(&self, manifest: &SignedManifest, artifact: &Artifact, order: &Order) -> Result<(), FetchError> {
        self.cache.keep(manifest, artifact, &order.in_force.bytes).map_err(|error| store(&error))?;
        let mut keep = self.serving();
        keep.push(manifest.digest());
        self.cache.prune(&keep);
        self.phase(Phase::Staged);
        Ok(())
    }

    /// Verifies what is on disk as if it came from the network.
    fn open_kept(&self, kept: &Kept, manifest: Digest) -> Result<FetchedBlob, Refusal> {
        let manifest = open_manifest(&kept.manifest, manifest, self.live.name(), &self.keys)?;
        Ok(self.policy.accept(manifest)?.with(kept.artifact.clone()))
    }

    /// When a version on disk served last, by the announcement beside it.
    fn dated(&self, kept: Kept) -> Option<(Generation, VersionEntry, Kept)> {
        let announcement = announcement::open(&kept.announcement, &self.keys).ok()?;
        let state = announcement.body.as_ref().ok()?;
        let entry = state.versions.iter().find(|entry| {
            open_manifest(&kept.manifest, entry.manifest, self.live.name(), &self.keys).is_ok()
        });
        let generation = announcement.frame.generation;
        Some((generation, entry?.clone(), kept))
    }

    fn local_chunks(&self) -> LocalChunks {
        let mut chunks = LocalChunks::default();
        for kept in self.cache.kept() {
            let opened = SignedManifest::open(kept.manifest, self.live.name(), &self.keys);
            if let Ok(manifest) = opened {
                chunks.add(&manifest, &kept.artifact);
            }
        }
        chunks
    }

    fn serving(&self) -> Vec<Digest> {
        self.live.load().map(|serving| serving.digest()).into_iter().collect()
    }

    fn phase(&self, phase: Phase) {
        self.live.update(|state| state.phase = phase);
    }
}

struct Watcher<'a> {
    live: &'a LiveModel,
    cancelled: &'a AtomicBool,
    local: LocalChunks,
    total_bytes: u64,
}

impl Watch for Watcher<'_> {
    fn progress(&self, done_bytes: u64) {
        let phase = Phase::Fetching { done_bytes, total_bytes: self.total_bytes };
        self.live.update(|state| state.phase = phase);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    fn local(&self, entry: &ChunkEntry) -> Option<Vec<u8>> {
        self.local.load(entry)
    }
}

/// Whether a refusal may be this machine's fault: bytes that are not the stated ones, or cannot be read.
fn is_damage(refused: &Refusal) -> bool {
    matches!(refused.stage, Stage::Digest | Stage::Fetch)
}

fn store(error: &std::io::Error) -> FetchError {
    FetchError::Store(error.to_string())
}

#[cfg(test)]
mod tests;
