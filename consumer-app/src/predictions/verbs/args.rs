//! The command line of `consumer-app predictions`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use modelcast_protocol::{ModelName, limits::REASON_MAX_BYTES};

use crate::predictions::run::{RunId, WHO_MAX_BYTES};

const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed
   2  wrong usage
   3  conflict: the run is no longer what it would have to be; the message says who decided, or is at work on it
   4  refused: there is no such run
  64  settings wrong
  69  the database cannot be reached, or is too slow";

/// `consumer-app predictions …`
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct PredictionsArgs {
    /// A settings file with a section `[predictions]`: config/consumer-app.toml when that exists, or another program's.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file of SQLite or a URL of PostgreSQL, instead of predictions.store.
    #[arg(long, global = true, value_name = "STORE", env = "MODELCAST_PREDICTIONS", hide_env_values = true)]
    pub store: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done with stored predictions.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List runs, the newest first
    List(ListArgs),
    /// Show a run beside the one that is served: distributions, unusual rows, failures, biggest movers
    Show(ShowArgs),
    /// Serve a run from now on; one that was replaced can be approved again, which is the rollback
    Approve(DecideArgs),
    /// Never serve a run
    Reject(DecideArgs),
    /// Give up a run whose batch was killed and is not started again; one that is running still is refused
    Abandon(AbandonArgs),
    /// Delete the rows of a model's old runs; the approved one keeps its rows
    Prune(PruneArgs),
}

/// `predictions list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The model; all models when left out
    pub model: Option<ModelName>,
    /// How many runs at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub limit: u64,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// `predictions show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run
    pub run: RunId,
    /// How many movers of each output; 0 looks for none, which saves a pass over both runs
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub movers: u64,
    /// How many failures
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=100_000))]
    pub failures: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `predictions approve` and `predictions reject`
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The run
    pub run: RunId,
    /// Who decides; kept and shown
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub by: String,
    /// Why; kept and shown
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `predictions abandon`
#[derive(Debug, Args)]
pub struct AbandonArgs {
    /// Which run, who and why
    #[command(flatten)]
    pub decide: DecideArgs,
    /// The batch's state folder, instead of instance.state: a process that is at work on the run there is not disturbed
    #[arg(long, value_name = "FOLDER", env = "MODELCAST_STATE")]
    pub state: Option<PathBuf>,
}

/// `predictions prune`
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// The model
    pub model: ModelName,
    /// How many runs keep their rows, instead of predictions.keep_runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub keep: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Who decides: something a person can read.
///
/// # Errors
/// What is wrong with the text.
pub fn name(text: &str) -> Result<String, String> {
    words(text, WHO_MAX_BYTES)
}

/// Why: something a person can read.
///
/// # Errors
/// What is wrong with the text.
pub fn reason(text: &str) -> Result<String, String> {
    words(text, REASON_MAX_BYTES)
}

fn words(text: &str, max_bytes: usize) -> Result<String, String> {
    let text = text.trim();
    match text.len() {
        0 => Err("must not be empty".to_owned()),
        length if length > max_bytes => Err(format!("{length} bytes are more than {max_bytes}")),
        _ if text.contains('\0') => Err("must not have a zero byte in it".to_owned()),
        _ => Ok(text.to_owned()),
    }
}
