//! Which Kafka a test gets, and what it cannot show.
//!
//! The one that `MODELCAST_TEST_KAFKA` names, or the first that this machine can offer: a container, a process, the
//! embedded broker. Finds and explains; does not start anything (see `kafka`, `cluster`).
//!
//! # Invariants
//! * One process chooses once: all its Kafkas are of one kind.
//! * Which one, and why not those before it, is said on standard error, past the test harness.
//! * A backend that was asked for by name is never replaced by another.
//! * What is skipped is said by name, and where `CI` is set it fails instead.

use std::fmt;
use std::io::Write;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::engine;
use crate::error::describe;
use crate::image::{self, ImageName};
use crate::jars;
use crate::java::{self, Java};
use crate::machine::workplace;

const VARIABLE: &str = "MODELCAST_TEST_KAFKA";
const BROKER_VARIABLE: &str = "MODELCAST_BROKER";
const BROKER: &str = "modelcast-broker";

/// A kind of Kafka for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Apache Kafka in a container.
    Container,
    /// Apache Kafka as a process of this machine.
    Process,
    /// `modelcast-broker`: one Kafka-compatible process, no Apache Kafka.
    Embedded,
    /// A Kafka that somebody else runs, at a given address.
    External,
}

/// What a test may need of its Kafka that not every [`Backend`] can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// To be stopped or killed, and started again with its data at its address.
    Restart,
    /// To be frozen and go on.
    Pause,
    /// Three brokers.
    Cluster,
    /// Kafka's transactions.
    Transactions,
    /// To change the settings of a topic that is there.
    TopicSettings,
    /// To refuse a reader that is past the end of the log, as it is when a topic was created anew.
    OutOfRange,
    /// Settings and listeners of the broker's own, a fault proxy before it among them.
    Settings,
    /// TLS, SASL and ACLs.
    Security,
    /// A disk that can be filled.
    DiskFull,
    /// An engine that builds an image and runs it.
    Image,
}

/// A backend, and what was found for it.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    Container(ImageName),
    Process { java: Java, jars: PathBuf },
    Embedded { program: PathBuf },
    External { address: String },
}

/// Why there is no Kafka for tests here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The variable names none.
    #[error("{VARIABLE}={value}: it is `container`, `process`, `embedded` or HOST:PORT[,HOST:PORT]")]
    Unknown {
        /// What it says.
        value: String,
    },
    /// The one that was asked for cannot be had here.
    #[error("{VARIABLE} asks for the backend `{backend}`, which this machine cannot offer: {reason}")]
    Unavailable {
        /// The one.
        backend: Backend,
        /// Why not.
        reason: String,
    },
    /// None was asked for, and none can be had.
    #[error("no Kafka for tests: install Docker or Java 17, or name one in {VARIABLE}=HOST:PORT ({reasons})")]
    None {
        /// Each, with why not.
        reasons: String,
    },
}

/// Whether the Kafka of this process has these abilities: the first line of a test that needs one.
///
/// Where it has not, says `skipped: TEST needs ABILITY, which BACKEND cannot show` on standard error.
///
/// # Panics
/// Instead of saying so where the variable `CI` is set: what CI skips nobody would notice. And where this machine
/// offers no Kafka at all.
///
/// # Example
/// ```no_run
/// # use modelcast_testcontainers::{Ability, offers};
/// # fn a_test_that_restarts_its_kafka() {
/// if !offers(&[Ability::Restart]) {
///     return;
/// }
/// # }
/// ```
#[track_caller]
pub fn offers(abilities: &[Ability]) -> bool {
    let backend = match choose() {
        Ok(choice) => choice.backend(),
        Err(error) => panic!("{error}"),
    };
    let Some(ability) = abilities.iter().find(|ability| !backend.can_show(**ability)) else { return true };
    skip(&format!("needs {ability}, which {backend} cannot show"));
    false
}

/// Says `skipped: TEST WHY` on standard error, for a test that then returns.
///
/// # Panics
/// Instead of saying so where the variable `CI` is set.
#[track_caller]
pub fn skip(why: &str) {
    // The harness names a test's thread for the test, unless it runs tests one at a time.
    let thread = std::thread::current();
    let place = Location::caller().to_string();
    let test = thread.name().filter(|name| *name != "main").unwrap_or(&place);
    let text = format!("skipped: {test} {why}");
    let is_ci = std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    assert!(!is_ci, "{text}; CI skips nothing");
    say(&text);
}

