//! Reading what is published: announcements in force, manifests, whole versions, verified as a subscriber would.
//!
//! Needs no private key. Changes nothing.

mod champions;

use std::{
    collections::VecDeque,
    fs::File,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use modelcast_protocol::{
    Generation, ModelName,
    announcement::Announcement,
    chunk::ChunkEntry,
    desired::VersionEntry,
    fold::{Fold, InForce, Step},
    key::TrustedKeys,
    manifest::SignedManifest,
    status::Phase,
    topic,
};

pub use self::champions::Champion;
use crate::{
    admission::Policy,
    announcements::{AnnouncementLog, Look},
    artifact::Artifact,
    embedded::layout::Layout,
    fetch::{FetchError, Fetcher, Watch},
    kafka::{KafkaError, connect, connect::Purpose, topics},
    loaded::{LoadedModel, Origin},
    settings::KafkaSettings,
};

/// How long reading the announcements may take.
pub(crate) const LOG_DEADLINE: Duration = Duration::from_secs(30);
/// How long a version may take to come in, before its connection is given up.
const VERSION_DEADLINE: Duration = Duration::from_secs(600);
/// Most announcements of a model's history that are kept in memory.
const HISTORY_MAX: usize = 1_000;
/// Artifacts up to this size are kept in memory while they are verified.
const MEMORY_MAX_BYTES: u64 = 1024 * 1024;

/// Reads what is published in one namespace; cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    kafka: KafkaSettings,
    keys: TrustedKeys,
}

/// Hears the phases that a version passes through while it is verified.
pub type OnPhase = Arc<dyn Fn(Phase) + Send + Sync>;

impl Catalog {
    /// Makes contact with Kafka and checks the topics of announcements and statuses.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] when no broker answers within 6 s; [`KafkaError::Property`] for a property that
    /// librdkafka does not take; [`KafkaError::MissingTopic`] and [`KafkaError::WrongTopic`].
    pub async fn connect(kafka: &KafkaSettings, keys: &TrustedKeys) -> Result<Self, KafkaError> {
        let settings = kafka.clone();
        blocking("the first contact", move || connect::contact(&settings)).await?;
        let specs = [topic::announcements(&kafka.namespace), topic::fleet(&kafka.namespace)];
        topics::check(kafka, &specs).await?;
        Ok(Self { kafka: kafka.clone(), keys: keys.clone() })
    }

    pub(crate) fn kafka(&self) -> &KafkaSettings {
        &self.kafka
    }

    pub(crate) fn keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Reads all announcements to their end.
    ///
    /// # Errors
    /// [`KafkaError`] when they cannot be read.
    pub async fn fold(&self) -> Result<Fold, KafkaError> {
        Ok(self.log().await?.fold().clone())
    }

    /// The announcement in force of a model.
    ///
    /// # Errors
    /// [`KafkaError`] when the announcements cannot be read.
    pub async fn in_force(&self, model: &ModelName) -> Result<Option<InForce>, KafkaError> {
        Ok(self.log().await?.fold().in_force(model).cloned())
    }

    /// The announcements in force, with those of one model that took force before: oldest first, the last 1,000 that
    /// the log still has.
    ///
    /// # Errors
    /// [`KafkaError`] when the announcements cannot be read.
    pub async fn history(&self, model: &ModelName) -> Result<(Fold, Vec<Announcement>), KafkaError> {
        let (kafka, keys, model) = (self.kafka.clone(), self.keys.clone(), model.clone());
        blocking("reading the announcements", move || {
            let mut log = AnnouncementLog::open(&kafka, &keys, Purpose::Scan)?;
            let mut history = VecDeque::new();
            let deadline = Instant::now() + LOG_DEADLINE;
            loop {
                match log.look_until(deadline)? {
                    Look::End => return Ok((log.fold().clone(), history.into())),
                    Look::Record(Step::TookForce(of)) if of == model => {
                        history.extend(log.fold().in_force(&of).map(|now| now.announcement.clone()));
                        if history.len() > HISTORY_MAX {
                            history.pop_front();
                        }
                    }
                    Look::Record(_) | Look::Nothing => {}
                }
            }
        })
        .await
    }

    /// The manifest of a version, its signature verified.
    ///
    /// # Errors
    /// [`FetchError`] when it cannot be had or is not what was announced.
    pub async fn manifest(
        &self,
        model: &ModelName,
        entry: &VersionEntry,
    ) -> Result<SignedManifest, FetchError> {
        let mut fetcher = Fetcher::new(&self.kafka, &self.keys, model);
        let entry = entry.clone();
        blocking("fetching a manifest", move || fetcher.manifest(&entry, &|| false)).await
    }

