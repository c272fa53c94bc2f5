//! Requests against every app, as fast as they are answered, for as long as the story lasts.
//!
//! # Invariants
//! * A request is answered when the answer is complete, names the model and a version, and holds a finite number;
//!   anything else is a failure.
//! * Closed loop: a client sends its next request when the last one is answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::interrupt::Interrupt;
use super::tally::Tally;

const CLIENTS_PER_APP: usize = 2;
/// An answer that takes longer is a failure.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A model to ask, and what to ask it.
pub(super) struct Target {
    pub(super) model: String,
    pub(super) requests: Vec<Value>,
}

type Targets = Arc<RwLock<Vec<Arc<Target>>>>;

/// The running clients.
pub(super) struct Load {
    targets: Targets,
    tallies: Vec<Arc<Mutex<Tally>>>,
    end: Interrupt,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts clients of the apps at these addresses; they wait for a target.
    pub(super) fn start(urls: &[String]) -> Self {
        let targets = Targets::default();
        let end = Interrupt::default();
        let mut tallies = Vec::new();
        let mut clients = Vec::new();
        for url in urls {
            let tally = Arc::new(Mutex::new(Tally::default()));
            for _ in 0..CLIENTS_PER_APP {
                let (url, targets, tally, end) =
                    (url.clone(), Arc::clone(&targets), Arc::clone(&tally), end.clone());
                clients.push(std::thread::spawn(move || client(&url, &targets, &tally, &end)));
            }
            tallies.push(tally);
        }
        Self { targets, tallies, end, clients }
    }

    /// Asks this model too from now on: it must be live.
    pub(super) fn add(&self, target: Target) {
        self.targets.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(target));
    }

    pub(super) fn has(&self, model: &str) -> bool {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).iter().any(|target| target.model == model)
    }

    /// What was counted so far, one for each app.
    pub(super) fn tallies(&self) -> Vec<Tally> {
        self.tallies.iter().map(|tally| lock(tally).clone()).collect()
    }

    /// Ends after the requests under way.
    pub(super) fn stop(&mut self) {
        self.end.set();
        for client in self.clients.drain(..) {
            if client.join().is_err() {
                eprintln!("a client of the load panicked");
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn client(url: &str, targets: &Targets, tally: &Mutex<Tally>, end: &Interrupt) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let mut round = 0_usize;
    while !end.is_set() {
        let current: Vec<Arc<Target>> = targets.read().unwrap_or_else(PoisonError::into_inner).clone();
        if current.is_empty() {
            end.wait(Duration::from_millis(20));
        }
        for target in current {
            let Some(request) = target.requests.iter().cycle().nth(round % target.requests.len().max(1))
            else {
                continue;
            };
            match ask(&agent, url, &target.model, request) {
                Ok(version) => lock(tally).answer(&target.model, version),
                Err(error) => lock(tally).fail(format!("{}: {error:#}", target.model)),
            }
        }
        round = round.wrapping_add(1);
    }
}

/// One prediction; which version answered.
fn ask(agent: &ureq::Agent, url: &str, model: &str, request: &Value) -> anyhow::Result<u64> {
    let mut response = agent.post(format!("{url}/v2/models/{model}/infer")).send_json(request)?;
    let status = response.status();
    let text = response.body_mut().read_to_string().context("the answer broke off")?;
    if status != 200 {
        bail!("{status}: {text}");
    }
    let answer: Value = serde_json::from_str(&text).context("the answer is no JSON")?;
    answering_version(&answer, model).with_context(|| format!("not a prediction of {model}: {text}"))
}

fn answering_version(answer: &Value, model: &str) -> Option<u64> {
    let names_model = answer.get("model_name")?.as_str()? == model;
    let is_finite = answer.pointer("/outputs/0/data/0")?.as_f64()?.is_finite();
    let version = answer.get("model_version")?;
    // The Open Inference Protocol has the version as text.
    let version = version.as_u64().or_else(|| version.as_str()?.parse().ok())?;
    (names_model && is_finite).then_some(version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_complete_prediction_of_the_model_counts_as_answered() {
        let answer = |name: &str, version: Value, data: Value| json!({ "model_name": name, "model_version": version, "outputs": [{ "name": "y", "data": data }] });
        assert_eq!(answering_version(&answer("m", json!("4"), json!([1.5])), "m"), Some(4));
        for wrong in [
            answer("other", json!("4"), json!([1.5])),
            answer("m", json!("four"), json!([1.5])),
            answer("m", json!("4"), json!([])),
            answer("m", json!("4"), json!([null])),
            json!({ "error": "not ready" }),
        ] {
            assert_eq!(answering_version(&wrong, "m"), None, "{wrong}");
        }
    }

    #[test]
    fn an_app_that_is_not_there_is_a_failure_of_each_request() {
        let mut load = Load::start(&["http://127.0.0.1:1".to_owned()]);
        assert!(!load.has("m"));
        load.add(Target { model: "m".to_owned(), requests: vec![json!({})] });
        assert!(load.has("m"));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while load.tallies()[0].failed() == 0 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        load.stop();
        let tally = load.tallies().remove(0);
        assert!(tally.failed() > 0 && tally.failed() == tally.total());
        assert!(tally.causes()[0].starts_with("m: "));
    }
}
