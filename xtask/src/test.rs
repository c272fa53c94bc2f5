//! `cargo xtask test`: every test, with all the set-up that they need.
//!
//! Says what is missing and installs it, starts Docker, has a Kafka image made, builds the programs that the
//! system tests run, and then is `cargo test`.
//!
//! # Invariants
//! * The exit code is that of `cargo test`, or 1 when the set-up failed.
//! * Each step does nothing when there is nothing to do.

use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::broker::root;
use crate::docker;
use crate::install::{self, Need, Policy};

/// The programs that system tests start, by package.
const PROGRAMS: [&str; 3] = ["trainer", "consumer-app", "modelcast-operator"];

/// What `cargo xtask test` understands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install nothing: print what would be installed, and fail
    #[arg(long)]
    no_install: bool,
    /// For `cargo test`, as in `cargo xtask test -- -p trainer -- --nocapture`
    #[arg(last = true, value_name = "CARGO_TEST_ARGS")]
    cargo_args: Vec<String>,
}

/// Sets up and runs the tests.
///
/// # Errors
/// When something is missing and was not installed, when Docker or the image cannot be had, or when the programs
/// do not build. Failed tests are no error: they are in the exit code.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { no_install, cargo_args } = args;
    let policy = if no_install { Policy::Forbid } else { Policy::Install };
    let mut needs = vec![Need::CompileKafkaClient, Need::Docker, Need::Browser];
    // Without an engine nobody can say yet whether an image can be pulled: who has to install by hand is told all.
    if no_install && !docker::answers() {
        needs.push(Need::KafkaImage);
    }
    install::ensure(&needs, policy)?;
    docker::ensure_running()?;
    let image = docker::ensure_image(policy)?;

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
    // The image was chosen once, with its reasons said; the tests need not ask again.
    let status =
        test.args(&cargo_args).env("MODELCAST_KAFKA_IMAGE", image).status().context("cannot run cargo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(root());
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
}
