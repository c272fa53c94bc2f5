//! What one prediction costs in each way to ask for it: in the process, of a model that is swapped, over REST, over gRPC.
//!
//! All ask the same version, the test data of the client crate, for the same row, one request after another on
//! one connection of this machine. Without Kafka. Streams and batches are measured by rows a second (see `stream` and
//! `batch`).

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use modelcast::{
    LiveModel, LoadedModel,
    admission::Policy,
    protocol::key::{PublicKey, TrustedKeys},
};
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use crate::apps::App;

const FILE: &str = "shared/client/testdata/breast-cancer.modelcast";
const KEY: &str = "shared/client/testdata/test-only.pub.pem";
/// So many predictions in the process are timed together: one alone is shorter than the clock's grain.
const TOGETHER: u32 = 1_000;
const CALL: PathAndQuery = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Requests of each way.
    #[arg(long, default_value_t = 5_000)]
    requests: u32,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, serde::Serialize)]
struct Figures {
    way: &'static str,
    median_us: f64,
    p99_us: f64,
}

/// The fields of the protocol's messages that this asks with and looks at.
#[derive(Clone, PartialEq, prost::Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<InferTensor>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw_input_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InferTensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InferResponse {
    #[prost(bytes = "vec", repeated, tag = "6")]
    raw_output_contents: Vec<Vec<u8>>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let model = load()?;
    let row = model.encoder().encode_golden(&model.manifest().golden)?.row(0).to_vec();
    let folder = tempfile::tempdir()?;
    let app = App::start(&config(folder.path())?, "bench", &folder.path().join("state"))?;
    let figures = [
        in_process(&model, &row, args.requests)?,
        live(load()?, &row, args.requests)?,
        over_rest(&app, &model, &row, args.requests)?,
        tokio::runtime::Runtime::new()?.block_on(over_grpc(&app, &model, &row, args.requests))?,
    ];
    if args.json {
        println!("{}", serde_json::json!({ "profile": crate::profile(), "figures": figures }));
        return Ok(());
    }
    println!("one row of {} features, {} build", row.len(), crate::profile());
    println!("{:12} {:>12} {:>12}", "way", "median µs", "p99 µs");
    for of in &figures {
        println!("{:12} {:>12.2} {:>12.2}", of.way, of.median_us, of.p99_us);
    }
    Ok(())
}

fn load() -> anyhow::Result<LoadedModel> {
    let key = fs::read_to_string(KEY).context("run this in the repository's root")?;
    let keys = TrustedKeys::new([PublicKey::from_pem(&key)?])?;
    Ok(LoadedModel::embedded(Path::new(FILE).to_owned(), &keys, &Policy::standard())?)
}

fn config(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let (key, file) = (fs::canonicalize(KEY)?, fs::canonicalize(FILE)?);
    let text = format!(
        "[kafka]\nbootstrap_servers = \"\"\n[keys]\ntrusted = [{key:?}]\n\
         [[models]]\nname = \"breast-cancer\"\nembedded = {file:?}\n"
    );
    let path = folder.join("consumer-app.toml");
    fs::write(&path, text)?;
    Ok(path)
}

fn in_process(model: &LoadedModel, row: &[f64], requests: u32) -> anyhow::Result<Figures> {
    let mut outputs = vec![0.0; model.schema().outputs.len()];
    let mut took = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        for _ in 0..TOGETHER {
            model.predict(std::hint::black_box(row), std::hint::black_box(&mut outputs))?;
        }
        took.push(began.elapsed() / TOGETHER);
    }
    figures("embedded", took)
}

/// Takes the snapshot anew for each prediction, as a service does for each request.
fn live(model: LoadedModel, row: &[f64], requests: u32) -> anyhow::Result<Figures> {
    let mut outputs = vec![0.0; model.schema().outputs.len()];
    let live = LiveModel::fixed(model)?;
    let mut took = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        for _ in 0..TOGETHER {
            let snapshot = live.load().context("a fixed model is live")?;
            snapshot.predict(std::hint::black_box(row), std::hint::black_box(&mut outputs))?;
        }
        took.push(began.elapsed() / TOGETHER);
    }
    figures("live", took)
}

fn over_rest(app: &App, model: &LoadedModel, row: &[f64], requests: u32) -> anyhow::Result<Figures> {
    let agent = ureq::Agent::new_with_defaults();
    let url = format!("{}/v2/models/{}/infer", app.address(), model.name());
    let body = serde_json::json!({ "inputs": [
        { "name": "features", "shape": [1, row.len()], "datatype": "FP64", "data": row },
    ] });
    let body = body.to_string();
    let mut took = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        let answer = agent.post(&url).send(&body)?.body_mut().read_to_string()?;
        took.push(began.elapsed());
        anyhow::ensure!(answer.contains("\"digest\""), "an answer names no digest: {answer}");
    }
    figures("REST", took)
}

async fn over_grpc(app: &App, model: &LoadedModel, row: &[f64], requests: u32) -> anyhow::Result<Figures> {
    let channel = Channel::from_shared(app.address().to_owned())?.connect().await?;
    let mut client = Grpc::new(channel);
    let width = i64::try_from(row.len())?;
    let tensor =
        InferTensor { name: "features".to_owned(), datatype: "FP64".to_owned(), shape: vec![1, width] };
    let raw = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    let request = InferRequest {
        model_name: model.name().to_string(),
        inputs: vec![tensor],
        raw_input_contents: vec![raw],
    };
    let mut took = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        client.ready().await?;
        let codec = ProstCodec::<InferRequest, InferResponse>::default();
        let answer = client.unary(tonic::Request::new(request.clone()), CALL, codec).await?;
        took.push(began.elapsed());
        anyhow::ensure!(!answer.into_inner().raw_output_contents.is_empty(), "an answer has no output");
    }
    figures("gRPC", took)
}

fn figures(way: &'static str, mut took: Vec<Duration>) -> anyhow::Result<Figures> {
    // The first tenth warms up connection and caches.
    took.drain(..took.len() / 10);
    took.sort_unstable();
    let at = |place: usize| took.get(place).map(|took| took.as_secs_f64() * 1e6).context("nothing was asked");
    Ok(Figures { way, median_us: at(took.len() / 2)?, p99_us: at(took.len() * 99 / 100)? })
}
