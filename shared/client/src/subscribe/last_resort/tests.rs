//! What an instance serves that cannot reach Kafka, from what it carries with it and what it has on disk.

use std::{fs, path::Path, sync::Arc};

use modelcast_protocol::{Digest, change::Change, desired::PinTarget, fold::Held, status::Phase};

use super::*;
use crate::{
    LiveModel, Subscriber,
    fetch::Fetcher,
    fixture::{Line, Probe, embedded, keys, model, version},
    live::ModelState,
    settings::KafkaSettings,
    subscribe::{
        cache::Cache,
        install::{Order, Outcome},
        news::ModelNews,
        reconcile::Reconciler,
    },
};

/// A fleet's history, and the file that was pulled at one of its generations.
struct Story {
    folder: tempfile::TempDir,
    probe: Arc<Probe>,
    line: Line,
}

impl Story {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), probe: Arc::default(), line: Line::new(1) }
    }

    /// Announces a version that multiplies by `weight`.
    fn publish(&mut self, weight: u64) -> Arc<InForce> {
        self.line.publish("fine", weight)
    }

    /// Pulls the version of that weight while this announcement is in force.
    fn pull(&self, in_force: &InForce, weight: u64) -> Embedded {
        let (manifest, artifact) = version("fine", weight);
        let path = self.folder.path().join("price.modelcast");
        fs::write(&path, embedded(in_force, &manifest, &artifact)).unwrap();
        Embedded::File(path)
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// The folder of the model in the instance's state.
    fn cache(&self) -> Cache {
        Cache::open(&self.state().join("test").join("price")).unwrap()
    }

    /// Starts an instance that cannot reach Kafka.
    async fn start(&self, embedded: Option<Embedded>) -> (Subscriber, LiveModel) {
        let builder = Subscriber::builder(&nobody(), &keys(), identity(), &self.state());
        let policy = self.probe.policy();
        let builder = match embedded {
            Some(embedded) => builder.model_with_embedded(model(), policy, embedded),
            None => builder.model(model(), policy),
        };
        let subscriber = builder.start().await.unwrap();
        let live = subscriber.model(&model()).unwrap().clone();
        (subscriber, live)
    }

    /// Has a version on disk as one that was live.
    fn was_live(&self, in_force: &Arc<InForce>) {
        let mut installer = installer(self.cache(), &self.probe);
        let state = in_force.announcement.body.as_ref().unwrap();
        let entry = state.entry(state.champion).cloned();
        let order =
            Order { in_force: Arc::clone(in_force), entry, forgive: false, cancelled: Arc::default() };
        assert!(matches!(installer.carry_out(&order), Outcome::Loaded(_)));
    }

    /// Damages the one version on disk; gives its artifact's path.
    fn damage(&self) -> std::path::PathBuf {
        let kept = self.cache().kept();
        let [crate::Artifact::File(path)] = kept.iter().map(|kept| &kept.artifact).collect::<Vec<_>>()[..]
        else {
            panic!("{} versions on disk", kept.len())
        };
        fs::write(path, "fine 9").unwrap();
        path.clone()
    }

    /// Starts an instance that must not serve what it carries with it, and say so.
    async fn must_not_serve(&self, embedded: Embedded, words: &str) {
        let (subscriber, live) = self.start(Some(embedded)).await;
        until(&live, words, |state| warns(state, words)).await;
        assert!(live.load().is_none(), "it serves all the same");
        assert_eq!(self.probe.decodes(), 0);
        drop(subscriber);
    }
}

fn nobody() -> KafkaSettings {
    KafkaSettings {
        bootstrap_servers: "127.0.0.1:1".into(),
        namespace: Namespace::parse("test").unwrap(),
        ..KafkaSettings::default()
    }
}

fn identity() -> Identity {
    Identity { instance: "a".parse().unwrap(), labels: [].into() }
}

fn installer(cache: Cache, probe: &Arc<Probe>) -> Installer {
    Installer {
        live: LiveModel::subscribed(model()).unwrap(),
        policy: probe.policy(),
        keys: keys(),
        cache,
        fetcher: Fetcher::new(&nobody(), &keys(), &model()),
        resort: None,
    }
}

fn warns(state: &ModelState, of: &str) -> bool {
    state.warnings.iter().any(|warning| warning.contains(of))
}

async fn until(live: &LiveModel, claim: &str, holds: impl FnMut(&ModelState) -> bool) {
    let mut state = live.watch();
    let found = tokio::time::timeout(std::time::Duration::from_secs(10), state.wait_for(holds)).await;
    assert!(found.is_ok(), "not within 10 s: {claim}; it is {:?}", live.state());
}

