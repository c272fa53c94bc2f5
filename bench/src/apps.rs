//! consumer-app processes for one run, and the version that each answers with.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Pause between two requests.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// One consumer-app; ends with this value.
pub(crate) struct App {
    address: String,
    child: Child,
}

impl App {
    /// Starts the consumer-app that was built with this program.
    pub(crate) fn start(config: &Path, instance: &str, state: &Path) -> anyhow::Result<Self> {
        Self::run("serve", config, instance, state)
    }

    /// The same as a stream.
    pub(crate) fn stream(config: &Path, instance: &str, state: &Path) -> anyhow::Result<Self> {
        Self::run("stream", config, instance, state)
    }

    fn run(what: &str, config: &Path, instance: &str, state: &Path) -> anyhow::Result<Self> {
        let program = beside("consumer-app")?;
        let mut child = Command::new(&program)
            .arg(what)
            .arg("--config")
            .arg(config)
            .args(["--listen", "127.0.0.1:0", "--instance", instance, "--log", "warn", "--state"])
            .arg(state)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}; build it with the same profile", program.display()))?;
        let stdout = child.stdout.take().context("consumer-app has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").context("consumer-app did not start")?;
        Ok(Self { address: address.to_owned(), child })
    }

    /// Where it answers, as a URL.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A counter as a scrape finds it; none before it is there.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<Option<usize>> {
        let text = ureq::get(format!("{}/metrics", self.address)).call()?.body_mut().read_to_string()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| Ok(value.parse()?)).transpose()
    }

    /// Asks again and again until an answer names the version; gives when that answer was there.
    pub(crate) fn first_answer(
        &self,
        model: &str,
        version: u64,
        request: &serde_json::Value,
    ) -> anyhow::Result<Instant> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}/v2/models/{model}/infer", self.address);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut answer = agent.post(&url).send_json(request)?;
            let answered_at = Instant::now();
            let status = answer.status();
            let answer: serde_json::Value = answer.body_mut().read_json()?;
            if answer.get("model_version").and_then(serde_json::Value::as_str) == Some(&version.to_string()) {
                return Ok(answered_at);
            }
            // Asked without pause, the apps and their askers would take all cores from what is measured.
            std::thread::park_timeout(ASK_EVERY);
            if Instant::now() > deadline {
                bail!("{} still answers {status} {answer} instead of version {version}", self.address);
            }
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // It ended by itself where this fails.
        let (Ok(()) | Err(_)) = self.child.kill();
        let (Ok(_) | Err(_)) = self.child.wait();
    }
}

/// A program of the same build as this one.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?;
    Ok(folder.parent().context("this program is in no folder")?.join(name))
}
