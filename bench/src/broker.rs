//! The embedded broker for one run, or a Kafka that is there.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

/// A broker that ends with this value.
pub(crate) struct Broker {
    pub(crate) address: String,
    child: Option<Child>,
    _data: Option<tempfile::TempDir>,
}

impl Broker {
    /// Takes the Kafka at `address`, or starts the embedded broker on a port of its own.
    pub(crate) fn start(address: Option<&str>) -> anyhow::Result<Self> {
        if let Some(address) = address {
            return Ok(Self { address: address.to_owned(), child: None, _data: None });
        }
        let program = PathBuf::from("target/broker/debug/modelcast-broker");
        let data = tempfile::tempdir()?;
        let mut child = Command::new(&program)
            .arg("--data")
            .arg(data.path())
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("cannot start {}; `cargo xtask demo --once` builds it", program.display())
            })?;
        let stdout = child.stdout.take().context("the broker has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address =
            line.trim().strip_prefix("listening on ").context("the broker did not start")?.to_owned();
        Ok(Self { address, child: Some(child), _data: Some(data) })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It ended by itself where this fails.
            let (Ok(()) | Err(_)) = child.kill();
            let (Ok(_) | Err(_)) = child.wait();
        }
    }
}
