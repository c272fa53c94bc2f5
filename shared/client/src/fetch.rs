//! Fetching manifests and artifacts from a model's blobs topic.
//!
//! Follows the offset hints of announcements and chunk tables; where a hint is wrong (a mirrored topic has other
//! offsets) it scans the topic for the keys: once for a manifest, once for all chunks of an artifact. Blocks: belongs
//! on a thread that may.
//!
//! # Invariants
//! * Nothing read from the topic is handed out whose digest was not checked. What [`Watch::local`] gives is, with the
//!   whole artifact, in admission.
//! * At most six records are in memory besides what librdkafka has queued.
//! * A broken connection resumes at the chunk where it broke off; once one was too slow for a large answer, or broke
//!   before its end, all further answers are small.

use std::{
    collections::{HashMap, HashSet},
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
    admission::{Refusal, refusal},
    kafka::{
        KafkaError,
        connect::Purpose,
        reader::{From, Read, Reader, Record},
    },
    settings::KafkaSettings,
    with_causes,
};

/// How long one record may take.
const RECORD_DEADLINE: Duration = Duration::from_secs(20);
/// How soon a fetch that is not wanted any more ends.
const LOOK: Duration = Duration::from_millis(250);
/// Records before a manifest that are read with it: at most some 4 MB.
const AHEAD_RECORDS: i64 = 4;
/// Pause before a broken connection is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Most places of records that a scan remembers: 8 MB, whatever somebody writes into the topic.
const PLACES_MAX: usize = 1_000_000;

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

/// Nobody looks on, nothing is on this machine.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn progress(&self, _: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }

    fn local(&self, _: &ChunkEntry) -> Option<Vec<u8>> {
        None
    }
}

/// Reads one model's blobs topic; keeps its connection for the next version.
pub(crate) struct Fetcher {
    kafka: KafkaSettings,
    keys: TrustedKeys,
    model: ModelName,
    topic: String,
    reader: Option<Reader>,
    /// [`Purpose::Bulk`] until an answer did not come through.
    purpose: Purpose,
    /// The offset that the reader gives next.
    position: Option<i64>,
    /// The records before the manifest, and it: the chunks of a small artifact are among them.
    ahead: Vec<Record>,
    /// The keys that a scan looks for.
    wanted: HashSet<Vec<u8>>,
    /// Where a scan found them.
    places: Option<Places>,
}

/// Where the records of wanted keys stand. Other keys are not remembered: anybody who may write to the topic
/// chooses them.
#[derive(Default)]
struct Places {
    offsets: HashMap<Vec<u8>, Vec<i64>>,
    count: usize,
}

/// Whether the caller wants no more.
type Stop<'a> = &'a dyn Fn() -> bool;

impl Fetcher {
    pub(crate) fn new(kafka: &KafkaSettings, keys: &TrustedKeys, model: &ModelName) -> Self {
        Self {
            kafka: kafka.clone(),
            keys: keys.clone(),
            model: model.clone(),
            topic: topic::blobs(&kafka.namespace, model).name,
            reader: None,
            purpose: Purpose::Bulk,
            position: None,
            ahead: Vec::new(),
            wanted: HashSet::new(),
            places: None,
        }
    }

    /// The manifest that an announcement names, verified.
    pub(crate) fn manifest(
        &mut self,
        entry: &VersionEntry,
        stop: Stop<'_>,
    ) -> Result<SignedManifest, FetchError> {
        self.manifest_and_offset(entry, stop).map(|(manifest, _)| manifest)
    }

    /// The same with the offset at which it stands.
    pub(crate) fn manifest_and_offset(
        &mut self,
        entry: &VersionEntry,
        stop: Stop<'_>,
    ) -> Result<(SignedManifest, i64), FetchError> {
        match self.find_manifest(entry, stop) {
            Err(FetchError::Kafka(error)) if self.purpose == Purpose::Bulk && self.slow_down(&error) => {
                self.find_manifest(entry, stop)
            }
            found => found,
        }
    }

