//! Values to start from: a small valid state, and strategies for valid manifests and status records.

use std::collections::BTreeMap;

use modelcast_protocol::{
    Digest, Generation, InstanceName, ModelName, Version,
    change::{Change, NewRole, NewVersion},
    chunk::{ChunkEntry, ChunkTable},
    desired::{DesiredState, Labels, Stamp},
    golden::{Column, GoldenRows},
    limits::CHUNK_MAX_BYTES,
    manifest::{Lineage, Manifest},
    schema::{Categorical, Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
    status::{Phase, Served, Stage, Status, StatusVersion, Traffic},
};
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::{Just, Strategy, any, prop_oneof},
};

pub(crate) fn stamp() -> Stamp {
    Stamp { author: "ada".into(), reason: "because".into(), at_unix_ms: 1 }
}

/// A version to publish, different for each number.
pub(crate) fn new_version(number: u64, role: NewRole) -> NewVersion {
    NewVersion {
        manifest: Digest::of(&number.to_be_bytes()),
        manifest_offset: i64::try_from(number).unwrap(),
        artifact: Digest::of(&[number.to_be_bytes(), [1; 8]].concat()),
        inline_manifest: None,
        inline_artifact: None,
        role,
    }
}

pub(crate) fn founding_state() -> DesiredState {
    Change::Publish(new_version(1, NewRole::Champion)).apply(None, &stamp(), [0; 16]).unwrap()
}

/// Makes two announcements of one state differ.
pub(crate) fn count_up(nonce: &mut [u8; 16]) {
    *nonce = (u128::from_be_bytes(*nonce) + 1).to_be_bytes();
}

pub(crate) fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

pub(crate) fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |number| number.is_finite())
}

pub(crate) fn labels() -> impl Strategy<Value = Labels> {
    btree_map("[a-z]{1,4}", "[a-c]{1,2}", 0..4)
}

pub(crate) fn tables() -> impl Strategy<Value = ChunkTable> {
    let entry = (digests(), 1..=CHUNK_MAX_BYTES, any::<u32>(), option::of(0..i64::MAX));
    let entry = entry.prop_map(|(digest, raw, stored, offset)| {
        let raw_bytes = u32::try_from(raw).unwrap();
        ChunkEntry { digest, stored_bytes: 1 + stored % raw_bytes, raw_bytes, offset }
    });
    vec(entry, 0..20).prop_map(|entries| ChunkTable { entries })
}

fn features() -> impl Strategy<Value = Vec<Feature>> {
    let number =
        (option::of("[a-z²]{1,3}"), option::of((finite(), finite())), option::of(finite()), any::<bool>());
    let number = number.prop_map(|(unit, range, typical, whole)| {
        let range = range.map(|(a, b)| (a.min(b), a.max(b)));
        FeatureKind::Numeric(Numeric { unit, range, typical, whole })
    });
    let category = (btree_set("[a-z]{1,3}", 1..5), any::<bool>(), any::<bool>());
    let category = category.prop_map(|(categories, other, typical)| {
        let typical = typical.then(|| categories.first().unwrap().clone());
        FeatureKind::Categorical(Categorical { categories: categories.into_iter().collect(), other, typical })
    });
    vec((option::of("[A-Z][a-z ]{0,9}"), prop_oneof![number, category]), 1..5).prop_map(|kinds| {
        let named = |(place, (title, kind))| Feature { name: format!("f{place}"), title, kind };
        kinds.into_iter().enumerate().map(named).collect()
    })
}

fn outputs() -> impl Strategy<Value = Vec<Output>> {
    let amount = option::of("[a-z]{1,3}").prop_map(|unit| OutputKind::Numeric { unit });
    let chance = (0.0..=1.0).prop_map(|threshold| OutputKind::Probability {
        positive: "yes".into(),
        negative: "no".into(),
        threshold,
    });
    vec(prop_oneof![amount, chance], 1..4).prop_map(|kinds| {
        let named = |(place, kind)| Output { name: format!("y{place}"), title: None, kind };
        kinds.into_iter().enumerate().map(named).collect()
    })
}

fn golden(schema: &FeatureSchema, numbers: &[f64], count: usize) -> GoldenRows {
    let column = |place: usize| numbers.iter().copied().cycle().skip(place).take(count).collect::<Vec<_>>();
    let inputs = schema.features.iter().enumerate().map(|(place, feature)| match &feature.kind {
        FeatureKind::Numeric(_) => Column::Numbers(column(place)),
        FeatureKind::Categorical(categorical) => {
            Column::Categories(vec![categorical.categories[0].clone(); count])
        }
    });
    let outputs = (0..schema.outputs.len()).map(column).collect();
    GoldenRows { inputs: inputs.collect(), outputs, relative_tolerance: 1e-9 }
}

