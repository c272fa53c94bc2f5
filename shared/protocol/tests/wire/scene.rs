//! What the vectors tell: two models, three keys, and a line of announcements made by the crate itself.

use modelcast_protocol::{
    Digest, Generation, InstanceName, ModelName, Namespace, Version,
    announcement::{Frame, SealedAnnouncement},
    change::{Change, LeftVersion, NewRole, NewVersion},
    chunk::{ChunkEntry, ChunkTable, StoredChunk},
    desired::{Cohort, DesiredState, Labels, PinTarget, Stamp},
    golden::{Column, GoldenRows, RELATIVE_TOLERANCE},
    key::{SigningKey, TrustedKeys},
    manifest::{Lineage, Manifest, SignedManifest},
    schema::{Categorical, Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
};

/// Seeds of the keys: anybody may sign with them.
pub(crate) const SEEDS: [(&str, [u8; 32]); 3] =
    [("publisher", [1; 32]), ("operator", [2; 32]), ("stranger", [3; 32])];
/// A zstd frame of one run-length block, 10,000 zero bytes, written by hand: compressors differ between releases.
const ZEROS: [u8; 11] = [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x10, 0x26, 0x83, 0x38, 0x01, 0x00];
/// Some day in 2026, Unix milliseconds.
const NOW: u64 = 1_790_000_000_000;

/// Everything that the vectors are made from.
pub(crate) struct Scene {
    pub(crate) publisher: SigningKey,
    pub(crate) operator: SigningKey,
    pub(crate) stranger: SigningKey,
    pub(crate) raw: StoredChunk,
    pub(crate) zstd: StoredChunk,
    pub(crate) price: SignedManifest,
    pub(crate) tumour: SignedManifest,
    pub(crate) line: Vec<Told>,
}

/// An announcement with the name of its vector.
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) state: DesiredState,
    pub(crate) sealed: SealedAnnouncement,
}

pub(crate) fn namespace() -> Namespace {
    Namespace::parse("modelcast").unwrap()
}

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

/// The keys that the readers of the vectors trust: not the stranger's.
pub(crate) fn trusted() -> TrustedKeys {
    TrustedKeys::new(SEEDS[..2].iter().map(|(_, seed)| SigningKey::from_seed(seed).public())).unwrap()
}

pub(crate) fn stamp(author: &str, reason: &str, minutes: u64) -> Stamp {
    Stamp { author: author.into(), reason: reason.into(), at_unix_ms: NOW + minutes * 60_000 }
}

impl Scene {
    pub(crate) fn new() -> Self {
        let [publisher, operator, stranger] = SEEDS.map(|(_, seed)| SigningKey::from_seed(&seed));
        let bytes: Vec<u8> = (0..=255).collect();
        let raw = stored(bytes, 256, 0);
        let zstd = stored(ZEROS.to_vec(), 10_000, 1);
        let price = price(&raw).sign(&publisher).unwrap();
        let tumour = tumour(&raw, &zstd).sign(&publisher).unwrap();
        let line = line(&publisher, &operator, &price, &raw);
        Self { publisher, operator, stranger, raw, zstd, price, tumour, line }
    }

    pub(crate) fn told(&self, name: &str) -> &Told {
        self.line.iter().find(|told| told.name == name).unwrap()
    }

    /// The frame after the last announcement of the line.
    pub(crate) fn next_frame(&self) -> Frame {
        frame("price", &self.line.iter().map(|told| told.sealed.digest).collect::<Vec<_>>())
    }
}

/// A frame after these predecessors.
pub(crate) fn frame(model: &str, recent: &[Digest]) -> Frame {
    let generation = Generation::new(recent.len() as u64 + 1);
    Frame { namespace: namespace(), model: self::model(model), generation, recent: recent.to_vec() }
}

fn stored(bytes: Vec<u8>, raw_bytes: u32, offset: i64) -> StoredChunk {
    let stored_bytes = u32::try_from(bytes.len()).unwrap();
    let entry = ChunkEntry { digest: Digest::of(&bytes), stored_bytes, raw_bytes, offset: Some(offset) };
    StoredChunk { entry, bytes }
}

