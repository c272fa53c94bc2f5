//! A Kafka to try things on, gone when this program is: `cargo run -p modelcast-testcontainers [-- --brokers 3]`.
//!
//! Prints two lines, its address and where it runs, and waits for the end of its input.
//! The same as tests get, so also what the test kills to see that nothing stays behind.

use std::io::Write;

use clap::Parser;
use modelcast_testcontainers::{Cluster, Kafka};

/// A Kafka to try things on, until the end of the input
#[derive(Parser)]
struct Args {
    /// How many brokers: 1 or 3
    #[arg(long, default_value = "1", value_parser = ["1", "3"])]
    brokers: String,
}

fn main() -> anyhow::Result<()> {
    if Args::parse().brokers == "3" {
        let cluster = Cluster::start()?;
        return serve(cluster.bootstrap_servers(), cluster.machine());
    }
    let kafka = Kafka::start()?;
    serve(kafka.bootstrap_servers(), kafka.machine())
}

/// Until the end of the input.
fn serve(address: &str, machine: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "bootstrap.servers={address}")?;
    writeln!(output, "machine={machine}")?;
    output.flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
