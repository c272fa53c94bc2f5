//! A signer with the right key that writes what no publisher of ours would: records made by hand, straight to Kafka.
//!
//! # Invariants
//! * What a test does not change is as a publisher makes it: undamaged, a [`Package`] goes live.

use std::time::Duration;

use modelcast::Catalog;
use modelcast::protocol::announcement::Frame;
use modelcast::protocol::change::{Change, NewRole, NewVersion};
use modelcast::protocol::chunk::{ChunkTable, StoredChunk, store};
use modelcast::protocol::codec::Record as _;
use modelcast::protocol::fold::InForce;
use modelcast::protocol::key::SigningKey;
use modelcast::protocol::manifest::{Lineage, Manifest};
use modelcast::protocol::{Digest, Generation, topic};
use modelcast::settings::KafkaSettings;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::linear;
use super::scene::{Scene, model};

const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// A version before it is sent, open to damage.
pub(crate) struct Package {
    pub(crate) manifest: Manifest,
    /// What is sent of the artifact; the key of a record is its entry's digest.
    pub(crate) chunks: Vec<StoredChunk>,
    /// Who signs the manifest.
    pub(crate) signing: SigningKey,
}

impl Package {
    /// Puts another artifact in its place, in one chunk.
    pub(crate) fn hold(&mut self, format: &str, artifact: &[u8]) {
        let chunk = store(artifact);
        self.manifest.format = format.to_owned();
        self.manifest.chunks = ChunkTable { entries: vec![chunk.entry] };
        self.manifest.size_bytes = artifact.len() as u64;
        self.manifest.artifact = Digest::of(artifact);
        self.chunks = vec![chunk];
    }
}

/// Writes records of one namespace.
pub(crate) struct Signer {
    kafka: KafkaSettings,
    catalog: Catalog,
    signing: SigningKey,
    producer: FutureProducer,
}

impl Signer {
    pub(crate) async fn connect(scene: &Scene) -> Self {
        let catalog = Catalog::connect(&scene.kafka, &scene.trusted()).await.unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &scene.kafka.bootstrap_servers)
            .set("allow.auto.create.topics", "false")
            .set("acks", "all")
            .create()
            .unwrap();
        Self { kafka: scene.kafka.clone(), catalog, signing: scene.signing(), producer }
    }

    /// A linear model of this weight, in two chunks, as it should be.
    pub(crate) fn package(&self, name: &str, weight: f64) -> Package {
        let artifact = linear::artifact(weight);
        let halves = [&artifact[..artifact.len() / 2], &artifact[artifact.len() / 2..]];
        let chunks = halves.map(store).to_vec();
        let manifest = Manifest {
            v: Manifest::VERSION,
            model: model(name),
            format: "glm".into(),
            required_features: vec![],
            size_bytes: artifact.len() as u64,
            artifact: Digest::of(&artifact),
            chunks: ChunkTable { entries: chunks.iter().map(|chunk| chunk.entry).collect() },
            schema: linear::schema(),
            golden: linear::golden(2.0 * weight),
            lineage: Lineage::default(),
            metrics: [].into(),
        };
        Package { manifest, chunks, signing: self.signing.clone() }
    }

    /// Sends chunks and manifest and announces the version as the champion of `name`, whatever it is like.
    pub(crate) async fn publish(&self, name: &str, mut package: Package) -> Generation {
        let blobs = topic::blobs(&self.kafka.namespace, &model(name)).name;
        for (chunk, entry) in package.chunks.iter().zip(&mut package.manifest.chunks.entries) {
            entry.offset = Some(self.send(&blobs, &chunk.entry.digest.to_hex(), &chunk.bytes).await);
        }
        let artifact = package.manifest.artifact;
        let signed = package.manifest.sign(&package.signing).unwrap();
        let manifest_offset = self.send(&blobs, &signed.digest().to_hex(), signed.bytes()).await;
        let change = Change::Publish(NewVersion {
            manifest: signed.digest(),
            manifest_offset,
            artifact,
            inline_manifest: None,
            inline_artifact: None,
            role: NewRole::Champion,
        });
        self.announce(name, &change, |_| {}).await
    }

    /// Announces a change at the next generation; `damage` is done to the signed bytes.
    pub(crate) async fn announce(
        &self,
        name: &str,
        change: &Change,
        damage: impl FnOnce(&mut Vec<u8>),
    ) -> Generation {
        let before = self.catalog.in_force(&model(name)).await.unwrap();
        let body = before.as_ref().map(|before| before.announcement.body.as_ref().unwrap());
        let state = change.apply(body, &linear::stamp("signer"), rand::random()).unwrap();
        let frame = Frame {
            namespace: self.kafka.namespace.clone(),
            model: model(name),
            generation: before.as_ref().map_or(Generation::ZERO, InForce::generation).next().unwrap(),
            recent: before.as_ref().map_or_else(Vec::new, InForce::recent_for_next),
        };
        let mut sealed = frame.seal(&state, &self.signing).unwrap();
        damage(&mut sealed.bytes);
        self.send(&topic::announcements(&self.kafka.namespace).name, name, &sealed.bytes).await;
        sealed.generation
    }

    async fn send(&self, topic: &str, key: &str, value: &[u8]) -> i64 {
        let record = FutureRecord::to(topic).partition(0).key(key).payload(value);
        self.producer.send(record, SEND_DEADLINE).await.unwrap().offset
    }
}
