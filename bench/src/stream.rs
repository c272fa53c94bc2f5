//! How many records a second go from topic to topic through a model, as a ratio to the same without one.
//!
//! Both read the same records in a group of their own, in batches of the same size, each a transaction where the Kafka
//! has them. Without a model, each value is written as it came. A rate counts from the first batch that is committed
//! to the last, so that joining the group does not count.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use modelcast::{
    Published, Publisher,
    pipe::{self, Delivered, Delivery, Destination, Guarantee, Outgoing, Pipe, PipeSettings, Start},
    settings::KafkaSettings,
    topics,
};
use modelcast_protocol::{
    ModelName,
    key::{SigningKey, TrustedKeys},
};

use crate::{apps::App, broker::Broker, made_up};

const PARTITIONS: i32 = 4;
const BATCH_RECORDS: usize = 5_000;
/// Pause between two looks at the app's metrics.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A run that takes longer is a failure.
const DEADLINE: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Records to take through.
    #[arg(long, default_value_t = 200_000)]
    records: usize,
    /// Features of the model, which are the fields of a record.
    #[arg(long, default_value_t = 20)]
    features: usize,
    /// A Kafka that is there, instead of the embedded broker, which has no transactions.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Records a second.
#[derive(Debug, serde::Serialize)]
struct Figures {
    profile: &'static str,
    delivery: &'static str,
    records: usize,
    record_bytes: usize,
    raw_per_second: f64,
    stream_per_second: f64,
    ratio: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let broker = Broker::start(args.kafka.as_deref())?;
    let figures = tokio::runtime::Runtime::new()?.block_on(measure(&broker, args))?;
    if args.json {
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let Figures { profile, delivery, records, record_bytes, .. } = figures;
    println!("{records} records of {record_bytes} bytes, {delivery}, {profile} build");
    println!("consume and produce alone {:>12.0} records/s", figures.raw_per_second);
    println!("with the model            {:>12.0} records/s", figures.stream_per_second);
    println!("ratio                     {:>12.2}", figures.ratio);
    Ok(())
}

async fn measure(broker: &Broker, args: &Args) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let mut kafka = KafkaSettings { bootstrap_servers: broker.address.clone(), ..KafkaSettings::default() };
    kafka.namespace = format!("bench-{:08x}", rand::random::<u32>()).parse()?;
    if args.kafka.is_none() {
        // The embedded broker answers at half of this, and not when something arrives.
        kafka.properties.insert("fetch.wait.max.ms".into(), "20".into());
    }
    let model: ModelName = "stream".parse()?;
    topics::create(&kafka, std::slice::from_ref(&model), None).await?;
    wait_for_topics(&kafka, &model).await?;
    let signing = SigningKey::from_seed(&rand::random());
    let key = folder.path().join("bench.pub.pem");
    fs::write(&key, signing.public().to_pem()?)?;
    let publisher = Publisher::connect(&kafka, &TrustedKeys::new([signing.public()])?, signing).await?;
    let published = publisher.publish(made_up::version(&model, args.features, 1)?, Arc::new(|_| {})).await?;
    let Published::Committed(_) = published else { bail!("the model was not committed") };

    let topic = |end: &str| format!("{}-{end}", kafka.namespace);
    let names = ["in", "raw", "out", "dead"].map(topic);
    pipe::create_topics(&kafka, &names.each_ref().map(String::as_str), PARTITIONS).await?;
    let values: Vec<_> = (0..args.records).map(|number| made_up::record(args.features, number)).collect();
    let record_bytes = values.first().map_or(0, Vec::len);
    pipe::fill(&kafka, &topic("in"), PARTITIONS, values).await?;

    let (of_raw, records) = (kafka.clone(), args.records);
    let (guarantee, raw_per_second) = tokio::task::spawn_blocking(move || raw(&of_raw, records)).await??;
    let config = write_config(folder.path(), &kafka, &model, &key)?;
    let state = folder.path().join("state");
    let stream_per_second =
        tokio::task::spawn_blocking(move || through_the_model(&config, &state, records)).await??;
    Ok(Figures {
        profile: crate::profile(),
        delivery: guarantee.name(),
        records,
        record_bytes,
        raw_per_second,
        stream_per_second,
        ratio: stream_per_second / raw_per_second,
    })
}

