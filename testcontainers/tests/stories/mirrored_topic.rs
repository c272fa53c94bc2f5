//! Records of a blobs topic that stand at other offsets than announced, as in a mirror, or that are gone: what is there is
//! found by its digest, and what is not is sent again by whoever publishes the same.

use std::sync::Arc;

use modelcast::Published;
use modelcast::protocol::change::{Change, LeftVersion};
use modelcast::protocol::topic;
use serde_json::json;

use crate::support::scene::{Scene, model};
use crate::support::signer::Signer;
use crate::support::topics::{append, create_anew, cut_all, records};
use crate::support::{linear, runtime};

const MODEL: &str = "price";

/// Announces something that carries no version: what does is not fetched from the topic.
fn pin_nobody(scene: &Scene) {
    let pin = ["pin", MODEL, "1", "--instance", "nobody", "--reason", "a story"];
    scene.modelcast(&pin).must_end_with(0);
}

#[test]
fn a_mirrors_other_offsets_are_no_hindrance() {
    let (runtime, scene) = (runtime(), Scene::new("mirror", &[MODEL]));
    let signer = runtime.block_on(Signer::connect(&scene));
    for weight in [1.0, 2.0] {
        runtime.block_on(signer.publish(MODEL, signer.package(MODEL, weight)));
    }
    let blobs = topic::blobs(&scene.kafka.namespace, &model(MODEL));
    let originals = records(&scene.kafka, &blobs.name);
    assert_eq!(originals.len(), 6, "two versions, each a manifest and two chunks");

    runtime.block_on(create_anew(&scene.kafka, std::slice::from_ref(&blobs)));
    // Every announced offset holds something else, and a key stands there with other bytes before its own.
    let mut mirror = vec![(originals[0].0.clone(), b"other bytes".to_vec()); 3];
    mirror.extend(originals.into_iter().rev());
    runtime.block_on(append(&scene.kafka, &blobs.name, &mirror));

    for version in ["1", "2"] {
        scene.modelcast(&["verify", MODEL, version]).must_end_with(0);
    }
    let app = scene.app("app-1", &[MODEL]);
    app.wait_until_live(MODEL, 2, 2);
    let publisher = runtime.block_on(scene.publisher());
    let back = Change::Rollback { to: None, left: LeftVersion::Keep };
    runtime.block_on(publisher.change(&model(MODEL), &back, &linear::stamp("operator"))).unwrap();
    app.wait_until_live(MODEL, 1, 3);
    let (_, answer) = app.infer(MODEL, &linear::areas(&[3.0]));
    assert_eq!(answer["outputs"][0]["data"], json!([3.0]));
}

#[test]
fn what_a_champion_has_lost_is_sent_again_by_publishing_the_same() {
    let (runtime, scene) = (runtime(), Scene::new("lost-chunks", &[MODEL]));
    let publisher = runtime.block_on(scene.publisher());
    let published = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    pin_nobody(&scene);
    scene.modelcast(&["verify", MODEL]).must_end_with(0);
    let blobs = topic::blobs(&scene.kafka.namespace, &model(MODEL)).name;
    runtime.block_on(cut_all(&scene.kafka, &blobs));
    scene.modelcast(&["verify", MODEL]).must_end_with(1);

    let same = || runtime.block_on(publisher.publish(linear::request(MODEL, 1.0), Arc::new(|_| {}))).unwrap();
    for look in ["sent again", "whole"] {
        match same() {
            Published::Unchanged { version, generation, manifest } => {
                assert_eq!((version, generation.get(), manifest), (published.version, 2, published.manifest));
            }
            other => panic!("{look}: {other:?}"),
        }
        assert_eq!(records(&scene.kafka, &blobs).len(), 2, "a chunk and the manifest, once");
    }
    scene.modelcast(&["verify", MODEL]).must_end_with(0);
    scene.app("app-1", &[MODEL]).wait_until_live(MODEL, 1, 2);
}

#[test]
fn a_champion_whose_manifest_is_nowhere_is_published_anew() {
    let (runtime, scene) = (runtime(), Scene::new("lost-manifest", &[MODEL]));
    let (publisher, signer) =
        runtime.block_on(async { (scene.publisher().await, Signer::connect(&scene).await) });
    runtime.block_on(signer.publish(MODEL, signer.package(MODEL, 1.0)));
    runtime.block_on(cut_all(&scene.kafka, &topic::blobs(&scene.kafka.namespace, &model(MODEL)).name));
    let again = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 1.0)));
    assert_eq!((again.version.get(), again.generation.get()), (2, 2));
    scene.modelcast(&["verify", MODEL]).must_end_with(0);
}
