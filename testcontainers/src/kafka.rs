//! One Kafka in one container: its start, its faults, its end.
//!
//! Does not choose the image (see `image`) and does not know Modelcast's topics.
//!
//! # Invariants
//! * The address never changes, not by a stop either.
//! * A handle that exists has answered a client once.
//! * All calls block and may be made on any thread, of an async runtime too: Docker is spoken to on a runtime of
//!   our own.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt, TestcontainersError};
use tokio::runtime::Runtime;

use crate::image::{self, ImageName};
use crate::owner::{self, Owner};
use crate::port::{self, DockerHost};
use crate::watchdog::Watchdog;

/// 4 s on an idle machine; many test binaries may be compiling beside it.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// After it Docker kills; a single broker needs half a second.
const STOP_SECONDS: i32 = 30;
/// The port may be taken between our look and Docker's.
const START_ATTEMPTS: u32 = 5;
/// Of the container's log, in an error.
const LOG_LINES: usize = 20;

/// One node that is broker and controller. Topics that Kafka makes for itself have one replica, as there is one
/// node; a missing topic stays missing, since a client that would create it is a defect; groups need not wait.
const SETTINGS: [(&str, &str); 16] = [
    ("CLUSTER_ID", "bW9kZWxjYXN0LXRlc3RzLQ"),
    ("KAFKA_NODE_ID", "1"),
    ("KAFKA_PROCESS_ROLES", "broker,controller"),
    ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
    ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@127.0.0.1:9093"),
    ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
    ("KAFKA_INTER_BROKER_LISTENER_NAME", "PLAINTEXT"),
    ("KAFKA_LOG_DIRS", "/tmp/kraft-combined-logs"),
    ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false"),
    ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
    ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "4"),
    ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
    ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
    ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
    ("KAFKA_HEAP_OPTS", "-Xms256m -Xmx512m"),
    // Tests live too short for the optimising compiler to pay: measured 0.4 s of 3.9 s.
    ("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:TieredStopAtLevel=1"),
];

