//! Fetches the jars of Apache Kafka where they are missing, and prints the folder that holds them:
//! `cargo run -p modelcast-testcontainers --bin kafka-jars`.
//!
//! For `image/image.sh build`, and for a machine that is to be set up while it has a network. Tests fetch by themselves.

use std::io::Write;

fn main() -> anyhow::Result<()> {
    let folder = modelcast_testcontainers::jars::ensure()?;
    writeln!(std::io::stdout(), "{}", folder.display())?;
    Ok(())
}
