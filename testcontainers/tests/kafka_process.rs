//! Kafka without a container: as a process of this machine, and the embedded broker.
//!
//! Each test starts the program `kafka`, since one process has one kind of Kafka, and looks at it from outside: through
//! `/proc` and a client. Where Java or the embedded broker is missing, the test says so and is skipped; in CI it fails.
//!
//! # Invariants
//! * Whatever is waited for has a deadline.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use modelcast_testcontainers::skip;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

const DEADLINE: Duration = Duration::from_secs(60);

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
}
