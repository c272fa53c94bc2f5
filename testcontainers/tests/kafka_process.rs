//! Kafka without a container: as a process of this machine, the embedded broker, and somebody else's; and what is said
//! of the choice.
//!
//! Each test starts a process, since one has one kind of Kafka: the program `kafka`, looked at from outside, through
//! `/proc` and a client, or this binary with one of the ignored tests. Where Java or the embedded broker is missing, the
//! test says so and is skipped; in CI it fails.
//!
//! # Invariants
//! * Whatever is waited for has a deadline, here or in the process that is waited for.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use modelcast::admission::Policy;
use modelcast::protocol::ModelName;
use modelcast::subscribe::SubscriberBuilder;
use modelcast_testcontainers::{Ability, Fleet, Kafka, Stage, TinyModel, offers, skip};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

const DEADLINE: Duration = Duration::from_secs(60);
/// In one process.
const SUBSCRIBERS: usize = 3;

/// A Kafka in another process, and what that said of it.
struct Holder {
    process: Child,
    said: BTreeMap<String, String>,
}

impl Holder {
    /// `None`, said, where this machine has not what the backend needs.
    fn start(backend: &str, args: &[&str]) -> Option<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kafka"))
            .args(args)
            .env("MODELCAST_TEST_KAFKA", backend)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut said = BTreeMap::new();
        while let Ok(line) = lines.recv_timeout(2 * DEADLINE) {
            let (name, value) = line.split_once('=').unwrap();
            said.insert(name.to_owned(), value.to_owned());
            // The last line.
            if name == "machine" {
                return Some(Self { process, said });
            }
        }
        process.kill().unwrap();
        let error = std::io::read_to_string(process.stderr.take().unwrap()).unwrap();
        process.wait().unwrap();
        assert!(error.contains("cannot offer"), "{error}");
        skip(&format!("has no Kafka: {error}"));
        None
    }

    /// Ends it, and gives what it said on standard error.
    fn end(mut self) -> String {
        drop(self.process.stdin.take());
        let error = std::io::read_to_string(self.process.stderr.take().unwrap()).unwrap();
        assert!(self.process.wait().unwrap().success(), "{error}");
        error
    }

    fn folder(&self) -> &str {
        self.said.get("machine").unwrap()
    }

    /// Those whose command line names the folder.
    fn processes(&self) -> Vec<u32> {
        let wanted = format!("{}/", self.folder());
        let numbers = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let names_it = |process: &u32| {
            fs::read(format!("/proc/{process}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
        };
        numbers.filter(names_it).collect()
    }

    fn brokers_that_answer(&self) -> usize {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.said.get("bootstrap.servers").unwrap())
            .create()
            .unwrap();
        client.fetch_metadata(None, DEADLINE).unwrap().brokers().len()
    }
}

fn a_killed_holder_leaves_nothing(backend: &str, args: &[&str], brokers: usize) {
    let Some(mut holder) = Holder::start(backend, args) else { return };
    assert_eq!(holder.brokers_that_answer(), brokers);
    let processes = holder.processes();
    assert_eq!(processes.len(), brokers, "{processes:?}");
    // A frozen one takes no other signal than SIGKILL.
    let freeze = format!("kill -STOP {}", processes[0]);
    assert!(Command::new("sh").args(["-c", &freeze]).status().unwrap().success());
    holder.process.kill().unwrap();
    holder.process.wait().unwrap();
    let started = Instant::now();
    while Path::new(holder.folder()).exists() || !holder.processes().is_empty() {
        assert!(started.elapsed() < DEADLINE, "left behind: {:?} in {}", holder.processes(), holder.folder());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_process_leaves_no_broker_process() {
    a_killed_holder_leaves_nothing("process", &[], 1);
}

#[test]
fn a_killed_process_leaves_no_cluster_processes() {
    a_killed_holder_leaves_nothing("process", &["--brokers", "3"], 3);
}

#[test]
fn a_killed_process_leaves_no_embedded_broker() {
    a_killed_holder_leaves_nothing("embedded", &[], 1);
}

#[test]
fn what_a_backend_cannot_show_is_an_error_that_says_so() {
    let check = |backend: &str, args: &[&str], expected: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kafka"))
            .args(args)
            .env("MODELCAST_TEST_KAFKA", backend)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && expected.iter().all(|word| error.contains(word)), "{error}");
    };
    check(
        "docker",
        &[],
        &["MODELCAST_TEST_KAFKA=docker", "`container`", "`process`", "`embedded`", "HOST:PORT"],
    );
    check("127.0.0.1:1", &["--brokers", "3"], &["127.0.0.1:1", "three brokers"]);
    check("127.0.0.1:1", &[], &["no Kafka answers at 127.0.0.1:1", "name another in MODELCAST_TEST_KAFKA"]);
}

