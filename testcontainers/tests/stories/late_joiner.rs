//! An app that comes late runs what is wanted now, and nothing of what was before.

use modelcast::protocol::Version;
use modelcast::protocol::change::{Change, LeftVersion};
use serde_json::json;

use crate::support::scene::{Scene, model};
use crate::support::{linear, runtime};

const MODEL: &str = "price";

#[test]
fn a_late_joiner_goes_live_on_the_champion_and_never_serves_an_older_version() {
    let (runtime, scene) = (runtime(), Scene::new("late-joiner", &[MODEL]));
    let apps = ["app-1", "app-2"].map(|name| scene.app(name, &[MODEL]));
    let generation = runtime.block_on(async {
        let publisher = scene.publisher().await;
        let roll_to = |version| {
            let to = Some(Version::new(version).unwrap());
            let (publisher, change) = (&publisher, Change::Rollback { to, left: LeftVersion::Keep });
            async move {
                let done =
                    publisher.change(&model(MODEL), &change, &linear::stamp("operator")).await.unwrap();
                done.generation.get()
            }
        };
        for version in 1..=3_u32 {
            linear::publish(&publisher, linear::request(MODEL, f64::from(version))).await;
        }
        roll_to(1).await;
        for version in 4..=5_u32 {
            linear::publish(&publisher, linear::request(MODEL, f64::from(version))).await;
        }
        roll_to(2).await;
        roll_to(4).await
    });
    apps.iter().for_each(|app| drop(app.wait_until_live(MODEL, 4, generation)));

    let late = scene.app("app-3", &[MODEL]);
    let found = late.wait_until_live(MODEL, 4, generation);
    // One swap, and this is what it brought: there was none before.
    assert_eq!((&found["swaps"], &found["rejections"]), (&json!(1), &json!([])), "{found:#}");
    let (status, answer) = late.infer(MODEL, &linear::areas(&[3.0]));
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([12.0])));
    scene.wait_for_status(MODEL, "app-3", "the operator to see it", |one| one["standing"] == "live");
    assert_eq!(scene.status(MODEL).1, Some(0));
}
