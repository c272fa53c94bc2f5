//! `cargo xtask demo`: the whole story on this machine, told by the built programs.
//!
//! Builds them, starts the embedded broker and two consumer apps, trains and publishes two models and three
//! retrained versions, with requests running against both apps meanwhile, and judges what happened.
//! Knows the programs only by their command lines and HTTP: nothing of Modelcast is linked here.
//!
//! # Invariants
//! * Every program it started has ended when it ends, however it ends.
//! * It deletes no folder that an earlier demo did not make.
//! * Success is said only when both apps were live on each version before the next was published, and every
//!   request was answered.

mod events;
mod interrupt;
mod load;
mod process;
mod programs;
mod requests;
mod stage;
mod story;
mod tally;
mod telling;
mod workplace;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::install::{self, Need, Policy};

use self::interrupt::Interrupt;
use self::programs::Programs;
use self::stage::Stage;
use self::workplace::Workplace;

/// What `cargo xtask demo` understands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after the last version; exit code 0 only if all went as it should
    #[arg(long)]
    once: bool,
    /// Use the Kafka that is there instead of the embedded broker
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Namespace of the topics; with --kafka one of the demo's own, for the keys are new each time
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Folder for topics, keys, logs and what the apps keep; made anew each time
    #[arg(long, value_name = "DIR", default_value = "state/demo")]
    state: PathBuf,
    /// Build the programs optimised: slower to build, faster to run
    #[arg(long)]
    release: bool,
    /// Install nothing: print what would be installed, and fail
    #[arg(long)]
    no_install: bool,
}

/// Tells the story.
///
/// # Errors
/// When something cannot be installed, built or started, or a program that must succeed does not. A version that
/// did not go live, or a request that failed, is no error: it is in the exit code.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let policy = if args.no_install { Policy::Forbid } else { Policy::Install };
    install::ensure(&[Need::CompileKafkaClient], policy)?;
    let workplace = Workplace::create(&args.state)?;
    let programs = Programs::build(args.kafka.is_none(), args.release)?;
    if interrupt.is_set() {
        return Ok(ExitCode::FAILURE);
    }
    let mut stage = Stage::set_up(&programs, workplace, args.kafka, args.namespace, &interrupt)?;
    let went_well = story::tell(&programs, &mut stage, &interrupt)?;
    if !args.once && !interrupt.is_set() {
        stage.stay_until_interrupted(&programs, &interrupt)?;
    }
    stage.stop();
    Ok(if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
