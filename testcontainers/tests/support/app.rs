//! A running `consumer-app`, seen through HTTP as its users see it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::programs::{Running, command};
use super::{wait_for, wait_within};

/// An answer that takes longer is a failure.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) running: Running,
    log: PathBuf,
    agent: ureq::Agent,
}

impl App {
    /// Starts it and waits until it listens.
    pub(crate) fn start(name: &str, config: &Path) -> Self {
        Self::start_logging(name, config, "info")
    }

    /// The same, logging what this filter lets through.
    pub(crate) fn start_logging(name: &str, config: &Path, filter: &str) -> Self {
        let (out, log) = (config.with_extension("out"), config.with_extension("log"));
        let mut command = command("consumer-app");
        command.args(["serve", "--log", filter, "--config"]).arg(config);
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap()).stdin(Stdio::null());
        let mut running = Running::start(&mut command);
        let url = wait_for("the app to listen", || {
            assert!(running.runs(), "{name} ended: {}", fs::read_to_string(&log).unwrap());
            let printed = fs::read_to_string(&out).unwrap();
            Some(printed.strip_suffix('\n')?.strip_prefix("listening on ")?.to_owned())
        });
        Self { name: name.to_owned(), url, running, log, agent: agent() }
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// A status and a JSON body.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    /// A metric as a scrape finds it, by its name with its labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let mut answer = self.agent.get(format!("{}/metrics", self.url)).call().unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.body_mut().read_to_string().unwrap();
        let (_, value) =
            text.lines().filter_map(|line| line.rsplit_once(' ')).find(|(one, _)| *one == name)?;
        Some(value.parse().unwrap())
    }

    /// One inference request.
    pub(crate) fn infer(&self, model: &str, request: &Value) -> (u16, Value) {
        ask(&self.agent, &self.url, model, request).unwrap()
    }

    /// Where a model stands, as the app itself says.
    pub(crate) fn model(&self, model: &str) -> Value {
        self.models().into_iter().find(|one| one["model"] == model).unwrap()
    }

    /// The same of each of its models.
    pub(crate) fn models(&self) -> Vec<Value> {
        let (_, mut status) = self.get("/status");
        serde_json::from_value(status["models"].take()).unwrap()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/v2/health/ready").0 == 200
    }

    /// Waits until it serves a version, at this generation or a later one; gives what it says of itself then.
    pub(crate) fn wait_until_live(&self, model: &str, version: u64, generation: u64) -> Value {
        self.wait_until_live_within(super::DEADLINE, model, version, generation)
    }

    pub(crate) fn wait_until_live_within(
        &self,
        within: Duration,
        model: &str,
        version: u64,
        generation: u64,
    ) -> Value {
        let what = format!("{} to serve version {version}", self.name);
        wait_within(within, &what, || {
            let found = self.model(model);
            let served = &found["served"];
            let is_it = served["version"] == version && served["generation"].as_u64()? >= generation;
            is_it.then_some(found)
        })
    }

    /// Ends it in an orderly way and waits for that.
    pub(crate) fn stop(mut self) {
        self.running.terminate();
        wait_for("the app to end", || (!self.running.runs()).then_some(()));
    }
}

/// A client that takes every status for an answer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into()
}

/// One inference request by a client of the test's own.
pub(crate) fn ask(
    agent: &ureq::Agent,
    url: &str,
    model: &str,
    request: &Value,
) -> Result<(u16, Value), ureq::Error> {
    let mut answer = agent.post(format!("{url}/v2/models/{model}/infer")).send_json(request)?;
    Ok((answer.status().as_u16(), answer.body_mut().read_json()?))
}
