//! `cargo xtask`: everything that is done to this repository rather than by it.
//!
//! Reads the command line and calls the module of the same name; each module's header says what it does.
//! Compiled first on a fresh machine, so it stays light: no Kafka, no TLS, no async runtime.
//!
//! # Invariants
//! * Nothing is installed, started or built that was not announced on standard error first.

mod broker;
mod ci;
mod demo;
mod docker;
mod faults;
mod install;
mod log;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// Modelcast's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Set up, build and run the whole story on this machine, until Ctrl-C.
    Demo(demo::Args),
    /// Install what is missing, start Docker, and run every test, those on a containerized Kafka included.
    Test(test::Args),
    /// Publish and subscribe on a cluster in which everything fails, and end in a verdict.
    Faults(faults::Args),
    /// Run what CI runs besides the tests.
    Ci(ci::Args),
    /// Check the rules that no compiler checks.
    Tidy(tidy::Args),
    /// Build and run the embedded broker.
    Broker(broker::Args),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Demo(args) => demo::run(args),
        Task::Test(args) => test::run(args),
        Task::Faults(args) => Ok(faults::run(&args)),
        Task::Ci(args) => ci::run(args).map(|()| ExitCode::SUCCESS),
        Task::Tidy(args) => tidy::run(args).map(|()| ExitCode::SUCCESS),
        Task::Broker(args) => broker::run(args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