fn serves(live: &LiveModel) -> (u64, u64, Origin) {
    let serving = live.load().unwrap();
    (serving.version().get(), serving.generation().get(), serving.origin())
}

#[tokio::test]
async fn an_app_that_never_reached_kafka_serves_what_it_carries_and_says_so() {
    let mut story = Story::new();
    let first = story.publish(2);
    let (subscriber, live) = story.start(Some(story.pull(&first, 2))).await;
    assert_eq!(serves(&live), (1, 1, Origin::Embedded), "from the first moment on");
    let claim = "embedded: version 1 of generation 1 serves as the last resort; Kafka was never reached";
    until(&live, claim, |state| warns(state, claim)).await;
    let state = live.state();
    assert_eq!((state.phase, state.generation_seen, state.swaps), (Phase::Live, Generation::new(1), 1));
    subscriber.shutdown().await;
    assert_eq!(story.cache().seen(), Some(first.held()), "the generation is remembered");
}

#[tokio::test]
async fn without_an_embedded_version_nothing_serves() {
    let (subscriber, live) = Story::new().start(None).await;
    assert!(live.load().is_none());
    drop(subscriber);
}

#[tokio::test]
async fn what_was_live_goes_before_what_is_embedded() {
    let mut story = Story::new();
    let (first, second) = (story.publish(1), story.publish(2));
    story.was_live(&first);
    let (subscriber, live) = story.start(Some(story.pull(&second, 2))).await;
    assert_eq!(serves(&live), (1, 1, Origin::Kafka), "also where the embedded one is newer");
    drop(subscriber);
}

#[tokio::test]
async fn what_was_live_and_is_damaged_leaves_the_last_resort() {
    let mut story = Story::new();
    let (first, second) = (story.publish(1), story.publish(2));
    story.was_live(&first);
    story.damage();
    let (subscriber, live) = story.start(Some(story.pull(&second, 2))).await;
    assert_eq!(serves(&live), (2, 2, Origin::Embedded));
    drop(subscriber);
}

#[tokio::test]
async fn a_file_that_is_older_than_what_was_seen_takes_nobody_back() {
    let mut story = Story::new();
    let first = story.publish(1);
    story.cache().remember(story.publish(2).held()).unwrap();
    story.must_not_serve(story.pull(&first, 1), "generation 2 was seen here, and it is of 1").await;
}

#[tokio::test]
async fn a_file_that_contradicts_what_was_seen_is_not_served() {
    for generation in [1, 2] {
        let mut story = Story::new();
        story.publish(1);
        let second = story.publish(2);
        let other = Held { generation: Generation::new(generation), digest: Digest::of(b"other") };
        story.cache().remember(other).unwrap();
        let words = format!("generation {generation} was seen here, and it is of 2");
        story.must_not_serve(story.pull(&second, 2), &words).await;
    }
}

#[tokio::test]
async fn operators_win_over_what_is_embedded() {
    let mut story = Story::new();
    story.publish(1);
    story.publish(2);
    let target = PinTarget::Instance("a".parse().unwrap());
    let pinned = story.line.change(&Change::Pin { target, version: Version::FIRST });
    story.must_not_serve(story.pull(&pinned, 2), "version 2, and this instance is pinned to 1").await;
    let mut story = Story::new();
    story.publish(1);
    story.publish(2);
    let forbidden = story.line.change(&Change::Quarantine { version: Version::FIRST, instead: None });
    story.must_not_serve(story.pull(&forbidden, 1), "version 1 is quarantined").await;
}

#[tokio::test]
async fn a_pin_to_what_is_embedded_lets_it_serve() {
    let mut story = Story::new();
    story.publish(1);
    story.publish(2);
    let pinned = story.line.change(&Change::Pin { target: PinTarget::All, version: Version::FIRST });
    let (subscriber, live) = story.start(Some(story.pull(&pinned, 1))).await;
    assert_eq!(serves(&live), (1, 3, Origin::Embedded));
    drop(subscriber);
}

#[tokio::test]
async fn what_cannot_be_used_keeps_nobody_from_starting() {
    let mut story = Story::new();
    let first = story.publish(1);
    let (manifest, artifact) = version("fine", 1);
    let good = embedded(&first, &manifest, &artifact);
    let damaged: &'static [u8] = good[..good.len() - 1].to_vec().leak();
    story.must_not_serve(Embedded::Bytes(damaged), "was not written to its end").await;
    let story = Story::new();
    let missing = story.folder.path().join("missing");
    story.must_not_serve(Embedded::File(missing), "the embedded version cannot serve: cannot read").await;
}

