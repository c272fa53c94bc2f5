//! A live model in a service of one's own: the model is swapped while the loop predicts.
//!
//! `cargo run -p modelcast --example live_service -- KEYS_FOLDER` with a Kafka on localhost:9092, as `cargo xtask
//! broker` starts one, after the readme's commands published a version; KEYS_FOLDER is state/keys.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{path::Path, time::Duration};

use modelcast::{
    Subscriber,
    admission::Policy,
    protocol::resolve::Identity,
    settings::{KafkaSettings, KeySettings},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let keys = std::env::args().nth(1).unwrap_or_else(|| "keys".into());
    let trusted = KeySettings { trusted: vec![keys.into()], signing: None }.trusted()?;
    let identity = Identity { instance: "my-service".parse()?, labels: [].into() };
    let subscriber =
        Subscriber::builder(&KafkaSettings::default(), &trusted, identity, Path::new("state/my-service"))
            .model("property-value".parse()?, Policy::standard())
            .start()
            .await?;
    let live = subscriber.models().next().expect("one model was named").clone();
    for _ in 0..60 {
        if let Some(model) = live.load() {
            let golden = model.encoder().encode_golden(&model.manifest().golden)?;
            let mut outputs = [0.0];
            model.predict(&golden.row(0).to_vec(), &mut outputs)?;
            println!("version {} says {outputs:?}", model.version());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    subscriber.shutdown().await;
    Ok(())
}
