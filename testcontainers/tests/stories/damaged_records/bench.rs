//! One app that serves several models, who writes to it, and a client that asks all the time.
//!
//! # Invariants
//! * Each answer is recomputed: it must be of a version that may answer at that time.
//! * When it is over, the app is the process that it was at the start, and nothing in it panicked.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use modelcast::Publisher;
use modelcast_testcontainers::hostile::{Draft, Hostile, Record};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::app::{App, agent, ask};
use crate::support::scene::{Scene, model};
use crate::support::{runtime, zones};

pub(super) const APP: &str = "app-1";
/// The app is asked about itself no more often: what it says of many models at once is long.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// One app that serves several models, and who writes to it.
pub(super) struct Bench {
    pub(super) runtime: Runtime,
    pub(super) scene: Scene,
    pub(super) app: App,
    pub(super) hostile: Hostile,
    pub(super) publisher: Publisher,
    /// What the app said of itself last, and when it was asked.
    said: Mutex<(Instant, Vec<Value>)>,
    /// The weights that might answer for each model, one time after the other; the last may now.
    may_answer: Mutex<BTreeMap<String, Vec<Vec<f64>>>>,
    answers: AtomicUsize,
}

impl Bench {
    pub(super) fn new(stem: &str, models: &[String]) -> Self {
        let names: Vec<_> = models.iter().map(String::as_str).collect();
        let (runtime, scene) = (runtime(), Scene::new(stem, &names));
        let app = scene.app(APP, &names);
        let hostile = runtime.block_on(Hostile::connect(&scene.kafka, &scene.trusted())).unwrap();
        let publisher = runtime.block_on(scene.publisher());
        let said = Mutex::new((Instant::now(), vec![]));
        let may_answer = Mutex::default();
        Self { runtime, scene, app, hostile, publisher, said, may_answer, answers: AtomicUsize::new(0) }
    }

    /// What the app says of a model, asked since this call; those that call at the same time share an answer.
    pub(super) fn model(&self, name: &str) -> Value {
        let called = Instant::now();
        let mut said = self.said.lock().unwrap();
        if said.0 <= called {
            std::thread::park_timeout(ASK_EVERY.saturating_sub(said.0.elapsed()));
            *said = (Instant::now(), self.app.models());
        }
        said.1.iter().find(|one| one["model"] == name).unwrap().clone()
    }

    pub(super) fn draft(&self, name: &str) -> Draft {
        self.runtime.block_on(self.hostile.draft(&model(name), &self.scene.signing())).unwrap()
    }

    pub(super) fn write(&self, records: &[Record]) -> Vec<i64> {
        self.runtime.block_on(self.hostile.write(records)).unwrap()
    }

    pub(super) fn allow(&self, name: &str, weights: &[f64]) {
        self.may_answer.lock().unwrap().entry(name.to_owned()).or_default().push(weights.to_vec());
    }

    /// Each model, and the place of what may answer for it now.
    fn allowed(&self) -> Vec<(String, usize)> {
        let may_answer = self.may_answer.lock().unwrap();
        may_answer.iter().map(|(name, times)| (name.clone(), times.len() - 1)).collect()
    }

    /// A client that asks every model in turn and recomputes each answer, until `stop`.
    fn ask_all_the_time(&self, stop: &AtomicBool) {
        let (agent, request) = (agent(), zones::request());
        while !stop.load(Relaxed) {
            for (name, asked_at) in self.allowed() {
                let (status, answer) = ask(&agent, &self.app.url, &name, &request).unwrap();
                assert_eq!(status, 200, "{name}: {answer}");
                let weight = answer["outputs"][0]["data"][0].as_f64().unwrap();
                // It may have been allowed when the request left, or at any time since.
                let since = self.may_answer.lock().unwrap()[&name][asked_at..].concat();
                assert!(since.contains(&weight), "{name} answered with weight {weight}, not of {since:?}");
                self.answers.fetch_add(1, Relaxed);
            }
            // So that app and broker have time for their versions too; it may end early.
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Runs `tell` while the client asks; then the app must still be the process it was. Gives how many answers the
    /// client had.
    pub(super) fn under_load(mut self, tell: impl FnOnce(&Self)) -> usize {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| self.ask_all_the_time(&stop));
            let told = catch_unwind(AssertUnwindSafe(|| tell(&self)));
            stop.store(true, Relaxed);
            client.join().unwrap();
            told.unwrap();
        });
        assert!(self.app.running.runs(), "the app ended");
        let log = self.app.log();
        let panics = log.lines().filter(|line| line.contains("panicked")).count();
        assert_eq!(panics, 0, "{log}");
        let answers = self.answers.load(Relaxed);
        assert!(answers > self.allowed().len(), "only {answers} answers: nobody was served throughout");
        answers
    }
}
