//! The workplace of one test: the kit's stage, and on it a settings file for each program.

use std::fs;
use std::path::PathBuf;

use modelcast::admission::Policy;
use modelcast::fleet::Fleet;
use modelcast::protocol::ModelName;
use modelcast::protocol::key::{SigningKey, TrustedKeys};
use modelcast::protocol::resolve::Identity;
use modelcast::settings::KafkaSettings;
use modelcast::{Publisher, Subscriber};
use modelcast_testcontainers::{Kafka, Stage};
use serde_json::Value;

use super::app::App;
use super::programs::{self, Ended, root};
use super::{DEADLINE, look_within, runtime, wait_for};

pub(crate) struct Scene {
    stage: Stage,
    /// As the stage has it, and what a test sets beside.
    pub(crate) kafka: KafkaSettings,
}

impl Scene {
    /// On the Kafka of this binary, with keys and the topics of these models.
    pub(crate) fn new(stem: &str, models: &[&str]) -> Self {
        Self::on(Kafka::shared(), stem, models)
    }

    /// The same on a Kafka of the test's own.
    pub(crate) fn on(kafka: &Kafka, stem: &str, models: &[&str]) -> Self {
        Self::at(kafka.bootstrap_servers(), &kafka.namespace(stem), models)
    }

    /// The same at an address.
    pub(crate) fn at(address: &str, namespace: &str, models: &[&str]) -> Self {
        let scene = Self::bare(address, namespace);
        runtime().block_on(scene.stage.create_topics(models)).unwrap();
        scene
    }

    /// With keys, and without any topic; nobody need be at the address.
    pub(crate) fn bare(address: &str, namespace: &str) -> Self {
        let kafka = KafkaSettings {
            bootstrap_servers: address.to_owned(),
            namespace: namespace.parse().unwrap(),
            ..KafkaSettings::default()
        };
        let scene = Self { stage: Stage::bare(kafka.clone()).unwrap(), kafka };
        scene.write("operator.toml", &format!("author = \"operator\"\n{}", scene.common(true)));
        let shipped = fs::read_to_string(root().join("config/trainer.toml")).unwrap();
        scene.write("trainer.toml", &scene.with_ours(&shipped));
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.stage.path(name)
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.path("")
    }

    pub(crate) fn signing(&self) -> SigningKey {
        self.stage.signing().clone()
    }

    pub(crate) fn trusted(&self) -> TrustedKeys {
        self.stage.trusted().clone()
    }

    /// A publisher in this process.
    pub(crate) async fn publisher(&self) -> Publisher {
        Publisher::connect(&self.kafka, &self.trusted(), self.signing()).await.unwrap()
    }

    /// The same namespace at another address.
    pub(crate) fn kafka_at(&self, address: &str) -> KafkaSettings {
        KafkaSettings { bootstrap_servers: address.to_owned(), ..self.kafka.clone() }
    }

    /// A subscriber in this process, with a state folder of its name.
    pub(crate) async fn subscriber(&self, name: &str, of: &str, policy: Policy) -> Subscriber {
        let identity = Identity { instance: name.parse().unwrap(), labels: [].into() };
        let state = self.path(&format!("state-{name}"));
        let builder = Subscriber::builder(&self.kafka, &self.trusted(), identity, &state);
        builder.model(model(of), policy).start().await.unwrap()
    }

    /// The sections that all programs have.
    pub(crate) fn common(&self, signs: bool) -> String {
        let KafkaSettings { bootstrap_servers, namespace, .. } = &self.kafka;
        let keys = self.shown("keys");
        let signing = if signs { format!("signing = \"{keys}/team.key.pem\"\n") } else { String::new() };
        format!(
            "[kafka]\nbootstrap_servers = \"{bootstrap_servers}\"\nnamespace = \"{namespace}\"\n\
             [keys]\ntrusted = [\"{keys}\"]\n{signing}"
        )
    }

    /// A shipped settings file with the Kafka, the namespace and the keys of this test.
    fn with_ours(&self, shipped: &str) -> String {
        let keys = self.shown("keys");
        let ours = [
            ("bootstrap_servers = ", format!("\"{}\"", self.kafka.bootstrap_servers)),
            ("namespace = ", format!("\"{}\"", self.kafka.namespace)),
            ("trusted = ", format!("[\"{keys}\"]")),
            ("signing = ", format!("\"{keys}/team.key.pem\"")),
        ];
        let mut lines: Vec<String> = shipped.lines().map(ToOwned::to_owned).collect();
        for (start, value) in ours {
            let line = lines.iter_mut().find(|line| line.starts_with(start));
            *line.unwrap_or_else(|| panic!("the shipped file has no line `{start}`")) =
                format!("{start}{value}");
        }
        lines.join("\n")
    }

    /// The operator's command.
    pub(crate) fn modelcast(&self, args: &[&str]) -> Ended {
        let config = self.shown("operator.toml");
        programs::run("modelcast", &[args, &["--config", &config]].concat(), &self.folder())
    }

    pub(crate) fn trainer(&self, args: &[&str]) -> Ended {
        let config = self.shown("trainer.toml");
        programs::run("trainer", &[args, &["--config", &config]].concat(), &self.folder())
    }

    /// Writes an app's settings file; `more` stands at the end, in the section of the last model.
    pub(crate) fn configure_app(&self, name: &str, models: &[&str], more: &str) -> PathBuf {
        let state = self.shown(&format!("state-{name}"));
        let models: String = models.iter().map(|model| format!("[[models]]\nname = \"{model}\"\n")).collect();
        let text = format!(
            "{}[http]\nlisten = \"127.0.0.1:0\"\n[instance]\nname = \"{name}\"\nstate = \"{state}\"\n{models}{more}",
            self.common(false)
        );
        self.write(&format!("{name}.toml"), &text)
    }

    /// Starts an app; its state folder outlives it.
    pub(crate) fn app(&self, name: &str, models: &[&str]) -> App {
        App::start(name, &self.configure_app(name, models, ""))
    }

    /// `modelcast status MODEL --json`, and its exit code.
    pub(crate) fn status(&self, model: &str) -> (Value, Option<i32>) {
        let ended = self.modelcast(&["status", model, "--json"]);
        let whole = ended.any_json();
        (whole["models"][0].clone(), ended.code)
    }

    /// Waits until so many instances have reported, which is what makes a fleet; gives their processes, by instance.
    pub(crate) fn wait_until_reported(&self, name: &str, instances: usize) -> Vec<(String, String)> {
        let (runtime, model) = (runtime(), model(name));
        wait_for("all instances to report", || {
            let fleet = runtime.block_on(Fleet::read(&self.kafka)).ok()?;
            let found = fleet.of(&model).map(|one| (one.instance.to_string(), one.boot_id.clone()));
            Some(found.collect::<Vec<_>>()).filter(|found| found.len() == instances)
        })
    }

    /// Waits until the operator's status says so of one instance, which it gives.
    pub(crate) fn wait_for_status(
        &self,
        model: &str,
        instance: &str,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        let found = look_within(DEADLINE, || {
            last = self.status(model).0;
            let instances = last["instances"].as_array()?;
            instances.iter().find(|one| one["instance"] == instance && is_so(one)).cloned()
        });
        found.unwrap_or_else(|| panic!("waited {DEADLINE:?} for {what}; the last status is {last:#}"))
    }
}

pub(crate) fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}
