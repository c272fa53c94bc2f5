//! From an announcement, or the disk, to a loaded model; none of it needs a broker.

use std::{fs, path::Path};

use modelcast_protocol::Version;

use super::*;
use crate::{
    fixture::{Line, Probe, key, keys, manifest, model, noisy, version},
    settings::KafkaSettings,
};

fn installer(folder: &Path, probe: &Arc<Probe>) -> Installer {
    // Nothing listens there.
    let kafka = KafkaSettings { bootstrap_servers: "127.0.0.1:1".into(), ..KafkaSettings::default() };
    Installer {
        live: LiveModel::subscribed(model()).unwrap(),
        policy: probe.policy(),
        keys: keys(),
        cache: Cache::open(folder).unwrap(),
        fetcher: Fetcher::new(&kafka, &keys(), &model()),
        resort: None,
    }
}

fn order(in_force: &Arc<InForce>) -> Order {
    let state = in_force.announcement.body.as_ref().unwrap();
    let entry = state.entry(state.champion).cloned();
    Order { in_force: Arc::clone(in_force), entry, forgive: false, cancelled: Arc::default() }
}

/// Installs the champion and serves it.
fn serve(installer: &mut Installer, in_force: &Arc<InForce>) {
    match installer.carry_out(&order(in_force)) {
        Outcome::Loaded(loaded) => installer.live.serve(Arc::new(*loaded)),
        other => panic!("not loaded: {other:?}"),
    }
}

fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Failed(InstallError::Fetch(FetchError::Refused(refused))) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

fn on_disk(installer: &Installer) -> usize {
    installer.cache.kept().len()
}

#[test]
fn the_newest_that_served_is_the_last_known_good_one() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let mut first = installer(folder.path(), &probe);
    assert!(first.last_known_good().is_none());
    for weight in 1..=3 {
        serve(&mut first, &line.publish("fine", weight));
    }
    assert_eq!(on_disk(&first), 2, "the serving one and the one before");
    assert_eq!(probe.most_alive.load(std::sync::atomic::Ordering::SeqCst), 2, "old and new, never three");
    drop(first);
    let again = installer(folder.path(), &probe);
    let loaded = again.last_known_good().unwrap();
    assert_eq!((loaded.version().get(), loaded.generation().get()), (3, 3));
    assert_eq!(again.held().unwrap().generation.get(), 3);
}

#[test]
fn a_version_that_ended_the_process_is_not_decoded_again_at_the_next_start() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let mut first = installer(folder.path(), &probe);
    serve(&mut first, &line.publish("fine", 1));
    serve(&mut first, &line.publish("fine", 2));
    let killer = first.live.load().unwrap();
    first.cache.begin_decode(DecodeMark { version: killer.version(), manifest: killer.digest() }).unwrap();
    drop((first, killer));
    let again = installer(folder.path(), &probe);
    assert_eq!(again.last_known_good().unwrap().version(), Version::FIRST);
    assert_eq!(probe.decodes(), 3, "two installed, one from disk");
}

#[test]
fn a_damaged_last_known_good_version_gives_way_to_the_one_before() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::default(), Line::new(1));
    let mut first = installer(folder.path(), &probe);
    let (one, two) = (line.publish("fine", 1), line.publish("fine", 2));
    serve(&mut first, &one);
    serve(&mut first, &two);
    let served = first.live.load().unwrap().digest();
    let Some(Artifact::File(path)) = first.cache.find(served).map(|kept| kept.artifact) else { panic!() };
    fs::write(&path, "fine 9").unwrap();
    drop(first);
    let mut again = installer(folder.path(), &probe);
    assert_eq!(again.last_known_good().unwrap().version(), Version::FIRST);
    serve(&mut again, &two);
    assert_eq!(fs::read(&path).unwrap(), b"fine 2", "and is fetched anew when it is wanted");
}

#[test]
fn the_generation_seen_survives_the_loss_of_its_file() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::default(), Line::new(1));
    let mut first = installer(folder.path(), &probe);
    let in_force = line.publish("fine", 1);
    serve(&mut first, &in_force);
    fs::write(folder.path().join("seen.json"), "{").unwrap();
    assert_eq!(first.held(), Some(in_force.held()));
}

