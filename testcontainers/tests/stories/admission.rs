//! What is signed with the right key and wrong all the same: each check refuses it by name, and the old version
//! serves on.
//!
//! Each version is valid but for one thing, and signed after that was done to it; after the refusal the same version
//! without the damage goes live. So nothing but the named check can have refused it.

use modelcast::protocol::Digest;
use modelcast::protocol::change::{Change, LeftVersion};
use modelcast::protocol::chunk::{ChunkEntry, ChunkTable};
use modelcast::protocol::key::SigningKey;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::app::App;
use crate::support::scene::Scene;
use crate::support::signer::{Package, Signer};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
/// Above what a linear model takes, below what a chunk may have.
const LIMIT_BYTES: u32 = 100_000;

/// An app that serves version 1 of a good signer: `price = 1 * area`.
struct Stage {
    runtime: Runtime,
    scene: Scene,
    signer: Signer,
    app: App,
}

impl Stage {
    fn new(stem: &str) -> Self {
        let (runtime, scene) = (runtime(), Scene::new(stem, &[MODEL]));
        let config = scene.configure_app("app-1", &[MODEL], &format!("artifact_max_bytes = {LIMIT_BYTES}\n"));
        let app = App::start("app-1", &config);
        let signer = runtime.block_on(Signer::connect(&scene));
        let stage = Self { runtime, scene, signer, app };
        stage.publish(stage.signer.package(MODEL, 1.0));
        stage.app.wait_until_live(MODEL, 1, 1);
        stage
    }

    fn publish(&self, package: Package) {
        self.runtime.block_on(self.signer.publish(MODEL, package));
    }

    /// The app answers with this version, which has its number for a weight.
    fn must_answer_with(&self, version: u32) {
        let (status, answer) = self.app.infer(MODEL, &linear::areas(&[3.0]));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["model_version"], version.to_string());
        assert_eq!(answer["outputs"][0]["data"], json!([3.0 * f64::from(version)]));
    }

    /// The operator sees that version 2 was refused so, and that version 1 serves.
    fn must_be_refused(&self, stage: &str, cause: &str) {
        let refusal =
            |phase: &Value| Some((phase["refused"]["stage"].clone(), phase["refused"]["cause"].clone()));
        let found =
            self.scene.wait_for_status(MODEL, "app-1", "a refusal", |one| one["standing"] == "refused");
        let (found_stage, found_cause) = refusal(&found["phase"]).unwrap();
        assert_eq!(found_stage, stage, "{found:#}");
        assert!(found_cause.as_str().unwrap().contains(cause), "{cause:?} is not in {found_cause}");
        assert_eq!((&found["serves"]["version"], &found["wants"]["version"]), (&json!(1), &json!(2)));
        assert_eq!(self.scene.status(MODEL).1, Some(1));
        self.must_answer_with(1);
        let own = self.app.model(MODEL);
        assert_eq!((&own["rejections_total"][stage], &own["swaps"]), (&json!(1), &json!(1)), "{own:#}");
        self.must_be_metered(stage);
        let verified = self.scene.modelcast(&["verify", MODEL, "1"]);
        verified.must_end_with(0);
    }

    /// Who scrapes the app sees one refusal by this check, how far it is behind, and how old its news are.
    fn must_be_metered(&self, stage: &str) {
        let metric = |name: &str| self.app.metric(&format!("{name}{{model=\"{MODEL}\"}}"));
        let refusals = format!("modelcast_rejections_total{{model=\"{MODEL}\",stage=\"{stage}\"}}");
        assert_eq!(self.app.metric(&refusals), Some(1.0), "{refusals}");
        let (wanted, served) = (metric("modelcast_wanted_generation"), metric("modelcast_served_generation"));
        assert_eq!((wanted, served), (Some(2.0), Some(1.0)));
        assert!(metric("modelcast_news_age_seconds").is_some_and(|age| age >= 0.0));
    }
}

/// Publishes version 2 damaged, which must be refused, and version 3 undamaged, which must go live.
fn check(stem: &str, damage: impl FnOnce(&mut Package), stage: &str, cause: &str) {
    let story = Stage::new(stem);
    let mut package = story.signer.package(MODEL, 2.0);
    damage(&mut package);
    story.publish(package);
    story.must_be_refused(stage, cause);

    story.publish(story.signer.package(MODEL, 3.0));
    story.app.wait_until_live(MODEL, 3, 3);
    story.must_answer_with(3);
}