/// Valid manifests of small models.
pub(crate) fn manifests() -> impl Strategy<Value = Manifest> {
    let schema = (features(), outputs()).prop_map(|(features, outputs)| FeatureSchema { features, outputs });
    let golden_numbers = (vec(finite(), 1..8), 1_usize..=8);
    let lineage = (option::of(digests()), option::of(any::<u64>()), btree_map("[a-z]{1,5}", ".{0,8}", 0..4));
    let metrics = btree_map("[a-z0-9]{1,5}", finite(), 0..4);
    (schema, golden_numbers, tables(), digests(), lineage, metrics).prop_map(
        |(schema, (numbers, count), chunks, artifact, (data, seed, parameters), metrics)| Manifest {
            v: 1,
            model: ModelName::parse("price").unwrap(),
            format: "glm".into(),
            required_features: Vec::new(),
            size_bytes: chunks.validate().unwrap(),
            artifact,
            chunks,
            golden: golden(&schema, &numbers, count),
            schema,
            lineage: Lineage { data, seed, parameters, ..Lineage::default() },
            metrics,
        },
    )
}

fn phases() -> impl Strategy<Value = Phase> {
    let stages = [
        Stage::Fetch,
        Stage::Size,
        Stage::Digest,
        Stage::Signature,
        Stage::Manifest,
        Stage::Format,
        Stage::Decode,
        Stage::Schema,
        Stage::Golden,
        Stage::WarmUp,
        Stage::Crash,
    ];
    let stage = proptest::sample::select(stages.to_vec());
    prop_oneof![
        Just(Phase::Waiting),
        Just(Phase::Seen),
        any::<(u64, u64)>().prop_map(|(done_bytes, total_bytes)| Phase::Fetching { done_bytes, total_bytes }),
        Just(Phase::Verified),
        Just(Phase::Decoded),
        Just(Phase::Tested),
        Just(Phase::Staged),
        Just(Phase::Live),
        (stage, ".{0,600}").prop_map(|(stage, cause)| Phase::Refused { stage, cause }),
    ]
}

/// Status records, some with a cause or warnings that are too long to be read back.
pub(crate) fn statuses() -> impl Strategy<Value = Status> {
    let version = (1_u64.., digests());
    let traffic = (any::<u64>(), option::of(finite())).prop_map(|(predictions, output_mean)| Traffic {
        predictions,
        output_mean,
        ..Traffic::default()
    });
    let counts = (any::<u64>(), any::<u64>(), any::<u64>());
    (phases(), labels(), version, counts, vec(".{0,20}", 0..12), traffic, any::<bool>()).prop_map(
        |(
            phase,
            labels,
            (number, manifest),
            (sequence, at_unix_ms, generation),
            warnings,
            traffic,
            serves,
        )| {
            let version = Version::new(number).unwrap();
            let generation = Generation::new(generation);
            let served = Served { version, manifest, generation, since_unix_ms: at_unix_ms };
            Status {
                v: 1,
                model: ModelName::parse("price").unwrap(),
                instance: InstanceName::parse("app-1").unwrap(),
                boot_id: "0011223344556677".into(),
                sequence,
                at_unix_ms,
                labels,
                phase,
                wanted: Some(StatusVersion { version, manifest }),
                served: serves.then_some(served),
                generation_seen: generation,
                announcement_seen: serves.then_some(manifest),
                warnings,
                traffic,
            }
        },
    )
}

/// Named bytes of every kind of payload, to be damaged.
pub(crate) fn payloads() -> BTreeMap<&'static str, Vec<u8>> {
    use modelcast_protocol::codec::encode;
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let manifest = manifests().new_tree(&mut runner).unwrap().current();
    let status = statuses().new_tree(&mut runner).unwrap().current();
    let status = Status { warnings: vec!["history lost".into()], ..status };
    BTreeMap::from([
        ("state", encode(&rich_state()).unwrap()),
        ("manifest", encode(&manifest).unwrap()),
        ("status", encode(&status).unwrap()),
    ])
}

/// A state in which every field is used.
pub(crate) fn rich_state() -> DesiredState {
    use modelcast_protocol::desired::{Cohort, PinTarget};

    let cohort = Cohort { basis_points: 1_000, labels: Labels::from([("zone".into(), "a".into())]) };
    let inline = NewVersion {
        inline_manifest: Some(vec![1; 40]),
        inline_artifact: Some(vec![2; 40]),
        ..new_version(4, NewRole::Champion)
    };
    let instance = PinTarget::Instance(InstanceName::parse("app-1").unwrap());
    let pin = |target| Change::Pin { target, version: Version::new(2).unwrap() };
    let changes = [
        Change::Publish(new_version(1, NewRole::Champion)),
        Change::Publish(new_version(2, NewRole::Champion)),
        Change::Quarantine { version: Version::FIRST, instead: None },
        Change::Publish(new_version(3, NewRole::Challenger(cohort))),
        pin(instance),
        pin(PinTarget::Label("zone".into(), "b".into())),
        pin(PinTarget::All),
        Change::Publish(inline),
    ];
    let mut state = None;
    for change in changes {
        state = Some(change.apply(state.as_ref(), &stamp(), [7; 16]).unwrap());
    }
    state.unwrap()
}