/// A broker may hear of a new topic a moment after it was made.
async fn wait_for_topics(kafka: &KafkaSettings, model: &ModelName) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match topics::check(kafka, std::slice::from_ref(model)).await {
            Err(error) if began.elapsed() > DEADLINE => return Err(error.into()),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// Each value from the one topic into the other, as it is.
fn raw(kafka: &KafkaSettings, records: usize) -> anyhow::Result<(Guarantee, f64)> {
    let topic = |end: &str| format!("{}-{end}", kafka.namespace);
    let settings = PipeSettings {
        input: topic("in"),
        output: topic("raw"),
        dead_letters: topic("dead"),
        group: topic("raw-group"),
        member: "raw".parse()?,
        static_membership: false,
        start: Start::Earliest,
        delivery: Delivery::Best,
        records_max: BATCH_RECORDS,
        bytes_max: 8 * 1024 * 1024,
        linger: Duration::from_millis(20),
        session_timeout: Duration::from_secs(10),
        busy_max: Duration::from_secs(300),
        transaction_timeout: Duration::from_secs(30),
    };
    let mut pipe = Pipe::open(kafka, settings)?;
    let mut pace = Pace::new(records);
    while !pace.is_over()? {
        let batch = pipe.gather()?;
        let outgoing = batch.iter().map(|record| Outgoing {
            to: Destination::Output,
            from_partition: record.partition,
            key: record.key.as_deref(),
            value: record.value.as_deref().map(Into::into),
            at_unix_ms: record.at_unix_ms,
            headers: record.headers.clone(),
        });
        let outgoing = outgoing.collect();
        if !batch.is_empty() && pipe.deliver(&batch, outgoing)? == Delivered::Committed {
            pace.add(batch.len());
        }
    }
    Ok((pipe.guarantee(), pace.per_second()?))
}

/// The built consumer-app, as its metrics tell it.
fn through_the_model(config: &Path, state: &Path, records: usize) -> anyhow::Result<f64> {
    let app = App::stream(config, "bench-1", state)?;
    let mut pace = Pace::new(records);
    while !pace.is_over()? {
        std::thread::park_timeout(LOOK_EVERY);
        let done = app.metric("modelcast_stream_records_total")?.unwrap_or(0);
        pace.add(done.saturating_sub(pace.done));
    }
    if app.metric("modelcast_stream_dead_letters_total")? != Some(0) {
        bail!("records were not scored: they are in the dead letters");
    }
    pace.per_second()
}

/// From the first batch to the last.
struct Pace {
    wanted: usize,
    done: usize,
    began: Instant,
    first: Option<(usize, Instant)>,
    last: Instant,
}

impl Pace {
    fn new(wanted: usize) -> Self {
        let now = Instant::now();
        Self { wanted, done: 0, began: now, first: None, last: now }
    }

    fn add(&mut self, records: usize) {
        if records > 0 {
            self.done += records;
            self.last = Instant::now();
            self.first.get_or_insert((self.done, self.last));
        }
    }

    fn is_over(&self) -> anyhow::Result<bool> {
        if self.began.elapsed() > DEADLINE {
            bail!("{} of {} records came through in {DEADLINE:?}", self.done, self.wanted);
        }
        Ok(self.done >= self.wanted)
    }

    fn per_second(&self) -> anyhow::Result<f64> {
        let (first, at) = self.first.context("no batch came through")?;
        let records = u32::try_from(self.done - first)?;
        if records == 0 {
            bail!("all came through in one batch: take more than {BATCH_RECORDS} records");
        }
        Ok(f64::from(records) / self.last.duration_since(at).as_secs_f64())
    }
}

fn write_config(
    folder: &Path,
    kafka: &KafkaSettings,
    model: &ModelName,
    key: &Path,
) -> anyhow::Result<std::path::PathBuf> {
    let namespace = &kafka.namespace;
    let properties: String =
        kafka.properties.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"\n")).collect();
    let text = format!(
        "[kafka]\nbootstrap_servers = \"{}\"\nnamespace = \"{namespace}\"\n[kafka.properties]\n{properties}\
         [keys]\ntrusted = [{key:?}]\n[stream]\nmodel = \"{model}\"\ninput = \"{namespace}-in\"\n\
         output = \"{namespace}-out\"\ndead_letters = \"{namespace}-dead\"\ngroup = \"{namespace}-group\"\n\
         delivery = \"best\"\nbatch_records_max = {BATCH_RECORDS}\n",
        kafka.bootstrap_servers
    );
    let path = folder.join("stream.toml");
    fs::write(&path, text)?;
    Ok(path)
}