/// Why there is no Kafka, or why it did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image could be chosen, pulled or built. Run `cargo xtask test`, which does the set-up.
    #[error("{0}")]
    Image(String),
    /// The process that would remove the container could not be started, so none was created.
    #[error("cannot start the watchdog of the container")]
    Watchdog(#[source] std::io::Error),
    /// Every port tried is in use.
    #[error("no free port for Kafka")]
    NoPort,
    /// Docker refused.
    #[error("docker could not {task} the Kafka container {container}")]
    Docker {
        /// What was asked of it.
        task: &'static str,
        /// The container's name.
        container: String,
        /// What it said.
        #[source]
        source: Box<TestcontainersError>,
    },
    /// Kafka did not answer a client in time, or ended.
    #[error("kafka at {address} did not answer within {seconds} s; its log ends with:\n{log}")]
    NotReady {
        /// Where it should have answered.
        address: String,
        /// For how long it was asked.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
}

/// A running Kafka, removed when this is dropped or this process ends.
pub struct Kafka {
    /// `None` only while it is dropped.
    container: Option<ContainerAsync<GenericImage>>,
    watchdog: Option<Watchdog>,
    name: String,
    address: String,
}

impl Kafka {
    /// The Kafka of this test binary; the first call starts it, in some 4 s.
    ///
    /// # Panics
    /// When it cannot be started: the tests that need it can then only fail, each with the reason.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Kafka, Error>> = OnceLock::new();
        match SHARED.get_or_init(Self::start) {
            Ok(kafka) => kafka,
            Err(error) => panic!("{}", describe(error)),
        }
    }

    /// A Kafka of one's own, for tests that stop, restart or pause it.
    ///
    /// # Errors
    /// [`Error::Image`], [`Error::Watchdog`], [`Error::NoPort`]: nothing was created. [`Error::Docker`],
    /// [`Error::NotReady`]: what was created is removed.
    pub fn start() -> Result<Self, Error> {
        owner::remove_orphans();
        let image = image::choose().map_err(|error| Error::Image(error.to_string()))?;
        let docker_host = DockerHost::from_environment();
        for attempt in 1.. {
            match Self::create(&image, &docker_host) {
                Err(Error::Docker { source, .. }) if attempt < START_ATTEMPTS && is_port_taken(&source) => {}
                Err(error) => return Err(error),
                Ok(kafka) => {
                    kafka.wait_until_ready()?;
                    return Ok(kafka);
                }
            }
        }
        Err(Error::NoPort)
    }

    fn create(image: &ImageName, docker_host: &DockerHost) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let port = port::free().ok_or(Error::NoPort)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The time keeps apart what two containers' process namespaces number alike.
        let age = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let name = format!("modelcast-kafka-{}-{number}-{age:x}", std::process::id());
        let address = format!("{}:{port}", docker_host.name());
        let watchdog = Watchdog::start(&name).map_err(Error::Watchdog)?;
        let request = request(image, docker_host, port, &name);
        // An early return drops the watchdog, which removes what Docker may have created all the same.
        let container = on_runtime(request.start()).map_err(|source| docker_error("start", &name, source))?;
        Ok(Self { container: Some(container), watchdog: Some(watchdog), name, address })
    }

    /// What a client takes as `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.address
    }

    /// The container's name, for `docker logs` and the like.
    pub fn container_name(&self) -> &str {
        &self.name
    }

    /// A name that no other test of this binary gets, made from `stem`, valid as a namespace.
    pub fn namespace(&self, stem: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        unique_name(stem, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Stops Kafka in an orderly way; its data and its port stay.
    ///
    /// # Errors
    /// [`Error::Docker`].
    pub fn stop(&self) -> Result<(), Error> {
        self.docker("stop", |container| async { container.stop_with_timeout(Some(STOP_SECONDS)).await })
    }

    /// Starts it again at the same address with the same data, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Docker`], [`Error::NotReady`].
    pub fn start_again(&self) -> Result<(), Error> {
        self.docker("start", ContainerAsync::start)?;
        self.wait_until_ready()
    }

    /// Freezes it: connections stay, nothing is answered.
    ///
    /// # Errors
    /// [`Error::Docker`].
    pub fn pause(&self) -> Result<(), Error> {
        self.docker("pause", ContainerAsync::pause)
    }

    /// Ends a [`pause`](Self::pause), and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Docker`], [`Error::NotReady`].
    pub fn unpause(&self) -> Result<(), Error> {
        self.docker("unpause", ContainerAsync::unpause)?;
        self.wait_until_ready()
    }

    fn docker<'a, F>(
        &'a self,
        task: &'static str,
        call: impl FnOnce(&'a ContainerAsync<GenericImage>) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), TestcontainersError>> + Send,
    {
        match &self.container {
            Some(container) => {
                on_runtime(call(container)).map_err(|source| docker_error(task, &self.name, source))
            }
            None => Ok(()),
        }
    }

    /// A broker that lists itself in its metadata is registered, and takes topics and records.
    fn wait_until_ready(&self) -> Result<(), Error> {
        let started = Instant::now();
        let client: Result<BaseConsumer, _> = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .create();
        if let Ok(client) = client {
            while started.elapsed() < READY_DEADLINE && self.is_running() {
                let answer = client.fetch_metadata(None, Duration::from_secs(1));
                if answer.is_ok_and(|metadata| !metadata.brokers().is_empty()) {
                    return Ok(());
                }
            }
        }
        let (address, seconds) = (self.address.clone(), started.elapsed().as_secs());
        Err(Error::NotReady { address, seconds, log: self.log_tail() })
    }

    fn is_running(&self) -> bool {
        self.container.as_ref().is_some_and(|container| on_runtime(container.is_running()).unwrap_or(false))
    }

    fn log_tail(&self) -> String {
        let Some(container) = &self.container else { return String::new() };
        let (stdout, stderr) =
            on_runtime(async { (container.stdout_to_vec().await, container.stderr_to_vec().await) });
        let text = [stdout.unwrap_or_default(), stderr.unwrap_or_default()].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        let removed = on_runtime(container.rm());
        // A watchdog that is not dismissed removes the container itself as it is dropped.
        if let (Ok(()), Some(watchdog)) = (removed, self.watchdog.take()) {
            watchdog.dismiss();
        }
    }
}

fn request(
    image: &ImageName,
    docker_host: &DockerHost,
    port: u16,
    name: &str,
) -> ContainerRequest<GenericImage> {
    let listeners = format!("PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093");
    let advertised = format!("PLAINTEXT://{}:{port}", docker_host.name());
    let mut request = GenericImage::new(&image.repository, &image.tag)
        .with_container_name(name)
        .with_mapped_port(port, port.tcp())
        .with_env_var("KAFKA_LISTENERS", listeners)
        .with_env_var("KAFKA_ADVERTISED_LISTENERS", advertised);
    for (key, value) in SETTINGS {
        request = request.with_env_var(key, value);
    }
    if let Some(owner) = Owner::this_process() {
        request = request.with_label(owner::LABEL, owner.to_string());
    }
    if *docker_host == DockerHost::Local {
        request = request.with_host_config_modifier(|config| {
            let ports = config.port_bindings.iter_mut().flat_map(|bindings| bindings.values_mut());
            for binding in ports.flatten().flatten() {
                binding.host_ip = Some("127.0.0.1".to_owned());
            }
        });
    }
    request
}

fn docker_error(task: &'static str, container: &str, source: TestcontainersError) -> Error {
    Error::Docker { task, container: container.to_owned(), source: Box::new(source) }
}

fn is_port_taken(error: &TestcontainersError) -> bool {
    let text = describe(error);
    ["port is already allocated", "address already in use"].iter().any(|cause| text.contains(cause))
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs a call to Docker, whichever thread asks: inside another runtime `block_on` would panic.
fn on_runtime<T: Send>(future: impl Future<Output = T> + Send) -> T {
    // The Docker client keeps connections that belong to the runtime which made them: there is one, for good.
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("docker").enable_all();
        builder.build().expect("a runtime needs but a thread, without which no test runs either")
    });
    std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// At most 64 characters of `[a-z0-9._-]`, a letter or digit first and last.
fn unique_name(stem: &str, process: u32, number: u32) -> String {
    let kept = |character: char| match character.to_ascii_lowercase() {
        lower @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => lower,
        _ => '-',
    };
    let stem: String =
        stem.chars().map(kept).skip_while(|character| !character.is_ascii_alphanumeric()).take(40).collect();
    let stem = if stem.is_empty() { "test" } else { &stem };
    format!("{stem}-{process}-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stem_becomes_a_valid_namespace() {
        let check = |stem: &str, expected: &str| assert_eq!(unique_name(stem, 12, 3), expected, "{stem}");
        check("late-joiner", "late-joiner-12-3");
        check("Two Publishers", "two-publishers-12-3");
        check("__", "test-12-3");
        check("", "test-12-3");
        check("-é9", "9-12-3");
        let longest = unique_name(&"x".repeat(500), u32::MAX, u32::MAX);
        assert!(longest.len() <= 64, "{longest}");
    }
}
