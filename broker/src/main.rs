//! The embedded Kafka-compatible broker: Nisshi on SQLite in one folder, on loopback.
//!
//! For trying Modelcast out where no Kafka is at hand; its tests run on Apache Kafka. Not for production: one node, no
//! replication, no authentication, no transactions, and therefore no other address than 127.0.0.1.
//!
//! # Invariants
//! * One process for each data folder: a lock file sees to it, and the kernel frees it however the process ends.
//! * `listening on ADDRESS` is printed once, after the first connection was accepted.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use nisshi_broker::{broker::Broker, coordinator::group::administrator::Controller};
use nisshi_storage::ArcDynStorage;
use tokio::time::{Instant, sleep};
use url::Url;
use uuid::Uuid;

/// How often the start is probed until the port accepts connections.
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// Run a Kafka-compatible broker on 127.0.0.1, its topics in SQLite in a folder.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder of the topics; created when missing
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 9092)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let _lock = open_folder(&args.data)?;
    let address = free_address(args.port)?;
    // Nisshi resolves the path of a SQLite URL, leading slash or not, against the working directory.
    std::env::set_current_dir(&args.data).with_context(|| format!("cannot enter {}", args.data.display()))?;
    let broker = build(address).await.with_context(|| format!("cannot open {}", args.data.display()))?;
    tokio::select! {
        // Ends by itself on SIGINT (at once) and SIGTERM (open connections have 5 s).
        ended = broker.main(Instant::now()) => { ended.context("the broker failed")?; }
        _ = announce_and_wait(address) => {}
    }
    Ok(())
}

/// Makes sure that the folder is there, writable and nobody else's, for as long as the returned file is open.
fn open_folder(folder: &Path) -> anyhow::Result<File> {
    let shown = folder.display();
    if folder.exists() && !folder.is_dir() {
        bail!("--data {shown}: is not a folder");
    }
    std::fs::create_dir_all(folder).with_context(|| format!("--data {shown}: cannot be created"))?;
    let lock =
        File::create(folder.join("lock")).with_context(|| format!("--data {shown}: is not writable"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!("--data {shown}: another modelcast-broker uses this folder"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("--data {shown}: cannot be locked"))
        }
    }
}

/// Tries the port before anything is opened, since a taken one would otherwise be probed as if it were ours.
fn free_address(port: u16) -> anyhow::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.local_addr())
        .with_context(|| format!("--port {port}: cannot listen on 127.0.0.1:{port}"))
}

async fn build(address: SocketAddr) -> anyhow::Result<Broker<Controller<ArcDynStorage>, ArcDynStorage>> {
    let listener = Url::parse(&format!("tcp://{address}"))?;
    let broker = Broker::<Controller<ArcDynStorage>, ArcDynStorage>::builder()
        .node_id(1)
        .cluster_id("modelcast")
        .incarnation_id(Uuid::now_v7())
        .advertised_listener(listener.clone())
        .listener(listener)
        .storage(Url::parse("sqlite:///broker.db")?)
        .silent(true)
        .build()
        .await?;
    Ok(broker)
}

/// Prints the address once connections are accepted, then never returns: the broker decides when to end.
async fn announce_and_wait(address: SocketAddr) -> std::convert::Infallible {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        sleep(PROBE_EVERY).await;
    }
    let mut stdout = std::io::stdout();
    // Whoever started us may have closed the pipe: no reason to stop serving.
    _ = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
    std::future::pending().await
}
