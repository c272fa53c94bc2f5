//! Bringing one version from the log, or from disk, to a loaded model: fetch, admit, keep.
//!
//! Blocks: runs on a thread that may. Does not decide which version, and does not swap.
//!
//! # Invariants
//! * The model that served before the serving one leaves memory before the next is decoded.
//! * A version is on disk, synced, before it is handed out: what serves can be served again after a crash.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use modelcast_protocol::{
    Digest, Generation,
    chunk::ChunkEntry,
    desired::{Inline, VersionEntry},
    fold::InForce,
    key::TrustedKeys,
    manifest::SignedManifest,
    status::{Phase, Stage},
};
use tracing::warn;

use super::cache::{Cache, DecodeMark, Kept, LocalChunks};
use crate::{
    admission::{AcceptedManifest, FetchedBlob, Policy, Refusal, refusal},
    artifact::Artifact,
    fetch::{FetchError, Fetcher, Watch, open_manifest},
    live::LiveModel,
    loaded::LoadedModel,
};

/// How long readers may hold on to the model that leaves memory.
const ROOM_DEADLINE: Duration = Duration::from_secs(30);

/// Installs the versions of one model; goes to a blocking thread and back.
pub(crate) struct Installer {
    pub(crate) live: LiveModel,
    pub(crate) policy: Policy,
    pub(crate) keys: TrustedKeys,
    pub(crate) cache: Cache,
    pub(crate) fetcher: Fetcher,
}

/// A version to install.
pub(crate) struct Order {
    pub(crate) entry: VersionEntry,
    /// The announcement that wants it.
    pub(crate) in_force: Arc<InForce>,
    /// Set when something newer is wanted.
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Installer {
    /// Fetches what is not on disk, admits it, and keeps it.
    pub(crate) fn install(&mut self, order: &Order) -> Result<LoadedModel, FetchError> {
        self.cache.drop_incoming(Some(order.entry.manifest));
        let fetched = match self.cache.find(order.entry.manifest) {
            Some(kept) => self.open_kept(&kept, order.entry.manifest),
            None => Err(refusal(Stage::Fetch, &"not on disk")),
        };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(_) => self.fetch(order)?,
        };
        let (manifest, artifact) = fetched.parts();
        let loaded = match self.admit(fetched, order) {
            Err(refused) if refused.stage == Stage::Digest => {
                // A file that came in over a restart may be a mix; what comes fresh decides.
                self.cache.drop_incoming(None);
                self.cache.prune(&self.serving());
                let fetched = self.fetch(order)?;
                return self.admit_and_keep(fetched, order);
            }
            admitted => admitted?,
        };
        self.keep(&manifest, &artifact, order)?;
        Ok(loaded)
    }

    /// The last known good version, with the announcement at which it served; the newest that still verifies.
    pub(crate) fn last_known_good(&self) -> Option<LoadedModel> {
        let mut found: Vec<(Generation, VersionEntry, Kept)> =
            self.cache.kept().into_iter().filter_map(|kept| self.dated(kept)).collect();
        found.sort_by_key(|(generation, ..)| std::cmp::Reverse(*generation));
        for (generation, entry, kept) in found {
            let loaded = self.open_kept(&kept, entry.manifest).and_then(|fetched| {
                let mark = DecodeMark { version: entry.version, manifest: entry.manifest };
                self.decode(fetched, mark, generation)
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

    fn admit_and_keep(&mut self, fetched: FetchedBlob, order: &Order) -> Result<LoadedModel, FetchError> {
        let (manifest, artifact) = fetched.parts();
        let loaded = self.admit(fetched, order)?;
        self.keep(&manifest, &artifact, order)?;
        Ok(loaded)
    }

    fn fetch(&mut self, order: &Order) -> Result<FetchedBlob, FetchError> {
        let inline = order
            .in_force
            .announcement
            .body
            .as_ref()
            .ok()
            .and_then(|state| state.inline.as_ref())
            .filter(|inline| inline.version == order.entry.version);
        let manifest = match inline {
            Some(Inline { manifest, .. }) => {
                open_manifest(manifest, order.entry.manifest, self.live.name(), &self.keys)?
            }
            None => self.fetcher.manifest(&order.entry)?,
        };
        let accepted = self.policy.accept(manifest)?;
        if let Some(artifact) = inline.and_then(|inline| inline.artifact.clone()) {
            return Ok(accepted.with(Artifact::Memory(artifact)));
        }
        let (path, mut file, first) =
            self.cache.incoming(accepted.signed()).map_err(|error| store(&error))?;
        let watch = Watcher {
            live: &self.live,
            cancelled: &order.cancelled,
            local: self.local_chunks(),
            total_bytes: accepted.signed().manifest().size_bytes,
        };
        self.fetcher.artifact(accepted.signed(), first, &mut file, &watch, None)?;
        Ok(accepted.with(Artifact::File(path)))
    }

    fn admit(&self, fetched: FetchedBlob, order: &Order) -> Result<LoadedModel, Refusal> {
        let mark = DecodeMark { version: order.entry.version, manifest: order.entry.manifest };
        self.decode(fetched, mark, order.in_force.generation())
    }

    /// The part of admission that runs the model's code, under a mark that outlives this process.
    fn decode(
        &self,
        fetched: FetchedBlob,
        mark: DecodeMark,
        generation: Generation,
    ) -> Result<LoadedModel, Refusal> {
        let verified = fetched.verify()?;
        self.phase(Phase::Verified);
        if !self.live.slot().make_room(ROOM_DEADLINE) {
            warn!(model = %self.live.name(), "a reader still holds a model that was replaced long ago");
        }
        let marked =
            |error: std::io::Error| refusal(Stage::Fetch, &format!("cannot write its mark: {error}"));
        self.cache.begin_decode(mark).map_err(marked)?;
        let loaded = verified
            .decode(&self.policy)
            .inspect(|_| self.phase(Phase::Decoded))
            .and_then(crate::admission::DecodedModel::test)
            .inspect(|_| self.phase(Phase::Tested))
            .and_then(|tested| tested.load(mark.version, generation));
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
        Ok(self.accept(manifest)?.with(kept.artifact.clone()))
    }

    fn accept(&self, manifest: SignedManifest) -> Result<AcceptedManifest, Refusal> {
        self.policy.accept(manifest)
    }

    /// When a version on disk served last, by the announcement beside it.
    fn dated(&self, kept: Kept) -> Option<(Generation, VersionEntry, Kept)> {
        let announcement = modelcast_protocol::announcement::open(&kept.announcement, &self.keys).ok()?;
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

fn store(error: &std::io::Error) -> FetchError {
    FetchError::Store(error.to_string())
}
