//! `cargo xtask test`: every test, with all the set-up that they need.
//!
//! Says what is missing and installs it, sets up the Kafka that the tests are to get (by default Docker and an image),
//! builds the programs that the system tests run, and then is `cargo test`.
//!
//! # Invariants
//! * The exit code is that of `cargo test`, or 1 when the set-up failed.
//! * Each step does nothing when there is nothing to do.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::process::{Command, ExitCode};
use std::str::FromStr;

use anyhow::{Context, bail};

use crate::broker;
use crate::docker;
use crate::install::{self, Need, Policy};

/// The programs that system tests start, by package.
const PROGRAMS: [&str; 3] = ["trainer", "consumer-app", "modelcast-operator"];

/// So many tests of a binary run at once on few processors too: most of the long ones wait for Kafka.
const TEST_THREADS: usize = 4;
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Read by the tests as well.
pub(crate) const KAFKA_VARIABLE: &str = "MODELCAST_TEST_KAFKA";

/// What `cargo xtask test` understands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install nothing: print what would be installed, and fail
    #[arg(long)]
    no_install: bool,
    /// The Kafka that the tests get: `container`, `process` (no Docker, but Java), `embedded` or HOST:PORT
    #[arg(long, value_name = "KAFKA", env = KAFKA_VARIABLE, default_value = "container")]
    kafka: Backend,
    /// For `cargo test`, as in `cargo xtask test -- -p trainer -- --nocapture`
    #[arg(last = true, value_name = "CARGO_TEST_ARGS")]
    cargo_args: Vec<String>,
}

/// Where the tests' Kafka comes from; the test kit's `backend` module says what each can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Container,
    Process,
    Embedded,
    External(String),
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "container" => Ok(Self::Container),
            "process" => Ok(Self::Process),
            "embedded" => Ok(Self::Embedded),
            address if address.contains(':') => Ok(Self::External(address.to_owned())),
            _ => Err("it is `container`, `process`, `embedded` or HOST:PORT".to_owned()),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Container => "container",
            Self::Process => "process",
            Self::Embedded => "embedded",
            Self::External(address) => address,
        })
    }
}

/// Sets up and runs the tests.
///
/// # Errors
/// When something is missing and was not installed, when the Kafka cannot be had, or when the programs do not build.
/// Failed tests are no error: they are in the exit code.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { no_install, kafka, cargo_args } = args;
    let policy = if no_install { Policy::Forbid } else { Policy::Install };
    let mut needs = vec![Need::CompileKafkaClient, Need::Browser, Need::PostgreSql, Need::Python];
    // There a test that is skipped for want of another backend is a failure.
    let in_ci = std::env::var_os("CI").is_some();
    needs.extend(in_ci.then_some(Need::Java));
    needs.extend((kafka == Backend::Container).then_some(Need::Compose));
    let environment = set_up(&kafka, needs, policy)?;
    if in_ci {
        broker::build()?;
    }

    let mut build = cargo("build");
    for program in PROGRAMS {
        build.args(["-p", program]);
    }
    let status = build.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the programs that the tests run do not build");
    }

    let mut test = cargo("test");
    if !names_packages(&cargo_args) {
        test.arg("--workspace");
    }
    if std::env::var_os(THREADS_VARIABLE).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        test.env(THREADS_VARIABLE, processors.max(TEST_THREADS).to_string());
    }
    let status = test.args(&cargo_args).envs(environment).status().context("cannot run cargo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Makes sure that the tests will find their Kafka and what else they need, and gives the environment that leads them
/// to it.
pub(crate) fn set_up(
    kafka: &Backend,
    mut needs: Vec<Need>,
    policy: Policy,
) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let mut environment = vec![(KAFKA_VARIABLE, kafka.to_string().into())];
    match kafka {
        Backend::Container => {
            needs.push(Need::Docker);
            // Without an engine nobody can say yet whether an image can be pulled: who has to install by hand is
            // told all.
            if policy == Policy::Forbid && !docker::answers() {
                needs.push(Need::KafkaImage);
            }
            install::ensure(&needs, policy)?;
            docker::ensure_running().context("`--kafka process` needs no Docker")?;
            // Chosen once, with its reasons said; the tests need not ask again.
            environment.push(("MODELCAST_KAFKA_IMAGE", docker::ensure_image(policy)?.into()));
        }
        Backend::Process => {
            needs.push(Need::Java);
            install::ensure(&needs, policy)?;
        }
        Backend::Embedded => {
            install::ensure(&needs, policy)?;
            environment.push(("MODELCAST_BROKER", broker::build()?.into()));
        }
        Backend::External(_) => install::ensure(&needs, policy)?,
    }
    Ok(environment)
}

fn cargo(subcommand: &str) -> Command {
    let mut command = broker::cargo();
    command.arg(subcommand);
    command
}

/// With `--workspace` cargo would ignore the packages that the user named.
fn names_packages(cargo_args: &[String]) -> bool {
    cargo_args.iter().take_while(|arg| *arg != "--").any(|arg| {
        arg.starts_with("-p") || arg.starts_with("--package") || arg.starts_with("--manifest-path")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_package_is_not_drowned_by_the_workspace() {
        let rows: [(&[&str], bool); 6] = [
            (&[], false),
            (&["-p", "trainer"], true),
            (&["-ptrainer"], true),
            (&["--package=trainer"], true),
            (&["--test", "kafka_container"], false),
            (&["--", "-p"], false),
        ];
        for (args, expected) in rows {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            assert_eq!(names_packages(&args), expected, "{args:?}");
        }
    }

    #[test]
    fn a_kafka_is_named_or_given_by_its_address() {
        for name in ["container", "process", "embedded", "127.0.0.1:9092", "one:9092,two:9092"] {
            assert_eq!(name.parse::<Backend>().unwrap().to_string(), name);
        }
        assert!(matches!("one:9092".parse(), Ok(Backend::External(_))));
        assert!("docker".parse::<Backend>().unwrap_err().contains("`process`"));
    }
}