    fn find_manifest(
        &mut self,
        entry: &VersionEntry,
        stop: Stop<'_>,
    ) -> Result<(SignedManifest, i64), FetchError> {
        self.want([entry.manifest]);
        self.read_ahead(entry.manifest_offset, stop)?;
        let (keys, model) = (self.keys.clone(), self.model.clone());
        self.find(entry.manifest, Some(entry.manifest_offset), "manifest", stop, |value| {
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
        self.want(entries.iter().map(|entry| entry.digest));
        let mut done_bytes = entries.iter().take(first).map(|entry| u64::from(entry.raw_bytes)).sum();
        for entry in entries.iter().skip(first) {
            if watch.is_cancelled() {
                return Err(FetchError::Cancelled);
            }
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

    /// The chunks of a verified manifest that the topic does not have, or has damaged.
    pub(crate) fn missing(&mut self, manifest: &SignedManifest) -> Result<HashSet<Digest>, FetchError> {
        let entries = &manifest.manifest().chunks.entries;
        self.want(entries.iter().map(|entry| entry.digest));
        let deadline = Some(Instant::now() + RECORD_DEADLINE);
        let mut missing = HashSet::new();
        for entry in entries {
            match self.chunk(entry, &Unwatched, deadline) {
                Ok(_) => {}
                Err(FetchError::Refused(_)) => {
                    missing.insert(entry.digest);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    /// Reads the records that stand right before an offset, and the one there: a publisher sends the manifest after its
    /// chunks, so that one jump does for a small artifact instead of two.
    fn read_ahead(&mut self, offset: i64, stop: Stop<'_>) -> Result<(), FetchError> {
        self.ahead.clear();
        self.position = None;
        let from = offset.saturating_sub(AHEAD_RECORDS).max(0);
        let mut ahead = Vec::new();
        let reader = self.reader_at(From::Offset(from))?;
        let read = loop {
            match next(reader, stop) {
                Ok(Read::Record(record)) if record.offset < offset => ahead.push(record),
                read => break read,
            }
        };
        match read {
            Ok(Read::Record(record)) => {
                self.position = Some(record.offset + 1);
                ahead.push(record);
            }
            // Hints that do not hold are found out one by one.
            Ok(_) | Err(FetchError::Kafka(KafkaError::OffsetGone { .. })) => {}
            Err(error) => {
                self.reader = None;
                return Err(error);
            }
        }
        self.ahead = ahead;
        Ok(())
    }

    /// Holds nothing in memory until the next fetch, and fetches nothing ahead.
    pub(crate) fn rest(&mut self) {
        self.want([]);
        self.ahead = Vec::new();
        self.position = None;
        self.reader.take_if(|reader| reader.rest().is_err());
    }

    fn chunk(
        &mut self,
        entry: &ChunkEntry,
        watch: &dyn Watch,
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, FetchError> {
        let stop = || watch.is_cancelled();
        let mut told = false;
        loop {
            let found = self.find(entry.digest, entry.offset, "chunk", &stop, |value| {
                entry.load(value).map_err(|error| refusal(Stage::Digest, &error))
            });
            match found {
                Err(FetchError::Kafka(error))
                    if error.is_transient() && deadline.is_none_or(|deadline| Instant::now() < deadline) =>
                {
                    if !std::mem::replace(&mut told, true) {
                        warn!(topic = self.topic, %error, "fetch interrupted, going on where it broke off");
                    }
                    self.slow_down(&error);
                    std::thread::park_timeout(RETRY_PAUSE);
                }
                Err(FetchError::Kafka(error)) => {
                    self.slow_down(&error);
                    return Err(error.into());
                }
                found => return found.map(|(raw, _)| raw),
            }
            if stop() {
                return Err(FetchError::Cancelled);
            }
        }
    }

    /// Connects anew for what comes next; gives whether it asks for less at once because of this error.
    fn slow_down(&mut self, error: &KafkaError) -> bool {
        self.reader = None;
        let is_slow = matches!(error, KafkaError::Transient { .. } | KafkaError::Unreachable { .. });
        if is_slow {
            self.purpose = Purpose::Trickle;
        }
        is_slow
    }

    /// What a scan looks for from now on; what an earlier one found is forgotten, since records may have come since.
    fn want(&mut self, digests: impl IntoIterator<Item = Digest>) {
        self.wanted = digests.into_iter().map(key).collect();
        self.places = None;
    }

    /// The record of a digest that `check` accepts, with its offset: at the hint, else wherever a scan of the topic
    /// finds its key.
    fn find<T>(
        &mut self,
        digest: Digest,
        hint: Option<i64>,
        noun: &str,
        stop: Stop<'_>,
        mut check: impl FnMut(&[u8]) -> Result<T, Refusal>,
    ) -> Result<(T, i64), FetchError> {
        let key = key(digest);
        let mut damage = None;
        // No topic has a negative offset, and librdkafka takes some of them for words.
        let mut tried = hint.filter(|&offset| offset >= 0 && self.places.is_none());
        let hinted = tried.map(|offset| self.at(offset, stop)).transpose()?.flatten();
        if let Some(record) = hinted.filter(|record| record.key == key) {
            match check(&record.value.unwrap_or_default()) {
                Ok(found) => return Ok((found, record.offset)),
                Err(refusal) => damage = Some(refusal),
            }
        } else {
            tried = None;
        }
        for offset in self.scanned(&key, stop)? {
            if Some(offset) == tried {
                continue;
            }
            let value = self.at(offset, stop)?.and_then(|record| record.value).unwrap_or_default();
            match check(&value) {
                Ok(found) => return Ok((found, offset)),
                Err(refusal) => damage = Some(refusal),
            }
        }
        let missing = || refusal(Stage::Fetch, &format!("{noun} {digest} is not in topic {}", self.topic));
        Err(damage.unwrap_or_else(missing).into())
    }

    /// The record at an offset, if the topic has one there.
    fn at(&mut self, offset: i64, stop: Stop<'_>) -> Result<Option<Record>, FetchError> {
        if let Some(record) = self.ahead.iter().find(|record| record.offset == offset) {
            return Ok(Some(record.clone()));
        }
        let reader = self.reader_at(From::Offset(offset))?;
        let read = loop {
            match next(reader, stop) {
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
            Ok(_) | Err(FetchError::Kafka(KafkaError::OffsetGone { .. })) => Ok(None),
            Err(error) => {
                self.reader = None;
                Err(error)
            }
        }
    }

    /// Offsets of all records with a wanted key; reads the whole topic the first time.
    fn scanned(&mut self, key: &[u8], stop: Stop<'_>) -> Result<Vec<i64>, FetchError> {
        if self.places.is_none() {
            info!(topic = self.topic, "offset hint does not hold, scanning the topic");
            let places = self.scan(stop)?;
            self.places = Some(places);
        }
        let places = self.places.as_ref();
        Ok(places.and_then(|places| places.offsets.get(key)).cloned().unwrap_or_default())
    }

    fn scan(&mut self, stop: Stop<'_>) -> Result<Places, FetchError> {
        self.position = None;
        let wanted = std::mem::take(&mut self.wanted);
        let scanned = self.reader_at(From::Beginning).and_then(|reader| {
            let mut places = Places::default();
            while let Read::Record(record) = next(reader, stop)? {
                places.take(&wanted, &record.key, record.offset);
            }
            Ok(places)
        });
        self.wanted = wanted;
        scanned
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
            None => Reader::open(&self.kafka, self.purpose, &self.topic, 1, from)?,
        };
        Ok(self.reader.insert(reader))
    }
}

impl Places {
    /// Remembers a record if it is wanted; of too many, the first.
    fn take(&mut self, wanted: &HashSet<Vec<u8>>, key: &[u8], offset: i64) {
        if self.count < PLACES_MAX && wanted.contains(key) {
            self.count += 1;
            self.offsets.entry(key.to_vec()).or_default().push(offset);
        }
    }
}

/// The key of a digest's record.
fn key(digest: Digest) -> Vec<u8> {
    digest.to_hex().into_bytes()
}

/// The next record, or the end, unless the caller wants no more.
fn next(reader: &Reader, stop: Stop<'_>) -> Result<Read, FetchError> {
    let deadline = Instant::now() + RECORD_DEADLINE;
    loop {
        if stop() {
            return Err(FetchError::Cancelled);
        }
        match reader.read(LOOK)? {
            Read::Nothing if Instant::now() >= deadline => {
                let what = format!("reading topic {}", reader.topic());
                return Err(KafkaError::Transient { what, cause: "no answer in time".into() }.into());
            }
            Read::Nothing => {}
            read => return Ok(read),
        }
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
        refusal(stage, &with_causes(&error))
    })?;
    if manifest.digest() != digest {
        let cause = format!("the manifest has digest {}, {digest} was announced", manifest.digest());
        return Err(refusal(Stage::Digest, &cause));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_remembers_wanted_keys_only() {
        let (wanted, other) = (key(Digest::of(b"wanted")), key(Digest::of(b"other")));
        let asked = HashSet::from([wanted.clone()]);
        let mut places = Places::default();
        places.take(&asked, &wanted, 3);
        places.take(&asked, &other, 4);
        places.take(&asked, &vec![b'x'; 900_000], 5);
        places.take(&asked, &wanted, 6);
        assert_eq!(places.offsets, HashMap::from([(wanted, vec![3, 6])]));
    }
}