fn price(raw: &StoredChunk) -> Manifest {
    let area =
        Numeric { unit: Some("m²".into()), range: Some((31.0, 524.5)), typical: Some(136.0), whole: false };
    let zones = Categorical {
        categories: vec!["rural".into(), "urban".into()],
        other: true,
        typical: Some("urban".into()),
    };
    let features = vec![
        Feature { name: "area".into(), title: Some("Living area".into()), kind: FeatureKind::Numeric(area) },
        Feature { name: "zone".into(), title: None, kind: FeatureKind::Categorical(zones) },
    ];
    let kind = OutputKind::Numeric { unit: Some("USD".into()) };
    let outputs = vec![Output { name: "price".into(), title: Some("Sale price".into()), kind }];
    let zones = vec!["urban".into(), "rural".into(), "moon".into()];
    Manifest {
        v: 1,
        model: model("price"),
        format: "glm".into(),
        required_features: vec!["one-hot".into()],
        size_bytes: 256,
        artifact: raw.entry.digest,
        chunks: ChunkTable { entries: vec![raw.entry] },
        schema: FeatureSchema { features, outputs },
        golden: GoldenRows {
            inputs: vec![Column::Numbers(vec![31.0, 136.0, 524.5]), Column::Categories(zones)],
            outputs: vec![vec![101_234.5, 180_000.25, 601_000.0]],
            relative_tolerance: RELATIVE_TOLERANCE,
        },
        lineage: Lineage {
            data: Some(Digest::of(b"data set")),
            data_name: "ames".into(),
            train_rows: 1_234,
            test_rows: 175,
            parameters: [("alpha".to_owned(), "0.1".to_owned())].into(),
            seed: Some(24),
            code_revision: "0123abc".into(),
            trained_at_unix_ms: NOW,
        },
        metrics: [("rmse".to_owned(), 24_727.125), ("r2".to_owned(), 0.901)].into(),
    }
}

/// The smallest manifest: what is optional is left out; one chunk stands in the table twice.
fn tumour(raw: &StoredChunk, zstd: &StoredChunk) -> Manifest {
    let entries = vec![zstd.entry, ChunkEntry { offset: None, ..raw.entry }, zstd.entry];
    let artifact = [vec![0; 10_000], raw.bytes.clone(), vec![0; 10_000]].concat();
    let feature =
        Feature { name: "radius".into(), title: None, kind: FeatureKind::Numeric(Numeric::default()) };
    let kind =
        OutputKind::Probability { positive: "malignant".into(), negative: "benign".into(), threshold: 0.5 };
    let outputs = vec![Output { name: "malignant".into(), title: None, kind }];
    Manifest {
        v: 1,
        model: model("tumour"),
        format: "glm".into(),
        required_features: Vec::new(),
        size_bytes: artifact.len() as u64,
        artifact: Digest::of(&artifact),
        chunks: ChunkTable { entries },
        schema: FeatureSchema { features: vec![feature], outputs },
        golden: GoldenRows {
            inputs: vec![Column::Numbers(vec![0.0])],
            outputs: vec![vec![0.25]],
            relative_tolerance: 0.0,
        },
        lineage: Lineage::default(),
        metrics: [].into(),
    }
}

fn publish(name: &str, role: NewRole) -> Change {
    Change::Publish(NewVersion {
        manifest: Digest::of(name.as_bytes()),
        manifest_offset: 2,
        artifact: Digest::of(&[name.as_bytes(), b" artifact"].concat()),
        inline_manifest: None,
        inline_artifact: None,
        role,
    })
}

/// Founded, published inline, a challenger, a pin, a rollback: each from the one before.
fn line(
    publisher: &SigningKey,
    operator: &SigningKey,
    price: &SignedManifest,
    raw: &StoredChunk,
) -> Vec<Told> {
    let inline = Change::Publish(NewVersion {
        manifest: price.digest(),
        manifest_offset: 3,
        artifact: raw.entry.digest,
        inline_manifest: Some(price.bytes().to_vec()),
        inline_artifact: Some(raw.bytes.clone()),
        role: NewRole::Champion,
    });
    let labels = Labels::from([("zone".to_owned(), "eu-west".to_owned())]);
    let cohort = Cohort { basis_points: 4_000, labels };
    let pin = |target, version| Change::Pin { target, version: Version::new(version).unwrap() };
    let instance = PinTarget::Instance(InstanceName::parse("app-1").unwrap());
    let steps = [
        ("announcement-founding", publisher, publish("one", NewRole::Champion)),
        ("announcement-inline", publisher, inline),
        ("announcement-challenger", publisher, publish("three", NewRole::Challenger(cohort))),
        ("announcement-pinned", operator, pin(instance, 3)),
        ("announcement-label", operator, pin(PinTarget::Label("tier".into(), "canary".into()), 1)),
        ("announcement-rollback", operator, Change::Rollback { to: None, left: LeftVersion::Quarantine }),
        ("announcement-all", operator, pin(PinTarget::All, 1)),
    ];
    let mut line: Vec<Told> = Vec::new();
    for (number, (name, key, change)) in (0_u8..).zip(steps) {
        let author = if key.id() == publisher.id() { "trainer" } else { "ada" };
        let stamp = stamp(author, name, number.into());
        let state = change.apply(line.last().map(|told| &told.state), &stamp, [number; 16]).unwrap();
        let recent: Vec<_> = line.iter().map(|told| told.sealed.digest).collect();
        let sealed = frame("price", &recent).seal(&state, key).unwrap();
        line.push(Told { name, state, sealed });
    }
    line
}
