//! The built program with models that it carries with it: without Kafka, and with a Kafka that cannot be reached.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::until;

const MODEL: &str = "breast-cancer";

/// A running program; killed with the test.
struct App {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/client/testdata").join(name)
}

/// Settings over the files of the test data; `kafka` is the address, `embedded` the file of the one model.
fn settings(kafka: &str, embedded: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (testdata("test-only.pub.pem"), embedded.display());
    let text = format!(
        "[kafka]\nbootstrap_servers = \"{kafka}\"\n[keys]\ntrusted = [\"{}\"]\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[instance]\nname = \"app-1\"\n\
         [[models]]\nname = \"{MODEL}\"\nembedded = \"{file}\"\n",
        key.display()
    );
    fs::write(folder.path().join("app.toml"), text).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-app"));
    command.current_dir(folder).args(["serve", "--config", "app.toml"]).env("RUST_LOG", "info");
    for name in ["KAFKA", "NAMESPACE", "LISTEN", "INSTANCE", "STATE"] {
        command.env_remove(format!("MODELCAST_{name}"));
    }
    command
}

impl App {
    fn start(kafka: &str) -> Self {
        let folder = settings(kafka, &testdata("breast-cancer.modelcast"));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = command(folder.path()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).trim().to_owned();
        Self { child, url, folder }
    }

    fn get(&self, path: &str) -> String {
        ureq::get(format!("{}{path}", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    fn status(&self) -> Value {
        let status: Value = serde_json::from_str(&self.get("/status")).unwrap();
        status["models"][0].clone()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// It is ready, answers, and says that what it serves is embedded.
    fn must_serve_what_it_carries(&self) {
        self.get("/v2/health/ready"); // an error otherwise
        let inputs =
            json!([{ "name": "input", "shape": [1, 30], "datatype": "FP64", "data": vec![1.0; 30] }]);
        let answer = ureq::post(format!("{}/v2/models/{MODEL}/infer", self.url))
            .send_json(json!({ "inputs": inputs }))
            .unwrap()
            .body_mut()
            .read_json::<Value>()
            .unwrap();
        assert_eq!(answer["model_version"], "1", "{answer}");
        let status = self.status();
        assert_eq!((&status["origin"], &status["phase"]), (&json!("embedded"), &json!("live")), "{status:#}");
        assert_eq!(status["phase_detail"], "live, embedded");
        assert!(self.get("/metrics").contains(&format!("modelcast_embedded{{model=\"{MODEL}\"}} 1")));
        assert!(self.get(&format!("/models/{MODEL}")).contains("embedded in this application"));
    }

    /// The names of its threads, as the kernel has them.
    fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.map(|task| name(task.unwrap())).collect()
    }

    fn has_kafka_client(&self) -> bool {
        self.threads().iter().any(|name| name.starts_with("rdk:"))
    }
}

#[test]
fn without_kafka_it_serves_what_it_carries_and_contacts_nobody() {
    let app = App::start("");
    app.must_serve_what_it_carries();
    assert_eq!(app.status()["warnings"], json!([]));
    assert!(app.log().contains("embedded only"), "{}", app.log());
    assert!(!app.has_kafka_client(), "{:?}", app.threads());
}

#[test]
fn with_a_kafka_that_cannot_be_reached_it_is_the_last_resort_and_says_so() {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let app = App::start(&nowhere);
    app.must_serve_what_it_carries();
    assert!(app.log().contains("embedded version serves until there is news"), "{}", app.log());
    until("a warning", || {
        app.status()["warnings"].to_string().contains("Kafka was never reached").then_some(())
    });
    until("a Kafka client", || app.has_kafka_client().then_some(()));
}

#[test]
fn a_file_that_must_serve_and_cannot_ends_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.modelcast");
    let mut bytes = fs::read(testdata("breast-cancer.modelcast")).unwrap();
    let last = bytes.last_mut().unwrap();
    *last ^= 1;
    fs::write(&damaged, bytes).unwrap();
    for (file, words) in [
        (folder.path().join("missing.modelcast"), "missing.modelcast"),
        (damaged, "refused at digest"),
        (testdata("property-value.modelcast"), "holds model property-value"),
        (testdata("README.md"), "not an embedded model"),
    ] {
        let folder = settings("", &file);
        let output = command(folder.path()).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{log}");
        let error = log.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(error.contains(words), "{words:?} is not in {error}");
    }
}
