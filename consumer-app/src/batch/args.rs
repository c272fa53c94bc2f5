//! The flags of `batch`.

use std::path::PathBuf;

use clap::{ArgMatches, Args};
use modelcast_protocol::ModelName;

use super::settings::Overrides;
use crate::cli::{ProcessArgs, source};

/// What `--help` says after the flags.
pub const EXIT_CODES: &str = "Exit codes: 0 the run is complete, or a signal ended the waiting for the next one; \
    1 failed, and the next start goes on where this one ended; 2 wrong usage; 3 a signal ended the run, and the next \
    start goes on; 4 the input was refused and the run is given up: it does not fit the model, too many rows failed, \
    a key stands there twice; 64 settings wrong. With a schedule, and with `live`, a run that fails ends nothing.";

/// The flags of `batch`. Flags go over the environment, and that goes over the file.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// What every process takes.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// File to score, CSV or Parquet by its name, instead of input.path; implies --once.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// File to write, CSV or Parquet by its name, instead of what `[output]` says.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Column with each row's key, instead of input.key.
    #[arg(long, value_name = "COLUMN")]
    pub key: Option<String>,
    /// Model to score with, instead of model.name.
    #[arg(long, value_name = "NAME")]
    pub model: Option<ModelName>,
    /// Make one run and end, whatever run.when says.
    #[arg(long)]
    pub once: bool,
    /// Print what each run had to say of itself as one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

impl BatchArgs {
    /// What these flags, and the environment behind them, put over the file.
    #[must_use]
    pub fn overrides(&self, matches: &ArgMatches) -> Overrides {
        let once = (self.once || self.input.is_some()).then(|| {
            let flag = if self.once { "once" } else { "input" };
            source(matches, flag)
        });
        Overrides {
            process: self.process.overrides(matches),
            input: self.input.clone().map(|value| (value, source(matches, "input"))),
            output: self.output.clone().map(|value| (value, source(matches, "output"))),
            key: self.key.clone().map(|value| (value, source(matches, "key"))),
            model: self.model.clone().map(|value| (value, source(matches, "model"))),
            once,
        }
    }
}
