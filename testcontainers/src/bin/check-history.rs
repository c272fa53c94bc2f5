//! Checks the history in a folder: `cargo run -p modelcast-testcontainers --bin check-history -- FOLDER`.
//!
//! Ends with 0 when every guarantee held, 1 when something contradicts one or nothing was there to check it by, 2 when
//! there is no whole history.

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
    Ok(if report.held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use modelcast_testcontainers::history::{Event, Recorder};

    use super::*;

    #[test]
    fn a_history_that_says_nothing_of_a_guarantee_does_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        Recorder::create(folder.path(), "conductor.1").unwrap().record(Event::Healed).unwrap();
        let args = Args { folder: folder.path().to_owned(), json: true };
        assert_eq!(run(&args).unwrap(), ExitCode::FAILURE);
    }

    #[test]
    fn no_history_is_no_verdict() {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(&Args { folder: folder.path().to_owned(), json: true }).is_err());
    }
}