#[test]
fn a_manifest_signed_with_another_key_is_refused() {
    let another = SigningKey::from_seed(&[9; 32]);
    let cause = format!("signed by key {}, which is not trusted here", another.id());
    check("other-key", |package| package.signing = another, "signature", &cause);
}

#[test]
fn a_flipped_bit_in_a_chunk_is_refused() {
    let flip = |package: &mut Package| package.chunks[1].bytes[3] ^= 1;
    check("flipped-bit", flip, "digest", "the chunk has digest blake3:");
}

#[test]
fn a_truncated_chunk_is_refused() {
    let truncate = |package: &mut Package| package.chunks[1].bytes.truncate(5);
    check("truncated", truncate, "digest", "its entry states");
}

#[test]
fn a_chunk_that_is_not_there_is_refused() {
    let lose = |package: &mut Package| drop(package.chunks.pop());
    check("lost-chunk", lose, "fetch", "is not in topic");
}

#[test]
fn an_artifact_with_another_digest_is_refused() {
    let lie = |package: &mut Package| package.manifest.artifact = Digest::of(b"another artifact");
    check("other-digest", lie, "digest", "the manifest states");
}

#[test]
fn an_unknown_format_is_refused() {
    let rename = |package: &mut Package| package.manifest.format = "onnx".to_owned();
    check("unknown-format", rename, "format", "there is no decoder for format \"onnx\"");
}

#[test]
fn a_required_feature_that_is_not_known_is_refused() {
    let require = |package: &mut Package| package.manifest.required_features = vec!["splines".to_owned()];
    check("required-feature", require, "format", "\"splines\"");
}

#[test]
fn a_golden_row_that_disagrees_is_refused() {
    // Off by a thousandth, where a billionth is tolerated.
    let lie = |package: &mut Package| package.manifest.golden = linear::golden(4.004);
    check("golden-row", lie, "golden", "4.004");
}

#[test]
fn a_declared_size_above_the_apps_limit_is_refused_without_a_download() {
    // None of these chunks was ever sent: asking for one would end in another refusal.
    let declare = |package: &mut Package| {
        let entry = |name: &[u8]| ChunkEntry {
            digest: Digest::of(name),
            stored_bytes: LIMIT_BYTES,
            raw_bytes: LIMIT_BYTES,
            offset: None,
        };
        package.chunks.clear();
        package.manifest.chunks = ChunkTable { entries: vec![entry(b"one"), entry(b"two")] };
        package.manifest.size_bytes = u64::from(2 * LIMIT_BYTES);
    };
    check("too-large", declare, "size", "200000 bytes, 100000 are allowed");
}

#[test]
fn an_artifact_that_is_no_model_is_refused() {
    let garbage = |package: &mut Package| package.hold("glm", b"no model at all");
    check("no-model", garbage, "decode", "");
}

#[test]
fn a_manifest_of_another_model_is_refused() {
    let rename = |package: &mut Package| package.manifest.model = "rent".parse().unwrap();
    check("other-model", rename, "manifest", "the manifest is of model rent, not of price");
}

#[test]
fn an_announcement_that_does_not_verify_changes_nothing_and_is_reported() {
    let story = Stage::new("unverified");
    story.publish(story.signer.package(MODEL, 2.0));
    story.app.wait_until_live(MODEL, 2, 2);
    let back = Change::Rollback { to: None, left: LeftVersion::Keep };
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    story.runtime.block_on(story.signer.announce(MODEL, &back, flip));

    let found = wait_for("the record to be reported", || {
        let found = story.app.model(MODEL);
        found["warnings"].to_string().contains("generation 3 at offset 2 is not verified").then_some(found)
    });
    assert_eq!((&found["served"]["version"], &found["generation_seen"]), (&json!(2), &json!(2)));
    story.must_answer_with(2);
    // Nobody announces over what somebody with another key may have decided.
    let refused = story.scene.modelcast(&["rollback", MODEL, "--reason", "bad"]);
    refused.must_end_with(4).must_say(&["offset 2", "generation 3", "cannot be verified"]);
}
