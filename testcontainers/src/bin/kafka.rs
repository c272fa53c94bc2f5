//! A Kafka to try things on, gone when this program is: `cargo run -p modelcast-testcontainers [-- --brokers 3]`.
//!
//! Prints two lines, its address and where it runs, and waits for the end of its input.
//! The same as tests get, so also what the test kills to see that nothing stays behind.

use std::io::Write;

use anyhow::bail;
use modelcast_testcontainers::{Cluster, Kafka};

fn main() -> anyhow::Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["--brokers", "1"] => {
            let kafka = Kafka::start()?;
            serve(kafka.bootstrap_servers(), kafka.machine())
        }
        ["--brokers", "3"] => {
            let cluster = Cluster::start()?;
            serve(cluster.bootstrap_servers(), cluster.machine())
        }
        _ => bail!("usage: kafka [--brokers 1|3]"),
    }
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
