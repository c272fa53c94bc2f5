//! A Kafka to try things on, gone when this program is: `cargo run -p modelcast-testcontainers`.
//!
//! Prints two lines, its address and its container, and waits for the end of its input.
//! The same as tests get, so also what the test kills to see that nothing stays behind.

use std::io::Write;

use modelcast_testcontainers::Kafka;

fn main() -> anyhow::Result<()> {
    let kafka = Kafka::start()?;
    let mut output = std::io::stdout();
    writeln!(output, "bootstrap.servers={}", kafka.bootstrap_servers())?;
    writeln!(output, "container={}", kafka.container_name())?;
    output.flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