/// What this process uses, found and said at the first call.
pub(crate) fn choose() -> Result<&'static Choice, BackendError> {
    static CHOICE: OnceLock<Result<Choice, BackendError>> = OnceLock::new();
    CHOICE
        .get_or_init(|| {
            let asked = std::env::var(VARIABLE).unwrap_or_default();
            let (choice, explanation) = decide(&asked, find)?;
            say(&format!("kafka for tests: {choice}{explanation}"));
            Ok(choice)
        })
        .as_ref()
        .map_err(Clone::clone)
}

impl Backend {
    /// Whether a test may count on it.
    pub fn can_show(self, ability: Ability) -> bool {
        match (self, ability) {
            (Self::Container, _)
            | (Self::Process, Ability::Restart | Ability::Pause | Ability::Cluster)
            | (Self::Process, Ability::Transactions | Ability::TopicSettings | Ability::OutOfRange)
            | (Self::Process, Ability::Settings | Ability::Security)
            | (Self::Embedded, Ability::Restart | Ability::Pause)
            | (Self::External, Ability::Transactions | Ability::TopicSettings | Ability::OutOfRange) => true,
            // Its folders are on this machine's disk, which nobody wants full.
            (Self::Process, Ability::DiskFull) => false,
            // There may be no engine.
            (Self::Process | Self::Embedded | Self::External, Ability::Image) => false,
            // One process with two options, no authentication, and transactions refused for the lack of it.
            (Self::Embedded, Ability::Cluster | Ability::Transactions | Ability::TopicSettings) => false,
            (Self::Embedded, Ability::Settings | Ability::Security | Ability::DiskFull) => false,
            // Nisshi 0.8.1 answers a fetch past the end as one at the end.
            (Self::Embedded, Ability::OutOfRange) => false,
            // Somebody else's: nothing is done to it.
            (Self::External, Ability::Restart | Ability::Pause | Ability::Cluster) => false,
            (Self::External, Ability::Settings | Ability::Security | Ability::DiskFull) => false,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Container => "container",
            Self::Process => "process",
            Self::Embedded => "embedded",
            Self::External => "external",
        })
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Restart => "a restart",
            Self::Pause => "a pause",
            Self::Cluster => "three brokers",
            Self::Transactions => "transactions",
            Self::TopicSettings => "changed topic settings",
            Self::OutOfRange => "the refusal of readers past the end",
            Self::Settings => "broker settings",
            Self::Security => "authentication",
            Self::DiskFull => "a full disk",
            Self::Image => "an image of its own",
        })
    }
}

impl Choice {
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Container(_) => Backend::Container,
            Self::Process { .. } => Backend::Process,
            Self::Embedded { .. } => Backend::Embedded,
            Self::External { .. } => Backend::External,
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.backend())?;
        match self {
            Self::Container(image) => write!(formatter, ", image {}:{}", image.repository, image.tag),
            Self::Process { java, .. } => {
                write!(formatter, ", Java {} at {}", java.version, java.program.display())
            }
            Self::Embedded { program } => write!(formatter, ", {}", program.display()),
            Self::External { address } => write!(formatter, ", {address}"),
        }
    }
}

/// The choice, and why it was that; `offer` looks for one, and says why there is none.
fn decide<T>(
    asked: &str,
    offer: impl Fn(Backend, &str) -> Result<T, String>,
) -> Result<(T, String), BackendError> {
    if !asked.is_empty() {
        let backend = parse(asked).ok_or_else(|| BackendError::Unknown { value: asked.to_owned() })?;
        return match offer(backend, asked) {
            Ok(choice) => Ok((choice, format!("; {VARIABLE} says so"))),
            Err(reason) => Err(BackendError::Unavailable { backend, reason }),
        };
    }
    let mut reasons = String::new();
    for backend in [Backend::Container, Backend::Process, Backend::Embedded] {
        match offer(backend, asked) {
            Ok(choice) => return Ok((choice, reasons)),
            Err(reason) => reasons.push_str(&format!("; not {backend}: {reason}")),
        }
    }
    Err(BackendError::None { reasons: reasons.trim_start_matches("; ").to_owned() })
}

