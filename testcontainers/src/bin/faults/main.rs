//! The fault run: publishers and subscribers on a cluster to which everything happens, and a verdict at the end.
//!
//! `cargo xtask faults` sets up what this needs and calls it. The program starts itself again as publisher and
//! subscriber processes; each writes a history, which the checker of the kit judges.
//! Does not judge by itself, and measures nothing.
//!
//! # Invariants
//! * The seed decides which faults come in which order, and the random numbers of the publishers; it is printed first.
//! * Never more than one broker is down at once, except by the rare fault that takes all.
//! * Every process it started has ended when it ends, however it ends.

mod brokers;
mod child;
mod conductor;
mod ending;
mod network;
mod operation;
mod processes;
mod progress;
mod publisher;
mod reader;
mod storm;
mod subscriber;
mod table_model;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};

/// Publish and subscribe while brokers, connections and processes fail; end in a verdict.
#[derive(Parser)]
#[command(name = "faults")]
struct Command {
    #[command(flatten)]
    plan: RunArgs,
    /// What the program is when it started itself
    #[command(subcommand)]
    role: Option<Role>,
}

/// What a run is to be like.
#[derive(Args, Clone)]
pub(crate) struct RunArgs {
    /// Decides faults and operations; drawn and printed when it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long faults go on [default: 2, with --publishes at most 120]
    #[arg(long, value_name = "M", value_parser = minutes)]
    minutes: Option<Duration>,
    /// Go on until so many publishes have ended; the run fails when they do not in time
    #[arg(long, value_name = "N")]
    publishes: Option<u64>,
    /// Publisher processes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    publishers: u32,
    /// Subscriber processes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    subscribers: u32,
    /// Where the history goes: a folder that is not there yet [default: a temporary one, kept after a failure]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse::<f64>().map_err(|error| error.to_string())?;
    match Duration::try_from_secs_f64(60.0 * minutes) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("it is more than 0, and fractions are fine".to_owned()),
    }
}

#[derive(Subcommand)]
enum Role {
    /// Publishes until its input ends.
    #[command(hide = true)]
    Publisher(child::ChildArgs),
    /// Subscribes and predicts until its input ends.
    #[command(hide = true)]
    Subscriber(child::ChildArgs),
}

fn main() -> ExitCode {
    let Command { plan, role } = Command::parse();
    let done = match role {
        Some(Role::Publisher(args)) => publisher::run(&args).map(|()| ExitCode::SUCCESS),
        Some(Role::Subscriber(args)) => subscriber::run(&args).map(|()| ExitCode::SUCCESS),
        None => conductor::run(&plan),
    };
    done.unwrap_or_else(|error| {
        drop(writeln!(std::io::stderr(), "error: {error:#}"));
        ExitCode::from(2)
    })
}
