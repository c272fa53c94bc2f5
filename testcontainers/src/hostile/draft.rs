//! What a good publisher would send: the records of a version, on paper.
//!
//! Pure: it neither reads nor writes Kafka, so that what is done to the records can be tested without one.
//!
//! # Invariants
//! * Records drafted one after the other fit together: offsets, generations and predecessors go on from what is in
//!   force as if each had been written.

use modelcast::protocol::announcement::{self, Frame};
use modelcast::protocol::change::{Change, NewRole, NewVersion};
use modelcast::protocol::chunk::{ChunkTable, StoredChunk, store};
use modelcast::protocol::codec::Record as _;
use modelcast::protocol::desired::Stamp;
use modelcast::protocol::fold::InForce;
use modelcast::protocol::golden::GoldenRows;
use modelcast::protocol::key::{SigningKey, TrustedKeys};
use modelcast::protocol::manifest::{Lineage, Manifest};
use modelcast::protocol::schema::FeatureSchema;
use modelcast::protocol::status::{self, Status};
use modelcast::protocol::{Digest, Generation, ModelName, Namespace, topic};

use super::{HostileError, Kind, Record};

/// A version before it is drafted, open to damage that is then signed.
#[derive(Debug, Clone)]
pub struct Package {
    /// What is signed; the offsets of its chunks are set when it is drafted.
    pub manifest: Manifest,
    /// What is sent of the artifact; the key of a record is its entry's digest.
    pub chunks: Vec<StoredChunk>,
    /// Who signs the manifest.
    pub signing: SigningKey,
}

/// The next records of one model, on paper.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(super) namespace: Namespace,
    pub(super) model: ModelName,
    pub(super) signing: SigningKey,
    /// What the next announcement is computed from.
    pub(super) in_force: Option<InForce>,
    /// The offset of the next record in the model's blobs topic.
    pub(super) blobs_end: i64,
}

impl Package {
    /// A version whose artifact is cut into these pieces, one chunk each.
    #[must_use]
    pub fn of(
        model: &ModelName,
        format: &str,
        pieces: &[&[u8]],
        schema: FeatureSchema,
        golden: GoldenRows,
        signing: &SigningKey,
    ) -> Self {
        let chunks: Vec<_> = pieces.iter().map(|piece| store(piece)).collect();
        let artifact = pieces.concat();
        let manifest = Manifest {
            v: Manifest::VERSION,
            model: model.clone(),
            format: format.to_owned(),
            required_features: vec![],
            size_bytes: artifact.len() as u64,
            artifact: Digest::of(&artifact),
            chunks: ChunkTable { entries: chunks.iter().map(|chunk| chunk.entry).collect() },
            schema,
            golden,
            lineage: Lineage::default(),
            metrics: [].into(),
        };
        Self { manifest, chunks, signing: signing.clone() }
    }

    /// Puts another artifact in its place, in one chunk.
    pub fn hold(&mut self, format: &str, artifact: &[u8]) {
        let chunk = store(artifact);
        self.manifest.format = format.to_owned();
        self.manifest.chunks = ChunkTable { entries: vec![chunk.entry] };
        self.manifest.size_bytes = artifact.len() as u64;
        self.manifest.artifact = Digest::of(artifact);
        self.chunks = vec![chunk];
    }
}

impl Draft {
    /// The first records of a model that nothing was written for.
    #[must_use]
    pub fn founding(namespace: &Namespace, model: &ModelName, signing: &SigningKey) -> Self {
        let (namespace, model) = (namespace.clone(), model.clone());
        Self { namespace, model, signing: signing.clone(), in_force: None, blobs_end: 0 }
    }

    /// The same with announcements signed by another key.
    #[must_use]
    pub fn signed_by(&self, signing: &SigningKey) -> Self {
        Self { signing: signing.clone(), ..self.clone() }
    }

    /// The generation that the last announcement drafted has, or the one in force.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.in_force.as_ref().map_or(Generation::ZERO, InForce::generation)
    }

    /// Chunks, manifest and announcement of a version that becomes the champion, whatever it is like.
    ///
    /// # Errors
    /// [`HostileError::Codec`], [`HostileError::Change`] or [`HostileError::Announcement`] for what cannot be written.
    pub fn version(&mut self, package: &Package) -> Result<Vec<Record>, HostileError> {
        let mut manifest = package.manifest.clone();
        let mut records = Vec::with_capacity(package.chunks.len() + 2);
        for (place, chunk) in package.chunks.iter().enumerate() {
            if let Some(entry) = manifest.chunks.entries.get_mut(place) {
                entry.offset = Some(self.blobs_end);
            }
            records.push(self.blob(Kind::Chunk, chunk.entry.digest, &chunk.bytes));
        }
        let artifact = manifest.artifact;
        let signed = manifest.sign(&package.signing)?;
        let manifest_offset = self.blobs_end;
        records.push(self.blob(Kind::Manifest, signed.digest(), signed.bytes()));
        let change = Change::Publish(NewVersion {
            manifest: signed.digest(),
            manifest_offset,
            artifact,
            inline_manifest: None,
            inline_artifact: None,
            role: NewRole::Champion,
        });
        records.push(self.change(&change)?);
        Ok(records)
    }

    /// The announcement of a change at the next generation.
    ///
    /// # Errors
    /// [`HostileError::Change`] for one that makes no sense, and those of what cannot be signed.
    pub fn change(&mut self, change: &Change) -> Result<Record, HostileError> {
        let before = self.in_force.as_ref();
        let body =
            before.map(|before| before.announcement.body.as_ref().map_err(Clone::clone)).transpose()?;
        let stamp = Stamp { author: "signer".into(), reason: "a story".into(), at_unix_ms: 0 };
        let state = change.apply(body, &stamp, rand::random())?;
        let generation = self.generation();
        let frame = Frame {
            namespace: self.namespace.clone(),
            model: self.model.clone(),
            generation: generation.next().ok_or(HostileError::Generation(generation.get()))?,
            recent: before.map_or_else(Vec::new, InForce::recent_for_next),
        };
        let bytes = frame.seal(&state, &self.signing)?.bytes;
        let announcement = announcement::open(&bytes, &TrustedKeys::new([self.signing.public()])?)?;
        self.in_force = Some(InForce { announcement, offset: 0, bytes: bytes.clone() });
        Ok(Record {
            kind: Kind::Announcement,
            topic: topic::announcements(&self.namespace).name,
            partition: 0,
            key: self.model.as_str().into(),
            value: Some(bytes),
        })
    }

    /// An instance's report, whoever writes it.
    ///
    /// # Errors
    /// [`HostileError::Codec`] for one that no instance could send.
    pub fn status(&self, status: &Status) -> Result<Record, HostileError> {
        let (topic, key) = (topic::fleet(&self.namespace), status.key());
        Ok(Record {
            kind: Kind::Status,
            partition: status::partition(&key, topic.partitions),
            topic: topic.name,
            key: key.into(),
            value: Some(status.encode()?),
        })
    }

    fn blob(&mut self, kind: Kind, digest: Digest, value: &[u8]) -> Record {
        self.blobs_end += 1;
        Record {
            kind,
            topic: topic::blobs(&self.namespace, &self.model).name,
            partition: 0,
            key: digest.to_hex().into(),
            value: Some(value.to_vec()),
        }
    }
}