fn parse(asked: &str) -> Option<Backend> {
    match asked {
        "container" => Some(Backend::Container),
        "process" => Some(Backend::Process),
        "embedded" => Some(Backend::Embedded),
        addresses => addresses.split(',').all(is_address).then_some(Backend::External),
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// What a backend needs, fetched and built where that is how it is had.
fn find(backend: Backend, asked: &str) -> Result<Choice, String> {
    match backend {
        Backend::Container => {
            engine::answers()?;
            Ok(Choice::Container(image::choose().map_err(|error| error.to_string())?))
        }
        Backend::Process => {
            workplace::can_be_had()?;
            let java = java::find()?;
            Ok(Choice::Process { java, jars: jars::ensure().map_err(|error| describe(&error))? })
        }
        Backend::Embedded => {
            workplace::can_be_had()?;
            Ok(Choice::Embedded { program: find_broker()? })
        }
        Backend::External => Ok(Choice::External { address: asked.to_owned() }),
    }
}

/// Named, beside this test's target folder (`cargo xtask broker` builds it there), or on the `PATH`.
fn find_broker() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(BROKER_VARIABLE).map(PathBuf::from) {
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!("{BROKER_VARIABLE} names no file: {}", named.display()))
        };
    }
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/stories-0123 and target/broker/debug/modelcast-broker
    let built = test.ancestors().map(|folder| folder.join("broker"));
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/broker");
    let built =
        built.chain([here]).flat_map(|folder| ["debug", "release"].map(|profile| folder.join(profile)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    built
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(BROKER))
        .find(|program| program.is_file())
        .ok_or_else(|| format!("no {BROKER} in {BROKER_VARIABLE}, beside the target folder or on the PATH"))
}

/// Not through `eprintln!`, which the test harness shows of failed tests only.
fn say(text: &str) {
    // Nobody listens: no reason not to go on.
    _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided where only these can be had.
    fn decided(asked: &str, there: &[Backend]) -> Result<(Backend, String), BackendError> {
        decide(
            asked,
            |backend, _| {
                if there.contains(&backend) { Ok(backend) } else { Err(format!("no {backend} here")) }
            },
        )
    }

    #[test]
    fn the_first_that_the_machine_offers_is_taken_and_those_before_it_explained() {
        use Backend::{Container, Embedded, External, Process};
        let check = |there: &[Backend], expected: Backend, explanation: &str| {
            assert_eq!(decided("", there), Ok((expected, explanation.to_owned())), "{there:?}");
        };
        check(&[Container, Process, Embedded, External], Container, "");
        check(&[Process, Embedded], Process, "; not container: no container here");
        check(&[Embedded], Embedded, "; not container: no container here; not process: no process here");
        let nothing = decided("", &[External]).unwrap_err().to_string();
        assert!(
            nothing.contains("no container here; not process")
                && nothing.contains("install Docker or Java 17")
        );
    }

    #[test]
    fn what_is_asked_for_is_taken_or_refused_but_never_replaced() {
        use Backend::{Container, Embedded, External, Process};
        let all = [Container, Process, Embedded, External];
        for (asked, expected) in [
            ("container", Container),
            ("process", Process),
            ("embedded", Embedded),
            ("127.0.0.1:9092", External),
            ("one:9092,[fd00::1]:9093", External),
        ] {
            assert_eq!(decided(asked, &all).map(|(backend, _)| backend), Ok(expected), "{asked}");
        }
        let refused = decided("process", &[Container, Embedded]);
        assert!(matches!(refused, Err(BackendError::Unavailable { backend: Process, .. })), "{refused:?}");
    }

    #[test]
    fn an_unknown_backend_is_an_error_that_names_the_four() {
        for asked in ["docker", "Container", "localhost", ":9092", "one:port", "one:9092,"] {
            let error = decided(asked, &[Backend::Container]).unwrap_err();
            assert_eq!(error, BackendError::Unknown { value: asked.to_owned() });
            let text = error.to_string();
            assert!(
                ["container", "process", "embedded", "HOST:PORT"].iter().all(|one| text.contains(one)),
                "{text}"
            );
        }
    }
}