#[test]
fn what_is_too_large_is_refused_before_a_byte_of_it_is_asked_for() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let mut installer = installer(folder.path(), &probe);
    installer.policy.artifact_max_bytes = 600_000;
    let found = refused(installer.carry_out(&order(&line.publish_version(&noisy(1).1, None))));
    assert_eq!(found.stage, Stage::Size);
    assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn a_chunk_that_is_on_this_machine_is_not_fetched() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::default(), Line::new(1));
    let mut installer = installer(folder.path(), &probe);
    let (bytes, first) = noisy(1);
    let incoming = folder.path().join("incoming");
    fs::write(incoming.join(first.digest().to_hex()), &bytes).unwrap();
    serve(&mut installer, &line.publish_version(&first, None));
    let mut again = manifest(&bytes, 1.0);
    again.lineage.code_revision = "another run, the same weights".into();
    serve(&mut installer, &line.publish_version(&again.sign(&key()).unwrap(), None));
    assert_eq!(installer.live.load().unwrap().version().get(), 2);
    assert_eq!((on_disk(&installer), fs::read_dir(&incoming).unwrap().count()), (2, 0));
}

#[test]
fn a_version_that_is_not_wanted_any_more_never_becomes_the_last_known_good_one() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let mut installer = installer(folder.path(), &probe);
    serve(&mut installer, &line.publish("fine", 1));
    let (at_work, go_on) = probe.hold_next();
    let order = order(&line.publish("fine", 2));
    let cancelled = Arc::clone(&order.cancelled);
    let work = std::thread::spawn(move || (installer.carry_out(&order), installer));
    at_work.recv().unwrap();
    cancelled.store(true, Relaxed);
    go_on.send(()).unwrap();
    let (outcome, installer) = work.join().unwrap();
    assert!(matches!(outcome, Outcome::Failed(InstallError::Fetch(FetchError::Cancelled))), "{outcome:?}");
    assert_eq!(installer.last_known_good().unwrap().version(), Version::FIRST);
    assert!(installer.live.slot().make_room(|| true), "and leaves memory");
}

#[test]
fn a_version_in_memory_is_not_decoded_again() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let mut installer = installer(folder.path(), &probe);
    for weight in [1, 2] {
        serve(&mut installer, &line.publish("fine", weight));
    }
    let back = modelcast_protocol::change::Change::Rollback {
        to: None,
        left: modelcast_protocol::change::LeftVersion::Quarantine,
    };
    let in_force = line.change(&back);
    serve(&mut installer, &in_force);
    let live = installer.live.load().unwrap();
    assert_eq!((live.version().get(), live.generation().get(), probe.decodes()), (1, 3, 2));
    drop(installer);
    let again = super::tests::installer(folder.path(), &probe);
    assert_eq!(again.last_known_good().unwrap().version(), Version::FIRST, "also after a restart");
}

#[test]
fn a_model_that_panics_when_it_is_refused_leaves_the_installer_usable() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::default(), Line::new(1));
    let mut installer = installer(folder.path(), &probe);
    assert_eq!(refused(installer.carry_out(&order(&line.publish("clings-off", 1)))).stage, Stage::Decode);
    assert!(!installer.cache.mark().exists(), "the process did not die");
    serve(&mut installer, &line.publish("fine", 2));
}

#[test]
fn nothing_is_done_because_of_a_generation_that_cannot_be_remembered() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let mut installer = installer(folder.path(), &probe);
    fs::create_dir(folder.path().join("seen.new")).unwrap(); // where the file would be written
    let outcome = installer.carry_out(&order(&line.publish("fine", 1)));
    assert!(matches!(outcome, Outcome::NotRemembered(_)), "{outcome:?}");
    assert_eq!((probe.decodes(), on_disk(&installer)), (0, 0));
}

#[test]
fn a_version_of_another_key_is_refused_by_its_signature() {
    let (folder, probe, mut line) = (tempfile::tempdir().unwrap(), Arc::<Probe>::default(), Line::new(1));
    let mut installer = installer(folder.path(), &probe);
    let (stranger, artifact) = version("fine", 1);
    let stranger =
        stranger.manifest().clone().sign(&modelcast_protocol::key::SigningKey::from_seed(&[9; 32]));
    let in_force = line.publish_version(&stranger.unwrap(), artifact.small(100).unwrap());
    assert_eq!(refused(installer.carry_out(&order(&in_force))).stage, Stage::Signature);
    assert_eq!(probe.decodes(), 0);
}