#[test]
fn the_first_that_is_there_is_taken_and_those_before_it_explained() {
    // Nobody listens there, so there is no engine.
    let output = Command::new(env!("CARGO_BIN_EXE_kafka"))
        .env_remove("MODELCAST_TEST_KAFKA")
        .env("DOCKER_HOST", "tcp://127.0.0.1:1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("no Kafka for tests") {
        return skip(&format!("has no Kafka: {error}"));
    }
    let said = error.lines().find(|line| line.starts_with("kafka for tests: ")).unwrap();
    assert!(output.status.success() && said.contains("; not container: "), "{error}");
    assert!(["process, Java", "embedded, "].iter().any(|one| said.contains(one)), "{said}");
}

/// Runs an ignored test of this binary in a process of its own.
fn run(body: &str, kafka: &str, ci: &str) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", body, "--ignored"])
        .env("MODELCAST_TEST_KAFKA", kafka)
        // On the main thread the test has no name.
        .env("RUST_TEST_THREADS", "2")
        .env("CI", ci)
        // Here is read what the harness shows of a failed test.
        .env_remove("RUST_TEST_NOCAPTURE")
        .output()
        .unwrap()
}

#[test]
fn somebody_elses_kafka_is_used_and_left_running() {
    let Some(theirs) = Holder::start("process", &[]) else { return };
    let address = theirs.said.get("bootstrap.servers").unwrap();
    let Some(ours) = Holder::start(address, &[]) else { return };
    assert_eq!(ours.said.get("bootstrap.servers"), Some(address));
    let said = ours.end();
    assert!(
        said.contains(&format!("kafka for tests: external, {address}; MODELCAST_TEST_KAFKA says so")),
        "{said}"
    );
    let ran = run("a_test_on_the_kafka_that_is_named", address, "true");
    let output = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && output.contains("1 passed"), "{output}");
    assert_eq!(theirs.brokers_that_answer(), 1);
    theirs.end();
}

#[test]
#[ignore = "is the process that somebody_elses_kafka_is_used_and_left_running starts"]
fn a_test_on_the_kafka_that_is_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stage = Stage::on(&Kafka::start().unwrap(), "external", &["price"]).await.unwrap();
        let price: ModelName = "price".parse().unwrap();
        let follow = |one: SubscriberBuilder| one.model(price.clone(), Policy::standard());
        let fleet = Fleet::in_process(&stage, "app", SUBSCRIBERS, follow).await.unwrap();
        stage.publish_and_wait("price", TinyModel { weight: 2.0 }, SUBSCRIBERS).await.unwrap();
        for (name, one) in fleet.iter() {
            let mut outputs = [0.0];
            one.model(&price).unwrap().load().unwrap().predict(&[3.0], &mut outputs).unwrap();
            assert_eq!(outputs, [6.0], "{name}");
        }
        fleet.shutdown().await;
        let reports = modelcast::fleet::Fleet::read(stage.kafka()).await.unwrap();
        assert_eq!(reports.of(&price).count(), 0, "they take their reports with them");
    });
}

#[test]
fn what_is_skipped_is_said_by_name_and_fails_in_ci() {
    // It is not asked for anything: who needs a restart is turned away before.
    let (body, kafka) = ("a_test_that_restarts_its_kafka", "127.0.0.1:1");
    let why = format!("skipped: {body} needs a restart, which external cannot show");
    let skipped = run(body, kafka, "");
    let error = String::from_utf8_lossy(&skipped.stderr);
    assert!(skipped.status.success() && error.lines().any(|line| line == why), "{error}");
    let failed = run(body, kafka, "true");
    // The harness shows what a failed test said with its own output.
    let output = String::from_utf8_lossy(&failed.stdout);
    assert!(!failed.status.success() && output.contains(&format!("{why}; CI skips nothing")), "{output}");
}

#[test]
#[ignore = "is the process that what_is_skipped_is_said_by_name_and_fails_in_ci starts"]
fn a_test_that_restarts_its_kafka() {
    offers(&[Ability::Restart]);
}
