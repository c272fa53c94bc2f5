//! The loop against news told by hand: what it follows, refuses, cancels and says.

use std::path::{Path, PathBuf};

use modelcast_protocol::{
    Version,
    change::{Change, LeftVersion},
    desired::PinTarget,
    key::TrustedKeys,
};
use tempfile::TempDir;

use super::*;
use crate::{
    fetch::Fetcher,
    fixture::{Line, Probe, keys, model},
    live::ModelState,
    settings::KafkaSettings,
    subscribe::cache::Cache,
};

/// A running loop with everything around it.
struct Loop {
    probe: Arc<Probe>,
    live: LiveModel,
    news: watch::Sender<ModelNews>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl Loop {
    fn start(folder: TempDir) -> Self {
        let probe = Arc::<Probe>::default();
        let (reconciler, news) = reconciler(folder.path(), &probe);
        let live = reconciler.live.clone();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(reconciler.run(stopped));
        Self { probe, live, news, stop, task, folder }
    }

    fn new() -> Self {
        Self::start(tempfile::tempdir().unwrap())
    }

    fn tell(&self, in_force: &Arc<InForce>) {
        let in_force = Some(Arc::clone(in_force));
        self.news.send_modify(|news| *news = ModelNews { complete: true, in_force, ..ModelNews::default() });
    }

    async fn until(&self, claim: &str, holds: impl FnMut(&ModelState) -> bool) -> ModelState {
        let mut state = self.live.watch();
        let found = tokio::time::timeout(Duration::from_secs(10), state.wait_for(holds)).await;
        match found {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("not within 10 s: {claim}; it is {:?}", self.live.state()),
        }
    }

    async fn until_live(&self, version: u64, generation: u64) -> ModelState {
        let claim = format!("version {version} at generation {generation} is live");
        self.until(&claim, |state| {
            let served = state.served.map(|served| (served.version.get(), served.generation.get()));
            served == Some((version, generation)) && state.phase == Phase::Live
        })
        .await
    }

    async fn end(self) -> TempDir {
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), self.task).await.unwrap().unwrap();
        self.folder
    }

    fn mark(&self) -> PathBuf {
        self.folder.path().join("decoding.json")
    }
}

/// A loop that does not run, with what tells it news.
fn reconciler(folder: &Path, probe: &Arc<Probe>) -> (Reconciler, watch::Sender<ModelNews>) {
    let kafka = KafkaSettings { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaSettings::default() };
    let keys: TrustedKeys = keys();
    let installer = Installer {
        live: LiveModel::subscribed(model()).unwrap(),
        policy: probe.policy(),
        fetcher: Fetcher::new(&kafka, &keys, &model()),
        keys,
        cache: Cache::open(folder).unwrap(),
        resort: None,
    };
    let identity = Identity { instance: "a".parse().unwrap(), labels: [].into() };
    let (news, told) = watch::channel(ModelNews::default());
    (Reconciler::new(installer, identity, told), news)
}

fn seen(folder: &Path) -> u64 {
    Cache::open(folder).unwrap().seen().unwrap().generation.get()
}

fn back() -> Change {
    Change::Rollback { to: None, left: LeftVersion::Quarantine }
}

fn warns(state: &ModelState, of: &str) -> bool {
    state.warnings.iter().any(|warning| warning.contains(of))
}

#[tokio::test]
async fn nothing_is_done_before_the_end_of_the_log() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    let in_force = Some(line.publish("fine", 1));
    running.news.send_modify(|news| {
        *news = ModelNews { in_force, trouble: Some("halfway".into()), ..ModelNews::default() };
    });
    let state = running.until("it has looked", |state| warns(state, "halfway")).await;
    assert_eq!((state.wanted, running.probe.decodes()), (None, 0));
    running.tell(&line.publish("fine", 2));
    running.until_live(2, 2).await;
    assert_eq!((running.probe.decodes(), running.live.state().swaps), (1, 1));
}

#[tokio::test]
async fn a_rollback_is_a_swap_and_every_generation_is_remembered() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    for weight in 1..=2 {
        running.tell(&line.publish("fine", weight));
        running.until_live(weight, weight).await;
    }
    running.tell(&line.change(&back()));
    let state = running.until_live(1, 3).await;
    assert_eq!((running.probe.decodes(), state.swaps), (2, 3));
    let pin = Change::Pin { target: PinTarget::Label("zone".into(), "far".into()), version: Version::FIRST };
    running.tell(&line.change(&pin));
    running.until_live(1, 4).await;
    assert_eq!(running.live.state().swaps, 3, "a change for others swaps nothing");
    assert_eq!(seen(running.end().await.path()), 4);
}

