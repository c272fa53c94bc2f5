//! Fetching manifests and artifacts from a model's blobs topic.
//!
//! Follows the offset hints of announcements and chunk tables; where a hint is wrong (a mirrored topic has other
//! offsets) it scans the topic once for the keys. Blocks: belongs on a thread that may.
//!
//! # Invariants
//! * Nothing is handed out whose digest was not checked.
//! * At most one chunk is in memory besides what librdkafka has queued.
//! * A broken connection resumes at the chunk where it broke off.

use std::{
    collections::HashMap,
    io::{self, Write},
    time::{Duration, Instant},
};

use modelcast_protocol::{
    Digest, ModelName,
    chunk::ChunkEntry,
    desired::VersionEntry,
    key::TrustedKeys,
    manifest::{ManifestError, SignedManifest},
    status::Stage,
    topic,
};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    admission::{Refusal, chain, refusal},
    kafka::{
        KafkaError,
        connect::Purpose,
        reader::{From, Read, Reader, Record},
    },
    settings::KafkaSettings,
};

/// How long one record may take.
const RECORD_DEADLINE: Duration = Duration::from_secs(20);
/// Pause before a broken connection is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Most records of a blobs topic that a scan indexes: some 100 MB of memory at the very worst.
const INDEX_MAX_RECORDS: usize = 1_000_000;

/// Why a version was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// What is there is not what was announced.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Kafka did not give it.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// It cannot be stored here.
    #[error("cannot store the artifact: {0}")]
    Store(String),
    /// Something newer is wanted.
    #[error("the fetch was cancelled: something newer is wanted")]
    Cancelled,
}

/// What a caller sees and decides while an artifact comes in.
pub(crate) trait Watch {
    /// Raw bytes there so far.
    fn progress(&self, done_bytes: u64);
    /// Whether to stop.
    fn is_cancelled(&self) -> bool;
    /// A chunk's raw bytes, if they are on this machine already.
    fn local(&self, entry: &ChunkEntry) -> Option<Vec<u8>>;
}

/// Reads one model's blobs topic; keeps its connection for the next version.
pub(crate) struct Fetcher {
    kafka: KafkaSettings,
    keys: TrustedKeys,
    model: ModelName,
    topic: String,
    reader: Option<Reader>,
    /// The offset that the reader gives next.
    position: Option<i64>,
    /// Where a scan found each key.
    index: Option<HashMap<Vec<u8>, Vec<i64>>>,
}

impl Fetcher {
    pub(crate) fn new(kafka: &KafkaSettings, keys: &TrustedKeys, model: &ModelName) -> Self {
        Self {
            kafka: kafka.clone(),
            keys: keys.clone(),
            model: model.clone(),
            topic: topic::blobs(&kafka.namespace, model).name,
            reader: None,
            position: None,
            index: None,
        }
    }

    /// The manifest that an announcement names, verified.
    pub(crate) fn manifest(&mut self, entry: &VersionEntry) -> Result<SignedManifest, FetchError> {
        self.index = None; // records may have come since the last version
        let (keys, model) = (self.keys.clone(), self.model.clone());
        self.find(entry.manifest, Some(entry.manifest_offset), "manifest", |value| {
            open_manifest(value, entry.manifest, &model, &keys)
        })
    }

