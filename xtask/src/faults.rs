//! `cargo xtask faults`: the fault run, with all the set-up that it needs.
//!
//! Sets up the Kafka as `cargo xtask test` does, builds the kit's program `faults`, and runs it. Knows
//! nothing of what it does: see `testcontainers/src/bin/faults/main.rs`.
//!
//! # Invariants
//! * The exit code is that of the program, or 1 when the set-up failed.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::broker::build_with_progress;
use crate::install::{Need, Policy};
use crate::test::{Backend, KAFKA_VARIABLE, set_up};

const PROGRAM: &str = "faults";

/// What `cargo xtask faults` understands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Decides faults and operations; drawn and printed when it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long faults go on, in minutes [default: 2, with --publishes at most 120]
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Go on until so many publishes have ended; the run fails when they do not in time
    #[arg(long, value_name = "N")]
    publishes: Option<u64>,
    /// Where the history goes: a folder that is not there yet [default: a temporary one, kept after a failure]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
    /// The Kafka: `container`, or `process` (no Docker, but Java)
    #[arg(long, value_name = "KAFKA", env = KAFKA_VARIABLE, default_value = "container")]
    kafka: Backend,
    /// Install nothing: print what would be installed, and fail
    #[arg(long)]
    no_install: bool,
}

/// Sets up and runs.
///
/// # Errors
/// When something is missing and was not installed, or the program does not build. A failed run is no error: it is in
/// the exit code.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { seed, minutes, publishes, folder, json, kafka, no_install } = args;
    let policy = if no_install { Policy::Forbid } else { Policy::Install };
    let environment = set_up(&kafka, vec![Need::CompileKafkaClient], policy)?;
    let what = ["--locked", "-p", "modelcast-testcontainers"];
    let mut programs = build_with_progress(PROGRAM, &what, &["--bin", PROGRAM])?;
    let program = programs.remove(PROGRAM).context("cargo built no program `faults`")?;
    let mut command = Command::new(&program);
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.args([name, &value]);
        }
    };
    flag("--seed", seed.map(|seed| seed.to_string()));
    flag("--minutes", minutes.map(|minutes| minutes.to_string()));
    flag("--publishes", publishes.map(|publishes| publishes.to_string()));
    command.args(folder.iter().flat_map(|folder| ["--folder".as_ref(), folder.as_os_str()]));
    command.args(json.then_some("--json")).envs(environment);
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