#[tokio::test]
async fn a_rejection_leaves_the_serving_version_and_holds_until_a_retry() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    running.tell(&line.publish("fine", 1));
    running.until_live(1, 1).await;
    running.tell(&line.publish("off", 2));
    let refused =
        |state: &ModelState| matches!(&state.phase, Phase::Refused { stage, .. } if *stage == Stage::Golden);
    let state = running.until("version 2 is refused", refused).await;
    assert_eq!((state.served.unwrap().version, state.rejections.len()), (Version::FIRST, 1));
    running.live.retry();
    let twice = |state: &ModelState| state.rejections_total.get(&Stage::Golden) == Some(&2);
    running.until("the retry is refused too", twice).await;
    assert_eq!(running.probe.decodes(), 3);
    let pin = Change::Pin { target: PinTarget::Label("zone".into(), "far".into()), version: Version::FIRST };
    running.tell(&line.change(&pin));
    running.until("generation 3 is seen", |state| state.generation_seen.get() == 3).await;
    let state = running.until("it is still refused", refused).await;
    assert_eq!((running.probe.decodes(), state.rejections_total[&Stage::Golden]), (3, 2));
    assert_eq!(running.live.load().unwrap().version(), Version::FIRST);
}

#[tokio::test]
async fn a_version_that_is_overtaken_while_it_loads_never_serves() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    running.tell(&line.publish("fine", 1));
    running.until_live(1, 1).await;
    let (at_work, go_on) = running.probe.hold_next();
    running.tell(&line.publish("fine", 2));
    tokio::task::spawn_blocking(move || at_work.recv().unwrap()).await.unwrap();
    running.tell(&line.change(&back()));
    let is_wanted =
        |state: &ModelState| state.wanted.is_some_and(|(wanted, _)| wanted.version == Version::FIRST);
    running.until("the rollback is wanted", is_wanted).await;
    go_on.send(()).unwrap();
    running.until_live(1, 3).await;
    assert_eq!(running.live.state().swaps, 1, "version 2 was quarantined before it could serve");
    assert_eq!(running.live.load().unwrap().version(), Version::FIRST);
    let probe = Arc::clone(&running.probe);
    crate::fixture::eventually("it leaves memory", || probe.alive() == 1);
}

#[tokio::test]
async fn what_serves_is_live_only_of_the_version_that_is_wanted() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let (reconciler, _news) = reconciler(folder.path(), &probe);
    let show = |in_force: &InForce| {
        let wanted = reconciler.wanted(in_force).unwrap();
        reconciler.show_wanted(Some(in_force), Some(&wanted));
        (wanted.0, reconciler.live.state().phase)
    };
    let first = line.publish("fine", 1);
    let (entry, _) = show(&first);
    let (version, manifest, generation) = (entry.version, entry.manifest, first.generation());
    reconciler.live.update(|state| {
        state.served =
            Some(modelcast_protocol::status::Served { version, manifest, generation, since_unix_ms: 0 });
        state.phase = Phase::Live;
    });
    assert_eq!(show(&first).1, Phase::Live);
    assert_eq!(show(&line.publish("fine", 2)).1, Phase::Seen);
}

#[tokio::test]
async fn a_change_for_others_does_not_cancel_the_work() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    let (at_work, go_on) = running.probe.hold_next();
    running.tell(&line.publish("fine", 1));
    tokio::task::spawn_blocking(move || at_work.recv().unwrap()).await.unwrap();
    let pin = Change::Pin { target: PinTarget::Label("zone".into(), "far".into()), version: Version::FIRST };
    let in_force = Some(line.change(&pin));
    let trouble = Some("told".to_owned());
    running
        .news
        .send_modify(|news| *news = ModelNews { complete: true, in_force, trouble, unverified: None });
    let state = running.until("it has looked", |state| warns(state, "told")).await;
    assert_eq!(state.generation_seen.get(), 1, "seen before it is remembered");
    go_on.send(()).unwrap();
    running.until_live(1, 2).await;
    assert_eq!(running.probe.decodes(), 1);
}

