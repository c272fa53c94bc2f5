//! A user's whole integration test: a service that predicts, a real Kafka, two versions.

use modelcast::{LiveModel, admission::Policy};
use modelcast_testcontainers::{Kafka, Stage, TinyModel};

/// The service under test: what a house of this area is worth.
fn value_of(live: &LiveModel, area: f64) -> Option<f64> {
    let mut outputs = [0.0];
    live.load()?.predict(&[area], &mut outputs).ok()?;
    Some(outputs[0])
}

#[tokio::test]
async fn the_service_answers_by_what_was_published_last() -> Result<(), Box<dyn std::error::Error>> {
    let stage = Stage::on(Kafka::shared(), "my-service", &["price"]).await?;
    let subscriber = stage.subscriber("app-1")?.model("price".parse()?, Policy::standard()).start().await?;
    let live = subscriber.models().next().unwrap();
    for weight in [2.0, 3.0] {
        stage.publish_and_wait("price", TinyModel { weight }, 1).await?;
        assert_eq!(value_of(live, 100.0), Some(weight * 100.0));
    }
    subscriber.shutdown().await;
    Ok(())
}