    /// Writes the artifact of a verified manifest to `into`, from chunk `first` on; goes on where a broken connection
    /// broke off until `watch` cancels or `deadline` is over.
    pub(crate) fn artifact(
        &mut self,
        manifest: &SignedManifest,
        first: usize,
        into: &mut dyn Write,
        watch: &dyn Watch,
        deadline: Option<Instant>,
    ) -> Result<(), FetchError> {
        let entries = &manifest.manifest().chunks.entries;
        let mut done_bytes = entries.iter().take(first).map(|entry| u64::from(entry.raw_bytes)).sum();
        for entry in entries.iter().skip(first) {
            let raw = match watch.local(entry) {
                Some(raw) => raw,
                None => self.chunk(entry, watch, deadline)?,
            };
            into.write_all(&raw).map_err(|error: io::Error| FetchError::Store(error.to_string()))?;
            done_bytes += u64::from(entry.raw_bytes);
            watch.progress(done_bytes);
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        entry: &ChunkEntry,
        watch: &dyn Watch,
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, FetchError> {
        loop {
            if watch.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
            let found = self.find(entry.digest, entry.offset, "chunk", |value| {
                entry.load(value).map_err(|error| refusal(Stage::Digest, &error))
            });
            match found {
                Err(FetchError::Kafka(error))
                    if error.is_transient() && deadline.is_none_or(|deadline| Instant::now() < deadline) =>
                {
                    warn!(topic = self.topic, %error, "fetch interrupted, going on where it broke off");
                    self.reader = None;
                    std::thread::park_timeout(RETRY_PAUSE);
                }
                found => return found,
            }
        }
    }

    /// The record of a digest that `check` accepts: at the hint, else wherever a scan of the topic finds its key.
    fn find<T>(
        &mut self,
        digest: Digest,
        hint: Option<i64>,
        noun: &str,
        mut check: impl FnMut(&[u8]) -> Result<T, Refusal>,
    ) -> Result<T, FetchError> {
        let key = digest.to_hex().into_bytes();
        let mut damage = None;
        let mut tried = hint.filter(|_| self.index.is_none());
        if let Some(record) = tried.map(|offset| self.at(offset)).transpose()?.flatten()
            && record.key == key
        {
            match check(&record.value.unwrap_or_default()) {
                Ok(found) => return Ok(found),
                Err(refusal) => damage = Some(refusal),
            }
        } else {
            tried = None;
        }
        for offset in self.scanned(&key)? {
            if Some(offset) == tried {
                continue;
            }
            let value = self.at(offset)?.and_then(|record| record.value).unwrap_or_default();
            match check(&value) {
                Ok(found) => return Ok(found),
                Err(refusal) => damage = Some(refusal),
            }
        }
        let missing = || refusal(Stage::Fetch, &format!("{noun} {digest} is not in topic {}", self.topic));
        Err(damage.unwrap_or_else(missing).into())
    }

    /// The record at an offset, if the topic has one there.
    fn at(&mut self, offset: i64) -> Result<Option<Record>, FetchError> {
        let deadline = Instant::now() + RECORD_DEADLINE;
        let reader = self.reader_at(From::Offset(offset))?;
        let read = loop {
            match reader.read_until(deadline) {
                // Records of a transaction marker or of before the jump are passed over.
                Ok(Read::Record(record)) if record.offset < offset => {}
                read => break read,
            }
        };
        self.position = None;
        match read {
            Ok(Read::Record(record)) if record.offset == offset => {
                self.position = Some(offset + 1);
                Ok(Some(record))
            }
            Ok(_) | Err(KafkaError::OffsetGone { .. }) => Ok(None),
            Err(error) => {
                self.reader = None;
                Err(error.into())
            }
        }
    }

    /// Offsets of all records with a key; reads the whole topic the first time.
    fn scanned(&mut self, key: &[u8]) -> Result<Vec<i64>, FetchError> {
        if self.index.is_none() {
            info!(topic = self.topic, "offset hint does not hold, scanning the topic");
            let index = self.scan()?;
            self.index = Some(index);
        }
        Ok(self.index.as_ref().and_then(|index| index.get(key)).cloned().unwrap_or_default())
    }

    fn scan(&mut self) -> Result<HashMap<Vec<u8>, Vec<i64>>, FetchError> {
        self.position = None;
        let reader = self.reader_at(From::Beginning)?;
        let mut index: HashMap<Vec<u8>, Vec<i64>> = HashMap::new();
        for _ in 0..INDEX_MAX_RECORDS {
            match reader.read_until(Instant::now() + RECORD_DEADLINE)? {
                Read::Record(record) => index.entry(record.key).or_default().push(record.offset),
                Read::End | Read::Nothing => break,
            }
        }
        Ok(index)
    }

    /// The reader, about to give what `from` says.
    fn reader_at(&mut self, from: From) -> Result<&Reader, FetchError> {
        let stands_there = self.position.map(From::Offset) == Some(from);
        let reader = match self.reader.take() {
            Some(reader) => {
                if !stands_there {
                    reader.jump(from)?;
                }
                reader
            }
            None => Reader::open(&self.kafka, Purpose::Bulk, &self.topic, 1, from)?,
        };
        Ok(self.reader.insert(reader))
    }
}

/// Checks the bytes of a manifest: size, digest, signature, content, in this order.
pub(crate) fn open_manifest(
    bytes: &[u8],
    digest: Digest,
    model: &ModelName,
    keys: &TrustedKeys,
) -> Result<SignedManifest, Refusal> {
    let manifest = SignedManifest::open(bytes.to_vec(), model, keys).map_err(|error| {
        let stage = match &error {
            ManifestError::TooLarge { .. } => Stage::Size,
            ManifestError::Envelope(_) => Stage::Signature,
            ManifestError::Codec(_) | ManifestError::OtherModel { .. } => Stage::Manifest,
        };
        refusal(stage, &chain(&error))
    })?;
    if manifest.digest() != digest {
        let cause = format!("the manifest has digest {}, {digest} was announced", manifest.digest());
        return Err(refusal(Stage::Digest, &cause));
    }
    Ok(manifest)
}