#[tokio::test]
async fn a_log_that_lost_its_history_is_not_followed_also_after_a_restart() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    for weight in 1..=3 {
        running.tell(&line.publish("fine", weight));
        running.until_live(weight, weight).await;
    }
    let folder = running.end().await;
    let again = Loop::start(folder);
    let state = again.live.state();
    assert_eq!(state.generation_seen.get(), 3, "told before there is news: publishers must learn of it");
    for (lost, has) in [(None, 0), (Some(Line::new(2).publish("fine", 7)), 1)] {
        again.news.send_modify(|news| {
            *news = ModelNews { complete: true, in_force: lost, ..ModelNews::default() };
        });
        let said = format!("history lost: generation 3 was seen, the log has {has}");
        let state = again.until("the loss is said", |state| warns(state, &said)).await;
        assert_eq!(state.generation_seen.get(), 3);
    }
    assert!(again.probe.decodes() == 0 && again.live.load().is_none());
    again.tell(&line.publish("fine", 4));
    again.until_live(4, 4).await;
    again.until("it is mended", |state| !warns(state, "history lost")).await;
    assert_eq!(seen(again.end().await.path()), 4);
}

#[tokio::test]
async fn a_log_that_went_on_without_what_was_seen_is_followed_and_said_for_good() {
    let (running, mut line, mut other) = (Loop::new(), Line::new(1), Line::new(2));
    running.tell(&line.publish("fine", 1));
    running.until_live(1, 1).await;
    other.publish("fine", 5);
    running.tell(&other.publish("fine", 6));
    running.until_live(2, 2).await;
    running.until("the fork is said", |state| warns(state, "history forked")).await;
    running.tell(&other.publish("fine", 7));
    let state = running.until_live(3, 3).await;
    assert!(warns(&state, "history forked"), "{:?}", state.warnings);
}

#[tokio::test]
async fn an_instance_whose_disk_refuses_says_so_and_follows_nothing() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    std::fs::create_dir(running.folder.path().join("seen.new")).unwrap();
    running.tell(&line.publish("fine", 1));
    running.until("the disk is blamed", |state| warns(state, "state folder cannot be written")).await;
    assert!(running.live.load().is_none());
    std::fs::remove_dir(running.folder.path().join("seen.new")).unwrap();
    let state = running.until_live(1, 1).await;
    running.until("it is mended", |state| state.warnings.is_empty()).await;
    assert_eq!(state.swaps, 1);
}

#[tokio::test]
async fn a_decoder_that_is_at_work_at_an_orderly_end_has_not_crashed_the_process() {
    let (running, mut line) = (Loop::new(), Line::new(1));
    let (at_work, go_on) = running.probe.hold_next();
    running.tell(&line.publish("fine", 1));
    tokio::task::spawn_blocking(move || at_work.recv().unwrap()).await.unwrap();
    let mark = running.mark();
    assert!(mark.is_file());
    let folder = running.end().await;
    assert!(!mark.exists());
    go_on.send(()).unwrap();
    let path = folder.path().to_owned();
    crate::fixture::eventually("the folder is free", || Cache::open(&path).is_ok());
    assert!(Cache::open(&path).unwrap().crashes().is_empty());
}

#[tokio::test]
async fn a_version_that_is_overtaken_after_it_was_loaded_never_serves() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let (mut reconciler, news) = reconciler(folder.path(), &probe);
    let mut tell = |weight| {
        let in_force = Some(line.publish("fine", weight));
        news.send_modify(|news| *news = ModelNews { complete: true, in_force, ..ModelNews::default() });
    };
    tell(1);
    let mut job = reconciler.look(None);
    let done = finished(job.as_mut()).await;
    tell(2); // the one before is loaded, and on its way to the slot
    assert!(reconciler.finish(done));
    assert!(reconciler.live.load().is_none());
    crate::fixture::eventually("it leaves memory", || probe.alive() == 0);
}

#[tokio::test]
async fn a_disk_that_refuses_is_not_asked_again_at_once() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let (mut reconciler, news) = reconciler(folder.path(), &probe);
    std::fs::create_dir(folder.path().join("seen.new")).unwrap();
    let in_force = Some(line.publish("fine", 1));
    news.send_modify(|news| *news = ModelNews { complete: true, in_force, ..ModelNews::default() });
    let mut job = reconciler.look(None);
    let done = finished(job.as_mut()).await;
    assert!(reconciler.finish(done));
    assert!(reconciler.look(None).is_none());
    reconciler.verdicts.end_wait();
    assert!(reconciler.look(None).is_some());
}
