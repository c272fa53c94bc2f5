//! Guarantee 4: what was `Committed` survives the loss of any one broker at that moment.

use modelcast_testcontainers::{Ability, Cluster, offers};

use crate::support::held::{Held, before_announcing, committed};
use crate::support::scene::{Scene, model};
use crate::support::toy::{self, Process};
use crate::support::{runtime, wait_for};

const MODEL: &str = "price";
/// Too large to travel inside the announcement.
const SIZE_BYTES: usize = 300_000;

#[test]
fn what_was_committed_survives_the_loss_of_any_one_broker() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    let (runtime, cluster) = (runtime(), Cluster::exclusive());
    let scene = Scene::at(cluster.bootstrap_servers(), &cluster.namespace("survives"), &[MODEL]);
    for (place, broker) in cluster.brokers().into_iter().enumerate() {
        let weight = f64::from(u32::try_from(place).unwrap() + 1);
        let publisher = runtime.block_on(scene.publisher());
        let request = toy::large(MODEL, weight, SIZE_BYTES);
        let held = Held::at(&runtime, &publisher, request, before_announcing);
        let published = committed(held.outcome(&runtime));
        cluster.kill(broker).unwrap();

        let name = format!("reader-{place}");
        let fresh = runtime.block_on(scene.subscriber(&name, MODEL, toy::policy(Process::Test)));
        let live = fresh.model(&model(MODEL)).unwrap();
        let loaded = wait_for("the version to be live", || live.load());
        assert_eq!(loaded.digest(), published.manifest);
        let mut outputs = [0.0];
        loaded.predict(&[3.0], &mut outputs).unwrap();
        assert_eq!(outputs, [3.0 * weight]);
        let in_force = runtime.block_on(publisher.catalog().in_force(&model(MODEL))).unwrap().unwrap();
        assert_eq!(in_force.announcement.digest, published.announcement);
        runtime.block_on(fresh.shutdown());
        cluster.restart(broker).unwrap();
    }
}
