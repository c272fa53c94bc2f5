//! A rolling restart of all brokers under publishes and subscribers, as an upgrade of Kafka does it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use modelcast::protocol::announcement::Announcement;
use modelcast::publish::PublishedVersion;
use modelcast::{Published, Publisher};
use modelcast_testcontainers::{Ability, Cluster, offers};

use crate::support::scene::{Scene, model};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
const APPS: [&str; 2] = ["app-1", "app-2"];

/// Publishes one version after the other until it is told to end; each must be committed.
async fn publish_on(
    publisher: Publisher,
    first: PublishedVersion,
    done: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
) -> Vec<PublishedVersion> {
    let mut published = vec![first];
    while !end.load(SeqCst) {
        let weight = f64::from(u32::try_from(published.len()).unwrap() + 1);
        match publisher.publish(linear::request(MODEL, weight), Arc::new(|_| {})).await {
            Ok(Published::Committed(one)) => published.push(*one),
            other => panic!("version {weight}: {other:?}"),
        }
        done.fetch_add(1, SeqCst);
    }
    published
}

#[test]
fn a_rolling_restart_loses_no_publish_and_restarts_no_app() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("rolling"), &[MODEL]);
    let publisher = runtime.block_on(scene.publisher());
    let catalog = publisher.catalog().clone();
    let (done, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let apps = APPS.map(|name| scene.app(name, &[MODEL]));
    let first = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    // Before the next ones, which come at once: each of them takes an app away from the one before.
    for app in &apps {
        wait_for("the app to be ready", || app.is_ready().then_some(()));
    }
    let boots_before = scene.wait_until_reported(MODEL, APPS.len());
    let publishing = runtime.spawn(publish_on(publisher, first, Arc::clone(&done), Arc::clone(&end)));

    for broker in cluster.brokers() {
        let before = done.load(SeqCst);
        cluster.stop(broker).unwrap();
        let published_on = || (done.load(SeqCst) > before + 1 || publishing.is_finished()).then_some(());
        wait_for("a publish without this broker", published_on);
        cluster.restart(broker).unwrap();
    }
    end.store(true, SeqCst);
    let published = runtime.block_on(publishing).unwrap();
    eprintln!("{} versions published meanwhile", published.len());

    let last = published.last().unwrap();
    for app in &apps {
        app.wait_until_live(MODEL, last.version.get(), last.generation.get());
    }
    let (_, history) = runtime.block_on(catalog.history(&model(MODEL))).unwrap();
    let of_log = history.iter().map(|one: &Announcement| one.digest).collect::<Vec<_>>();
    let of_publisher = published.iter().map(|one| one.announcement).collect::<Vec<_>>();
    assert_eq!(of_log, of_publisher);
    assert_eq!(scene.wait_until_reported(MODEL, APPS.len()), boots_before);
}
