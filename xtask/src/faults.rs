//! `cargo xtask faults`: the fault run, with all the set-up that it needs.
//!
//! Sets up the Kafka as `cargo xtask test` does, builds the kit's program `faults`, and runs it. Knows
//! nothing of what it does: see `testcontainers/src/bin/faults/main.rs`.
//!
//! # Invariants
//! * The exit code is that of the program: 0 or 1. When that did not get to a verdict, or there is no program, it is 2.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context;

use crate::broker::build_with_progress;
use crate::install::{Need, Policy};
use crate::test::{Backend, KAFKA_VARIABLE, set_up};

const PROGRAM: &str = "faults";
const HELD: u8 = 0;
const NOT_HELD: u8 = 1;
const NO_VERDICT: u8 = 2;

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
    /// Publisher processes [default: 3]
    #[arg(long, value_name = "N")]
    publishers: Option<u32>,
    /// Subscriber processes [default: 3]
    #[arg(long, value_name = "N")]
    subscribers: Option<u32>,
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

/// Sets up, runs, and gives the verdict.
pub(crate) fn run(args: &Args) -> ExitCode {
    let ended = run_program(args);
    if let Err(error) = &ended {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(verdict(ended.ok().and_then(|status| status.code())))
}

/// What the program's exit code comes to; it has none where it did not run, or was killed.
fn verdict(code: Option<i32>) -> u8 {
    match code {
        Some(0) => HELD,
        Some(1) => NOT_HELD,
        // Such as 101, after a panic.
        Some(_) | None => NO_VERDICT,
    }
}

fn run_program(args: &Args) -> anyhow::Result<ExitStatus> {
    let policy = if args.no_install { Policy::Forbid } else { Policy::Install };
    let environment = set_up(&args.kafka, vec![Need::CompileKafkaClient], policy)?;
    let what = ["--locked", "-p", "modelcast-testcontainers"];
    let mut programs = build_with_progress(PROGRAM, &what, &["--bin", PROGRAM])?;
    let program = programs.remove(PROGRAM).context("cargo built no program `faults`")?;
    let mut command = Command::new(&program);
    command.args(flags(args)).envs(environment);
    command.status().with_context(|| format!("cannot run {}", program.display()))
}

/// What the program is told.
fn flags(args: &Args) -> Vec<OsString> {
    let Args { seed, minutes, publishes, publishers, subscribers, folder, json, kafka: _, no_install: _ } =
        args;
    let values: [(&str, Option<OsString>); 6] = [
        ("--seed", seed.map(|seed| seed.to_string().into())),
        ("--minutes", minutes.map(|minutes| minutes.to_string().into())),
        ("--publishes", publishes.map(|publishes| publishes.to_string().into())),
        ("--publishers", publishers.map(|publishers| publishers.to_string().into())),
        ("--subscribers", subscribers.map(|subscribers| subscribers.to_string().into())),
        ("--folder", folder.clone().map(PathBuf::into_os_string)),
    ];
    let flags = values.into_iter().filter_map(|(name, value)| Some([name.into(), value?]));
    flags.flatten().chain(json.then(|| "--json".into())).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn what_did_not_get_to_a_verdict_is_neither_held_nor_not_held() {
        assert_eq!([0, 1, 2, 101, 137, -1, 256].map(|code| verdict(Some(code))), [0, 1, 2, 2, 2, 2, 2]);
        // The set-up failed, or a signal ended the program.
        assert_eq!(verdict(None), 2);
    }

    #[test]
    fn the_program_is_told_all_that_is_its_own() {
        let own = "--seed 7 --minutes 0.5 --publishes 10 --publishers 2 --subscribers 4 --folder here --json";
        let line = Line::parse_from(["xtask"].into_iter().chain(own.split(' ')).chain(["--no-install"]));
        assert_eq!(flags(&line.args), own.split(' ').collect::<Vec<_>>());
        assert!(flags(&Line::parse_from(["xtask"]).args).is_empty());
    }
}
