//! `cargo xtask ci`: what CI runs besides the tests, each step with its time.
//!
//! Formatting, lints, documentation, licences and sources of what we depend on, and tidy. Tests are
//! `cargo xtask test`.
//!
//! # Invariants
//! * No flag makes a step weaker: `--only` runs one as it is, `--keep-going` runs those after a failed one too.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::broker::root;
use crate::install::find_program;
use crate::tidy;

/// The version that is installed where cargo-deny is missing.
const CARGO_DENY: &str = "0.20.2";

/// What `cargo xtask ci` understands.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Args {
    /// Run this step alone
    #[arg(long, value_name = "STEP")]
    only: Option<Step>,
    /// Run the steps after a failed one too; the outcome is a failure all the same
    #[arg(long)]
    keep_going: bool,
}

/// The steps, in the order in which they run: cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    Format,
    BrokerFormat,
    Tidy,
    Deny,
    Clippy,
    Doc,
}

/// Runs the steps.
///
/// # Errors
/// When a step fails.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args { only, keep_going } = args;
    let steps = Step::value_variants().iter().copied().filter(|step| only.is_none_or(|only| only == *step));
    let mut failed = Vec::new();
    for step in steps {
        let name = step.name();
        eprintln!("ci: {name}");
        let started = Instant::now();
        let outcome = step.run();
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => eprintln!("ci: {name} passed in {seconds:.1} s"),
            Err(error) => {
                eprintln!("ci: {name} FAILED in {seconds:.1} s: {error:#}");
                failed.push(name);
                if !keep_going {
                    break;
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Format => cargo(&["fmt", "--all", "--check"], &[]),
            Self::BrokerFormat => cargo(&["fmt", "--manifest-path", "broker/Cargo.toml", "--check"], &[]),
            Self::Tidy => tidy::check(root()),
            Self::Deny => deny(),
            Self::Clippy => {
                cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
            }
            Self::Doc => cargo(
                &["doc", "--locked", "--workspace", "--no-deps", "--quiet"],
                &[("RUSTDOCFLAGS", "-D warnings")],
            ),
        }
    }
}

fn cargo(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` ended with {status}", args.join(" "));
    }
    Ok(())
}

/// The advisory check is left out: its database is a Git repository, which not every CI machine reaches.
fn deny() -> anyhow::Result<()> {
    if find_program("cargo-deny").is_none() {
        eprintln!(
            "ci: cargo-deny is missing: running `cargo install cargo-deny --locked --version {CARGO_DENY}`"
        );
        cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY], &[])?;
    }
    cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"], &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_the_names_that_only_takes() {
        for step in Step::value_variants() {
            assert_eq!(Step::from_str(&step.name(), false).as_ref(), Ok(step));
        }
    }
}
