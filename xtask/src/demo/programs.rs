//! The built programs, and running one of them to its end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::broker;

use super::interrupt::Interrupt;
use super::process::{Process, Start};

/// Where the programs are.
pub(super) struct Programs {
    /// Only where no Kafka is there already.
    pub(super) broker: Option<PathBuf>,
    pub(super) trainer: PathBuf,
    pub(super) consumer_app: PathBuf,
    pub(super) modelcast: PathBuf,
}

impl Programs {
    /// Builds what is not built, the long one first.
    pub(super) fn build(with_broker: bool, release: bool) -> anyhow::Result<Self> {
        let profile = if release { "release" } else { "dev" };
        eprintln!("building the programs ({profile} profile); the first time takes minutes");
        let broker = if with_broker { Some(broker::build()?) } else { None };
        let what = ["-p", "trainer", "-p", "consumer-app", "-p", "modelcast-operator"];
        let how = ["--bins", "--profile", profile];
        let mut built = broker::build_with_progress("the three programs", &what, &how)?;
        let mut take = |name: &str| built.remove(name).with_context(|| format!("cargo built no {name}"));
        Ok(Self {
            broker,
            trainer: take("trainer")?,
            consumer_app: take("consumer-app")?,
            modelcast: take("modelcast")?,
        })
    }
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// When it does not end with success; the message has the end of its log.
pub(super) fn run_to_end(
    name: &str,
    program: &Path,
    args: &[&str],
    logs: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<String> {
    let start = Start { name, program, args: args.iter().map(OsStr::new).collect(), logs };
    let mut process = Process::start(&start)?;
    let (status, printed) = process.finish(interrupt)?;
    if !status.success() {
        bail!("`{} {}` ended with {status}{}", shown(program), args.join(" "), process.tail());
    }
    Ok(printed)
}

/// A program as one would type it in the root of the repository.
pub(super) fn shown(program: &Path) -> String {
    program.strip_prefix(broker::root()).unwrap_or(program).display().to_string()
}
