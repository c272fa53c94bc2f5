//! How soon a published version answers requests.
//!
//! Two consumer-apps are asked every millisecond while versions are published. Each figure is the time from just before
//! the announcement's record is sent to the first HTTP answer that names its version, on the slower app. Both ends
//! are on this machine; the announcement's time has a resolution of 1 ms.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use modelcast::{Published, Publisher, clock, settings::KafkaSettings, topics};
use modelcast_protocol::{
    ModelName,
    key::{SigningKey, TrustedKeys},
};

use crate::{apps::App, broker::Broker, made_up};

/// A model of so many features travels inside its announcement.
const INLINE_WIDTH: usize = 20;
/// A model of so many has an artifact and a manifest that do not fit there: manifest and chunk are fetched.
const CHUNKED_WIDTH: usize = 300;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Versions to publish of each kind.
    #[arg(long, default_value_t = 100)]
    publishes: u32,
    /// A Kafka that is there, instead of the embedded broker.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Quantiles of one kind, in milliseconds.
#[derive(Debug, serde::Serialize)]
struct Figures {
    kind: &'static str,
    publishes: usize,
    artifact_bytes: u64,
    median_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let broker = Broker::start(args.kafka.as_deref())?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut figures = Vec::new();
    for (kind, width) in [("inline", INLINE_WIDTH), ("chunked", CHUNKED_WIDTH)] {
        figures.push(runtime.block_on(measure(&broker, args, kind, width))?);
    }
    if args.json {
        let whole = serde_json::json!({ "profile": crate::profile(), "figures": figures });
        println!("{whole}");
        return Ok(());
    }
    println!("announcement to first answer on the slower of two apps, {} build", crate::profile());
    println!(
        "{:8} {:>9} {:>9} {:>10} {:>8} {:>8} {:>8}",
        "kind", "publishes", "bytes", "median ms", "p90", "p99", "max"
    );
    for of in &figures {
        println!(
            "{:8} {:>9} {:>9} {:>10.1} {:>8.1} {:>8.1} {:>8.1}",
            of.kind, of.publishes, of.artifact_bytes, of.median_ms, of.p90_ms, of.p99_ms, of.max_ms
        );
    }
    Ok(())
}

async fn measure(broker: &Broker, args: &Args, kind: &'static str, width: usize) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let kafka = kafka(broker, args)?;
    let model: ModelName = kind.parse()?;
    topics::create(&kafka, std::slice::from_ref(&model), None).await?;
    let signing = SigningKey::from_seed(&rand::random());
    let trusted = TrustedKeys::new([signing.public()])?;
    let config = write_config(folder.path(), &kafka, &model, &signing)?;
    let publisher = Publisher::connect(&kafka, &trusted, signing).await?;
    let apps: Arc<Vec<App>> = Arc::new(
        ["bench-1", "bench-2"]
            .iter()
            .map(|instance| App::start(&config, instance, &folder.path().join(instance)))
            .collect::<anyhow::Result<_>>()?,
    );
    let mut millis = Vec::new();
    let mut artifact_bytes = 0;
    // One more than asked for: the first finds the apps without a model.
    for number in 1..=args.publishes + 1 {
        let (took, bytes) = one(&publisher, &apps, &model, width, number).await?;
        artifact_bytes = bytes;
        if number > 1 {
            millis.push(took.as_secs_f64() * 1_000.0);
        }
    }
    millis.sort_by(f64::total_cmp);
    let quantile = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among some hundred"
        )]
        let place = (part * (millis.len() - 1) as f64).round() as usize;
        millis.get(place).copied().context("nothing was published")
    };
    Ok(Figures {
        kind,
        publishes: millis.len(),
        artifact_bytes,
        median_ms: quantile(0.5)?,
        p90_ms: quantile(0.9)?,
        p99_ms: quantile(0.99)?,
        max_ms: quantile(1.0)?,
    })
}

/// Publishes one version while both apps are asked; gives how long the slower one took.
async fn one(
    publisher: &Publisher,
    apps: &Arc<Vec<App>>,
    model: &ModelName,
    width: usize,
    number: u32,
) -> anyhow::Result<(Duration, u64)> {
    let request = made_up::version(model, width, number)?;
    let asking: Vec<_> = (0..apps.len())
        .map(|place| {
            let (apps, name) = (Arc::clone(apps), model.to_string());
            tokio::task::spawn_blocking(move || {
                let app = apps.get(place).context("there are two apps")?;
                app.first_answer(&name, u64::from(number), &made_up::request(width))
            })
        })
        .collect();
    let Published::Committed(published) = publisher.publish(request, Arc::new(|_| {})).await? else {
        bail!("version {number} was not committed");
    };
    let since_announced =
        Duration::from_millis(clock::unix_ms().saturating_sub(published.announced_at_unix_ms));
    let announced_at =
        Instant::now().checked_sub(since_announced).context("the clock started after the announcement")?;
    let mut slowest = Duration::ZERO;
    for answered in asking {
        slowest = slowest.max(answered.await??.saturating_duration_since(announced_at));
    }
    Ok((slowest, published.artifact_bytes))
}

fn kafka(broker: &Broker, args: &Args) -> anyhow::Result<KafkaSettings> {
    let mut kafka = KafkaSettings { bootstrap_servers: broker.address.clone(), ..KafkaSettings::default() };
    kafka.namespace = format!("bench-{:08x}", rand::random::<u32>()).parse()?;
    if args.kafka.is_none() {
        // The embedded broker answers at half of this, and not when something arrives.
        kafka.properties.insert("fetch.wait.max.ms".into(), "20".into());
    }
    Ok(kafka)
}

fn write_config(
    folder: &Path,
    kafka: &KafkaSettings,
    model: &ModelName,
    signing: &SigningKey,
) -> anyhow::Result<std::path::PathBuf> {
    let key = folder.join("bench.pub.pem");
    fs::write(&key, signing.public().to_pem()?)?;
    let properties: String =
        kafka.properties.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"\n")).collect();
    let text = format!(
        "[kafka]\nbootstrap_servers = \"{}\"\nnamespace = \"{}\"\n[kafka.properties]\n{properties}\
         [keys]\ntrusted = [{key:?}]\n[[models]]\nname = \"{model}\"\n",
        kafka.bootstrap_servers, kafka.namespace
    );
    let path = folder.join("consumer-app.toml");
    fs::write(&path, text)?;
    Ok(path)
}
