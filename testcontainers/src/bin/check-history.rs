//! Checks the history in a folder: `cargo run -p modelcast-testcontainers --bin check-history -- FOLDER`.
//!
//! Ends with 0 when nothing contradicts a guarantee, 1 when something does, 2 when there is no whole history.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use modelcast_testcontainers::history::{History, check};

/// Check what publishers, subscribers and requests did and saw against the guarantees.
#[derive(Parser)]
struct Args {
    /// The folder of the history: a `.jsonl` file for each process
    folder: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = check(&History::load(&args.folder)?);
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}").context("cannot print")?;
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
