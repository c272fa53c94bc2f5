//! Topics that were just created: whoever looks for them next finds them, whichever broker it asks.

use modelcast::topics;
use modelcast_testcontainers::{Ability, Cluster, offers};

use crate::support::scene::{Scene, model};
use crate::support::topics::is_known;
use crate::support::{runtime, wait_for};

const MODEL: &str = "price";

#[test]
fn creation_waits_for_a_broker_that_has_not_heard_of_it_yet() {
    if !offers(&[Ability::Cluster]) {
        return;
    }
    // So long a broker that hangs counts as one of the cluster.
    let cluster = Cluster::builder().setting("broker.session.timeout.ms", "120000").start().unwrap();
    // Kafka itself waits half a minute for a controller that hangs.
    let controller = cluster.controller().unwrap();
    let hangs = cluster.brokers().into_iter().find(|broker| *broker != controller).unwrap();
    let kafka_at = |broker| {
        let address = format!("127.0.0.1:{}", cluster.proxy(broker).port());
        let mut kafka = Scene::bare(&address, "created").kafka;
        // Not to lose more time where the client asks the broker that hangs.
        kafka.properties.insert("socket.timeout.ms".to_owned(), "1000".to_owned());
        kafka
    };
    let (runtime, models) = (runtime(), [model(MODEL)]);
    let (at_one, at_other) = (kafka_at(controller), kafka_at(hangs));
    let names: Vec<_> = topics::specs(&at_one, &models).into_iter().map(|spec| spec.name).collect();
    cluster.freeze(hangs).unwrap();
    let creation = {
        let kafka = at_one.clone();
        runtime.spawn(async move { topics::create(&kafka, &models, None).await })
    };
    for name in &names {
        wait_for("one broker to know", || is_known(&at_one, name).then_some(()));
    }
    assert!(!creation.is_finished(), "a broker has not heard of it");
    cluster.thaw(hangs).unwrap();
    let created = runtime.block_on(creation).unwrap().unwrap();
    assert!(created.iter().map(|(name, _)| name).eq(&names), "{created:?}");
    assert!(names.iter().all(|name| is_known(&at_other, name)));
}
