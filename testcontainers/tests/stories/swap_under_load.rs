//! Swaps under load: no request fails, and no answer mixes two versions.
//!
//! Each answer is recomputed afterwards from the artifact that it names, and compared bit for bit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use modelcast::models::{DecodeContext, Decoders, Model};
use modelcast::publish::PublishedVersion;
use serde_json::Value;

use crate::support::app::{App, agent, ask};
use crate::support::scene::Scene;
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
const SWAPS: u64 = 20;
const CLIENTS_PER_APP: usize = 8;
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(50);
/// What is asked, several rows at once, and of no two versions answered alike.
const ROWS: [[f64; 3]; 4] = [[1.0, 2.5, 70.0], [0.1, 33.3, 1e6], [7.0, 11.0, 13.0], [1e-3, 0.7, 2.0]];

/// What one request was answered.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    rows: usize,
    version: u64,
    digest: String,
    outputs: Vec<f64>,
}

/// The versions as they were published, by the digest that answers name.
#[derive(Default)]
struct Truth(BTreeMap<String, (u64, Box<dyn Model>)>);

impl Truth {
    fn add(&mut self, published: &PublishedVersion, artifact: &[u8]) {
        let schema = Arc::new(linear::schema());
        let size_bytes = artifact.len() as u64;
        let context = DecodeContext { schema: &schema, size_bytes, required_features: &[] };
        let model = Decoders::standard().get("glm").unwrap().decode(&mut &*artifact, &context).unwrap();
        self.0.insert(published.manifest.to_string(), (published.version.get(), model));
    }

    fn outputs(&self, digest: &str, rows: usize) -> Vec<f64> {
        let (_, model) = &self.0[digest];
        let predict = |area: &f64| {
            let mut output = [0.0];
            model.predict(&[*area], &mut output).unwrap();
            output[0]
        };
        ROWS[rows].iter().map(predict).collect()
    }

    /// Places of the answers that are not, bit for bit, what the version they name says.
    fn mixed(&self, answers: &[Answer]) -> Vec<usize> {
        let bits = |outputs: &[f64]| outputs.iter().map(|output| output.to_bits()).collect::<Vec<_>>();
        let is_right = |answer: &Answer| {
            self.0.get(&answer.digest).is_some_and(|(version, _)| *version == answer.version)
                && bits(&self.outputs(&answer.digest, answer.rows)) == bits(&answer.outputs)
        };
        answers.iter().enumerate().filter(|(_, answer)| !is_right(answer)).map(|(place, _)| place).collect()
    }
}

/// Clients of one app, each asking again soon after it is answered.
struct Load {
    end: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(url: &str) -> Self {
        let mut load = Self {
            end: Arc::default(),
            answers: Arc::default(),
            failures: Arc::default(),
            clients: Vec::new(),
        };
        for client in 0..CLIENTS_PER_APP {
            let (url, end) = (url.to_owned(), Arc::clone(&load.end));
            let (answers, failures) = (Arc::clone(&load.answers), Arc::clone(&load.failures));
            load.clients.push(std::thread::spawn(move || {
                let agent = agent();
                for rows in (0..ROWS.len()).cycle().skip(client) {
                    if end.load(Relaxed) {
                        break;
                    }
                    match one_request(&agent, &url, rows) {
                        Ok(answer) => answers.lock().unwrap().push(answer),
                        Err(failure) => failures.lock().unwrap().push(failure),
                    }
                    // Without it the clients take all processors, and Kafka gets none.
                    std::thread::park_timeout(PAUSE);
                }
            }));
        }
        load
    }

    fn has_answer_of(&self, version: u64) -> bool {
        self.answers.lock().unwrap().iter().rev().any(|answer| answer.version == version)
    }

    fn finish(mut self) -> Vec<Answer> {
        self.end.store(true, Relaxed);
        self.clients.drain(..).for_each(|client| client.join().unwrap());
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} requests failed, first: {:?}", failures.len(), failures.first());
        self.answers.lock().unwrap().clone()
    }
}

/// A failing test leaves no clients behind.
impl Drop for Load {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}

fn one_request(agent: &ureq::Agent, url: &str, rows: usize) -> Result<Answer, String> {
    let (status, answer) =
        ask(agent, url, MODEL, &linear::areas(&ROWS[rows])).map_err(|error| error.to_string())?;
    let parse = || {
        let outputs: Option<Vec<f64>> =
            answer["outputs"][0]["data"].as_array()?.iter().map(Value::as_f64).collect();
        Some(Answer {
            rows,
            version: answer["model_version"].as_str()?.parse().ok()?,
            digest: answer["parameters"]["digest"].as_str()?.to_owned(),
            outputs: outputs?,
        })
    };
    parse().filter(|_| status == 200).ok_or_else(|| format!("{status}: {answer}"))
}

/// Publishes version after version, each as soon as both apps answered with the one before.
async fn publish_all(scene: &Scene, apps: &[App], loads: &mut Vec<Load>) -> Truth {
    let publisher = scene.publisher().await;
    let mut truth = Truth::default();
    for version in 1..=SWAPS + 1 {
        let weight = 0.1 + 1.7 * version as f64;
        let published = linear::publish(&publisher, linear::request(MODEL, weight)).await;
        assert_eq!(published.version.get(), version);
        truth.add(&published, &linear::artifact(weight));
        for app in apps {
            app.wait_until_live(MODEL, version, published.generation.get());
        }
        if loads.is_empty() {
            loads.extend(apps.iter().map(|app| Load::start(&app.url)));
        }
        for load in &*loads {
            wait_for("an answer of the new version", || load.has_answer_of(version).then_some(()));
        }
    }
    truth
}

#[test]
fn twenty_swaps_under_load_fail_no_request_and_mix_no_answer() {
    let scene = Scene::new("swap-under-load", &[MODEL]);
    let apps = ["app-1", "app-2"].map(|name| scene.app(name, &[MODEL]));
    let mut loads = Vec::new();
    let truth = runtime().block_on(publish_all(&scene, &apps, &mut loads));
    for app in &apps {
        // The first one went into an empty slot.
        assert!(app.model(MODEL)["swaps"].as_u64().unwrap() > SWAPS);
    }
    for (rows, areas) in ROWS.iter().enumerate() {
        let outputs = truth.0.keys().flat_map(|digest| truth.outputs(digest, rows));
        let distinct: BTreeSet<u64> = outputs.map(f64::to_bits).collect();
        assert_eq!(distinct.len(), truth.0.len() * areas.len(), "rows {rows} cannot tell versions apart");
    }
    for load in loads {
        let mut answers = load.finish();
        let versions: BTreeSet<u64> = answers.iter().map(|answer| answer.version).collect();
        assert_eq!(versions.len() as u64, SWAPS + 1);
        assert_eq!(truth.mixed(&answers), [0; 0], "of {} answers", answers.len());
        must_find_a_planted_mix(&truth, &mut answers);
    }
}

/// The outputs of two answers, to the same rows by different versions, change places: both must be found.
fn must_find_a_planted_mix(truth: &Truth, answers: &mut [Answer]) {
    let one = answers.len() / 2;
    let is_other = |answer: &Answer| answer.rows == answers[one].rows && answer.digest != answers[one].digest;
    let other = answers.iter().position(is_other).unwrap();
    let outputs = std::mem::take(&mut answers[one].outputs);
    answers[one].outputs = std::mem::replace(&mut answers[other].outputs, outputs);
    assert_eq!(truth.mixed(answers), [one.min(other), one.max(other)]);
}