#[tokio::test]
async fn a_model_or_namespace_that_is_not_this_ones_is_not_served() {
    let mut story = Story::new();
    let first = story.publish(1);
    let pulled = story.pull(&first, 1);
    let kafka = KafkaSettings { namespace: Namespace::parse("other").unwrap(), ..nobody() };
    let builder = Subscriber::builder(&kafka, &keys(), identity(), &story.state());
    let name = ModelName::parse("rent").unwrap();
    let builder = builder.model_with_embedded(model(), story.probe.policy(), pulled.clone());
    let builder = builder.model_with_embedded(name.clone(), story.probe.policy(), pulled);
    let subscriber = builder.start().await.unwrap();
    for live in subscriber.models() {
        let words = "it is model price of namespace test";
        until(live, words, |state| warns(state, words)).await;
        assert!(live.load().is_none());
    }
    drop(subscriber);
}

#[tokio::test]
async fn one_that_ended_the_process_is_not_decoded_again() {
    let mut story = Story::new();
    let first = story.publish(1);
    let mark = DecodeMark { version: Version::FIRST, manifest: version("fine", 1).0.digest() };
    story.cache().begin_decode(mark).unwrap();
    story.must_not_serve(story.pull(&first, 1), "ended this process before").await;
}

/// The loop of an instance that serves what it carries with it, and hears this.
async fn hears(
    story: &Story,
    pulled: Embedded,
    told: &Arc<InForce>,
    mut holds: impl FnMut(&LiveModel, &ModelState) -> bool,
) -> LiveModel {
    let mut installer = installer(story.cache(), &story.probe);
    let namespace = Namespace::parse("test").unwrap();
    let resort = LastResort { embedded: &pulled, namespace: &namespace, identity: &identity() };
    installer.resort = serve_what_is_here(&installer, Some(&resort));
    let live = installer.live.clone();
    assert_eq!(serves(&live).2, Origin::Embedded);
    let told = ModelNews { complete: true, in_force: Some(Arc::clone(told)), ..ModelNews::default() };
    let (_news, hears) = tokio::sync::watch::channel(told);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let task = tokio::spawn(Reconciler::new(installer, identity(), hears).run(stopped));
    until(&live, "it hears", |state| holds(&live, state)).await;
    stop.send_replace(true);
    task.await.unwrap();
    live
}

fn on_disk(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[tokio::test]
async fn what_kafka_says_replaces_what_is_embedded() {
    let mut story = Story::new();
    let first = story.publish(1);
    let (pulled, second) = (story.pull(&first, 1), story.publish(2));
    let live = hears(&story, pulled, &second, |live, _| serves(live).0 == 2).await;
    assert_eq!((serves(&live), live.state().phase), ((2, 2, Origin::Kafka), Phase::Live));
}

#[tokio::test]
async fn the_same_version_from_kafka_is_installed_so_that_a_restart_finds_it() {
    let mut story = Story::new();
    let first = story.publish(1);
    let pulled = story.pull(&first, 1);
    let live = hears(&story, pulled, &first, |live, _| serves(live).2 == Origin::Kafka).await;
    assert_eq!((serves(&live), live.state().swaps), ((1, 1, Origin::Kafka), 1));
    assert_eq!(on_disk(&story.state().join("test/price/versions")), 1);
}

#[tokio::test]
async fn a_damaged_version_on_disk_is_not_mended_by_what_is_embedded_but_from_kafka() {
    let mut story = Story::new();
    let first = story.publish(1);
    story.was_live(&first);
    let (artifact, pulled) = (story.damage(), story.pull(&first, 1));
    let live = hears(&story, pulled, &first, |live, _| serves(live).2 == Origin::Kafka).await;
    assert_eq!((serves(&live), fs::read(artifact).unwrap()), ((1, 1, Origin::Kafka), b"fine 1".to_vec()));
}

#[tokio::test]
async fn a_log_that_is_behind_what_is_embedded_is_not_followed() {
    let mut story = Story::new();
    let (first, second) = (story.publish(1), story.publish(2));
    let pulled = story.pull(&second, 2);
    let words = "history lost: generation 2 was seen";
    let live = hears(&story, pulled, &first, |_, state| warns(state, words)).await;
    assert_eq!(serves(&live), (2, 2, Origin::Embedded));
}