    /// Fetches a whole version and admits it as a subscriber would.
    ///
    /// # Errors
    /// [`FetchError`] with the stage that refuses it, or what kept it from being read.
    pub async fn version(
        &self,
        model: &ModelName,
        entry: &VersionEntry,
        generation: Generation,
        policy: &Policy,
        on_phase: OnPhase,
    ) -> Result<LoadedModel, FetchError> {
        let fetcher = Fetcher::new(&self.kafka, &self.keys, model);
        let (entry, policy) = (entry.clone(), policy.clone());
        blocking("verifying a version", move || version(fetcher, &entry, generation, &policy, &on_phase))
            .await
    }

    /// Writes a version as an embedded file: the announcement in force, which names it, its manifest and its artifact.
    /// Whoever wrote it opens it as [`Embedded`](crate::Embedded), and so learns whether it is good.
    ///
    /// # Errors
    /// [`FetchError`] when it cannot be had, is not what was announced, or cannot be written.
    pub async fn pull(
        &self,
        in_force: &InForce,
        entry: &VersionEntry,
        to: File,
        on_phase: OnPhase,
    ) -> Result<(), FetchError> {
        let fetcher = Fetcher::new(&self.kafka, &self.keys, &in_force.announcement.frame.model);
        let (announcement, entry) = (in_force.bytes.clone(), entry.clone());
        blocking("pulling a version", move || pull(fetcher, &announcement, &entry, to, &on_phase)).await
    }

    pub(crate) async fn log(&self) -> Result<AnnouncementLog, KafkaError> {
        let (kafka, keys) = (self.kafka.clone(), self.keys.clone());
        blocking("reading the announcements", move || {
            AnnouncementLog::read_whole(&kafka, &keys, Instant::now() + LOG_DEADLINE)
        })
        .await
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T, E>(
    what: &str,
    run: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<KafkaError> + Send + 'static,
{
    tokio::task::spawn_blocking(run).await.unwrap_or_else(|error| {
        Err(KafkaError::Transient { what: what.to_owned(), cause: error.to_string() }.into())
    })
}

fn version(
    mut fetcher: Fetcher,
    entry: &VersionEntry,
    generation: Generation,
    policy: &Policy,
    on_phase: &OnPhase,
) -> Result<LoadedModel, FetchError> {
    on_phase(Phase::Seen);
    let accepted = policy.accept(fetcher.manifest(entry, &|| false)?)?;
    let total_bytes = accepted.signed().manifest().size_bytes;
    let watch = Watcher { on_phase, total_bytes };
    let deadline = Some(Instant::now() + VERSION_DEADLINE);
    let store = |error: std::io::Error| FetchError::Store(error.to_string());
    // Removed when the version was verified; an open file of no name would do, but a decoder wants a stream.
    let folder = tempfile::tempdir().map_err(store)?;
    let artifact = if total_bytes <= MEMORY_MAX_BYTES {
        let mut bytes = Vec::new();
        fetcher.artifact(accepted.signed(), 0, &mut bytes, &watch, deadline)?;
        Artifact::Memory(bytes)
    } else {
        let path = folder.path().join("artifact");
        let mut file = File::create(&path).map_err(store)?;
        fetcher.artifact(accepted.signed(), 0, &mut file, &watch, deadline)?;
        file.flush().map_err(store)?;
        Artifact::File(path)
    };
    let fetched = accepted.with(artifact);
    Ok(fetched.admit(policy, entry.version, generation, Origin::Kafka, &|phase| on_phase(phase))?)
}

fn pull(
    mut fetcher: Fetcher,
    announcement: &[u8],
    entry: &VersionEntry,
    mut to: File,
    on_phase: &OnPhase,
) -> Result<(), FetchError> {
    let manifest = fetcher.manifest(entry, &|| false)?;
    let total_bytes = manifest.manifest().size_bytes;
    let layout = Layout::of(announcement, manifest.bytes(), total_bytes);
    let header = layout.map_err(|error| FetchError::Store(error.to_string()))?.encode();
    let store = |error: std::io::Error| FetchError::Store(error.to_string());
    for part in [&header, announcement, manifest.bytes()] {
        to.write_all(part).map_err(store)?;
    }
    let watch = Watcher { on_phase, total_bytes };
    fetcher.artifact(&manifest, 0, &mut to, &watch, Some(Instant::now() + VERSION_DEADLINE))?;
    to.flush().map_err(store)
}

struct Watcher<'a> {
    on_phase: &'a OnPhase,
    total_bytes: u64,
}

impl Watch for Watcher<'_> {
    fn progress(&self, done_bytes: u64) {
        (self.on_phase)(Phase::Fetching { done_bytes, total_bytes: self.total_bytes });
    }

    fn is_cancelled(&self) -> bool {
        false
    }

    fn local(&self, _: &ChunkEntry) -> Option<Vec<u8>> {
        None
    }
}
