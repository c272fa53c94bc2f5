//! Benchmarks, one subcommand each: figures for the docs, never checks.
//!
//! Runs the built programs on the embedded broker; `cargo xtask demo --once` builds both.
#![expect(clippy::print_stdout, reason = "a benchmark's figures go to stdout")]

mod apps;
mod batch;
mod broker;
mod live;
mod made_up;
mod stream;
mod ways;

use clap::{Parser, Subcommand};

/// Measure Modelcast with the built programs on the embedded broker.
#[derive(Debug, Parser)]
#[command(name = "modelcast-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How fast a file is scored offline, beside parsing it and doing nothing with it.
    Batch(batch::Args),
    /// From before an announcement is sent to the first HTTP answer that names it, on the slower of two apps.
    Live(live::Args),
    /// Records a second from topic to topic through a model, beside the same transactions without one.
    Stream(stream::Args),
    /// What one prediction costs: in the process, of a model that is swapped, over REST, over gRPC.
    Ways(ways::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Batch(args) => batch::run(&args),
        Command::Live(args) => live::run(&args),
        Command::Stream(args) => stream::run(&args),
        Command::Ways(args) => ways::run(&args),
    }
}

/// How this program, and the programs beside it, were built.
fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}
