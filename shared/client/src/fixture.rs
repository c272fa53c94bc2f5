//! Versions for the tests of this crate: models whose artifact says how they behave, and a log that announces them.
//!
//! Not for anything but tests. Needs no Kafka: small artifacts travel inside their announcements.

use std::{
    io::Read,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use modelcast_models::{DecodeContext, DecodeError, Decoder, Decoders, Model, PredictError};
use modelcast_protocol::{
    Digest, Generation, ModelName, Namespace,
    announcement::Frame,
    change::{Change, NewRole, NewVersion},
    chunk::{ChunkTable, store},
    chunking::{ChunkSizes, cut},
    desired::Stamp,
    fold::{Fold, InForce, LogRecord, Step},
    golden::{Column, GoldenRows, RELATIVE_TOLERANCE},
    key::{SigningKey, TrustedKeys},
    manifest::{Lineage, Manifest, SignedManifest},
    schema::{Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
};

use crate::{admission::Policy, artifact::Artifact, embedded::layout::Layout};

/// What happens to the models of one test.
#[derive(Default)]
pub(crate) struct Probe {
    pub(crate) decodes: AtomicUsize,
    pub(crate) alive: AtomicUsize,
    pub(crate) most_alive: AtomicUsize,
    pub(crate) dropped_on: Mutex<Vec<ThreadId>>,
    /// A decoder says here that it is at work, and goes on when it hears.
    pub(crate) gate: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

/// Decodes `<behaviour> <weight>`, with anything after a second blank.
pub(crate) struct Scripted(pub(crate) Arc<Probe>);

struct Weighted {
    probe: Arc<Probe>,
    behaviour: String,
    weight: f64,
    predictions: AtomicUsize,
}

impl Decoder for Scripted {
    fn format(&self) -> &str {
        "scripted"
    }

    fn decode(&self, artifact: &mut dyn Read, _: &DecodeContext<'_>) -> Result<Box<dyn Model>, DecodeError> {
        self.0.decodes.fetch_add(1, SeqCst);
        let mut start = [0; 64];
        let count = artifact.read(&mut start)?; // the rest is left unread
        let text = String::from_utf8_lossy(&start[..count]).into_owned();
        let mut words = text.split(' ');
        let (behaviour, weight) = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
        if let Some((at_work, go_on)) = self.0.gate.lock().unwrap().take() {
            at_work.send(()).unwrap();
            go_on.recv().unwrap();
        }
        match behaviour.as_str() {
            "fails" => return Err(std::io::Error::other("scripted to fail").into()),
            "panics" => panic!("scripted to panic"),
            _ => {}
        }
        let alive = self.0.alive.fetch_add(1, SeqCst) + 1;
        self.0.most_alive.fetch_max(alive, SeqCst);
        let probe = Arc::clone(&self.0);
        Ok(Box::new(Weighted { probe, behaviour, weight, predictions: AtomicUsize::new(0) }))
    }
}

impl Model for Weighted {
    fn width(&self) -> usize {
        if self.behaviour == "wide" { 2 } else { 1 }
    }

    fn outputs(&self) -> usize {
        1
    }

    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        let before = self.predictions.fetch_add(1, SeqCst);
        match self.behaviour.as_str() {
            "off" | "clings-off" => outputs[0] = row[0] * self.weight + 1.0,
            "tires" if before > 4 => panic!("scripted to tire"),
            _ => outputs[0] = row[0] * self.weight,
        }
        Ok(())
    }
}

impl Drop for Weighted {
    fn drop(&mut self) {
        self.probe.dropped_on.lock().unwrap().push(thread::current().id());
        self.probe.alive.fetch_sub(1, SeqCst);
        assert!(!self.behaviour.starts_with("clings"), "scripted to panic when it is dropped");
    }
}

impl Probe {
    pub(crate) fn policy(self: &Arc<Self>) -> Policy {
        let decoders = Decoders::default().with(Scripted(Arc::clone(self)));
        Policy { decoders: Arc::new(decoders), artifact_max_bytes: 1024 * 1024, schema: None }
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(SeqCst)
    }

    pub(crate) fn decodes(&self) -> usize {
        self.decodes.load(SeqCst)
    }

    /// Makes the next decoder wait; gives what tells that it is at work, and what lets it go on.
    #[cfg(feature = "kafka")]
    pub(crate) fn hold_next(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (at_work, is_at_work) = mpsc::channel();
        let (let_go, go_on) = mpsc::channel();
        *self.gate.lock().unwrap() = Some((at_work, go_on));
        (is_at_work, let_go)
    }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

pub(crate) fn keys() -> TrustedKeys {
    TrustedKeys::new([key().public()]).unwrap()
}

pub(crate) fn model() -> ModelName {
    ModelName::parse("price").unwrap()
}

pub(crate) fn schema() -> FeatureSchema {
    let kind = FeatureKind::Numeric(Numeric::default());
    FeatureSchema {
        features: vec![Feature { name: "area".into(), title: None, kind }],
        outputs: vec![Output { name: "price".into(), title: None, kind: OutputKind::Numeric { unit: None } }],
    }
}

/// A manifest of an artifact that multiplies by `weight`.
pub(crate) fn manifest(artifact: &[u8], weight: f64) -> Manifest {
    let size_bytes = artifact.len() as u64;
    let entries =
        cut(artifact, ChunkSizes::for_artifact(size_bytes)).map(|raw| store(&raw.unwrap()).entry).collect();
    Manifest {
        v: 1,
        model: model(),
        format: "scripted".into(),
        required_features: Vec::new(),
        size_bytes,
        artifact: Digest::of(artifact),
        chunks: ChunkTable { entries },
        schema: schema(),
        golden: GoldenRows {
            inputs: vec![Column::Numbers(vec![3.0])],
            outputs: vec![vec![3.0 * weight]],
            relative_tolerance: RELATIVE_TOLERANCE,
        },
        lineage: Lineage::default(),
        metrics: [].into(),
    }
}

/// A version that behaves as told.
pub(crate) fn version(behaviour: &str, weight: u64) -> (SignedManifest, Artifact) {
    let bytes = format!("{behaviour} {weight}").into_bytes();
    #[expect(clippy::cast_precision_loss, reason = "weights of tests are small")]
    let signed = manifest(&bytes, weight as f64).sign(&key()).unwrap();
    (signed, Artifact::Memory(bytes))
}

/// An artifact of several chunks that do not compress, with its manifest; it multiplies by `weight`.
#[cfg(feature = "kafka")]
pub(crate) fn noisy(weight: u8) -> (Vec<u8>, SignedManifest) {
    let mut bytes = format!("fine {weight} ").into_bytes();
    let mut seed = 1_u64;
    bytes.extend((0..700_000).map(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56).to_le_bytes()[0]
    }));
    let signed = manifest(&bytes, weight.into()).sign(&key()).unwrap();
    (bytes, signed)
}

/// A log of announcements of the model.
pub(crate) struct Line {
    fold: Fold,
    offset: i64,
    /// Makes two lines differ that say the same.
    nonce: u8,
}

impl Line {
    pub(crate) fn new(nonce: u8) -> Self {
        Self { fold: Fold::new(Namespace::parse("test").unwrap()), offset: 0, nonce }
    }

    /// Publishes a version that travels inside its announcement.
    pub(crate) fn publish(&mut self, behaviour: &str, weight: u64) -> Arc<InForce> {
        let (manifest, artifact) = version(behaviour, weight);
        self.publish_version(&manifest, artifact.small(4096).unwrap())
    }

    /// Publishes a version; its artifact travels along if it is given.
    pub(crate) fn publish_version(
        &mut self,
        manifest: &SignedManifest,
        artifact: Option<Vec<u8>>,
    ) -> Arc<InForce> {
        self.change(&Change::Publish(NewVersion {
            manifest: manifest.digest(),
            manifest_offset: 0,
            artifact: manifest.manifest().artifact,
            inline_manifest: Some(manifest.bytes().to_vec()),
            inline_artifact: artifact,
            role: NewRole::Champion,
        }))
    }

    /// Announces a change.
    pub(crate) fn change(&mut self, change: &Change) -> Arc<InForce> {
        let before = self.fold.in_force(&model()).cloned();
        let stamp = Stamp { author: "ada".into(), reason: "test".into(), at_unix_ms: 0 };
        let state = before.as_ref().and_then(|before| before.announcement.body.as_ref().ok());
        let next = change.apply(state, &stamp, [self.nonce; 16]).unwrap();
        let frame = Frame {
            namespace: Namespace::parse("test").unwrap(),
            model: model(),
            generation: before.as_ref().map_or(Generation::ZERO, InForce::generation).next().unwrap(),
            recent: before.as_ref().map_or_else(Vec::new, InForce::recent_for_next),
        };
        let value = frame.seal(&next, &key()).unwrap().bytes;
        let record = LogRecord { offset: self.offset, key: b"price", value: &value };
        assert!(matches!(self.fold.apply(record, &keys()), Step::TookForce(_)));
        self.offset += 1;
        Arc::new(self.fold.in_force(&model()).unwrap().clone())
    }
}

/// The embedded file of a version, as it is pulled while an announcement is in force.
pub(crate) fn embedded(in_force: &InForce, manifest: &SignedManifest, artifact: &Artifact) -> Vec<u8> {
    let artifact = artifact.small(4096).unwrap().unwrap();
    let layout = Layout::of(&in_force.bytes, manifest.bytes(), artifact.len() as u64).unwrap();
    [&layout.encode(), in_force.bytes.as_slice(), manifest.bytes(), &artifact].concat()
}

/// Waits for a state; the test fails when it does not come.
#[track_caller]
pub(crate) fn eventually(claim: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s: {claim}");
        thread::park_timeout(Duration::from_millis(1));
    }
}
