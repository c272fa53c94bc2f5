//! Kafka down is not application down: an app goes on answering, and starts again from what it has on disk.

use std::time::{Duration, Instant};

use modelcast_testcontainers::{Ability, Kafka, offers};
use serde_json::json;

use crate::support::app::App;
use crate::support::scene::Scene;
use crate::support::{linear, runtime, wait_for, wait_within};

const MODEL: &str = "price";
const START_WITHIN: Duration = Duration::from_secs(10);

fn must_answer_with(app: &App, version: u32) {
    let (status, answer) = app.infer(MODEL, &linear::areas(&[3.0]));
    assert_eq!(
        (status, &answer["outputs"][0]["data"]),
        (200, &json!([3.0 * f64::from(version)])),
        "{answer}"
    );
    assert_eq!(answer["model_version"], version.to_string());
}

/// The app says in its status that it has no news, and from where.
fn must_name_the_address(app: &App, scene: &Scene) {
    let address = &scene.kafka.bootstrap_servers;
    wait_within(START_WITHIN, "a warning that names the address", || {
        let warnings = app.model(MODEL)["warnings"].to_string();
        (warnings.contains(address.as_str()) && warnings.contains("no news")).then_some(())
    });
    assert!(app.log().contains(address.as_str()));
}

#[test]
fn an_app_answers_while_kafka_is_down_and_starts_again_from_disk() {
    if !offers(&[Ability::Restart]) {
        return;
    }
    let (runtime, kafka) = (runtime(), Kafka::start().unwrap());
    let scene = Scene::on(&kafka, "restart", &[MODEL]);
    let publisher = runtime.block_on(scene.publisher());
    let mut app = scene.app("app-1", &[MODEL]);
    for version in 1..=2_u32 {
        let published =
            runtime.block_on(linear::publish(&publisher, linear::request(MODEL, f64::from(version))));
        app.wait_until_live(MODEL, u64::from(version), published.generation.get());
    }

    kafka.stop().unwrap();
    must_answer_with(&app, 2);
    wait_for("the app to notice", || {
        app.model(MODEL)["warnings"].to_string().contains("no news").then_some(())
    });
    must_answer_with(&app, 2);
    assert!(app.is_ready());
    app.running.kill();
    drop(app);

    let started = Instant::now();
    let app = scene.app("app-1", &[MODEL]);
    let status = app.wait_until_live_within(START_WITHIN, MODEL, 2, 2);
    must_answer_with(&app, 2);
    assert!(started.elapsed() < START_WITHIN, "answered after {:?}", started.elapsed());
    assert_eq!(status["swaps"], 1);
    assert!(app.is_ready());
    must_name_the_address(&app, &scene);

    let new = scene.app("app-2", &[MODEL]);
    must_name_the_address(&new, &scene);
    assert!(!new.is_ready());
    let (code, refused) = new.infer(MODEL, &linear::areas(&[3.0]));
    assert_eq!(code, 503, "{refused}");
    assert!(new.log().contains("nothing on disk to serve"), "{}", new.log());

    kafka.start_again().unwrap();
    let published = runtime.block_on(linear::publish(&publisher, linear::request(MODEL, 3.0)));
    for app in [&app, &new] {
        app.wait_until_live(MODEL, 3, published.generation.get());
        must_answer_with(app, 3);
        wait_for("the warning to go", || (app.model(MODEL)["warnings"] == json!([])).then_some(()));
    }
}
