//! The command line.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum, parser::ValueSource};
use clap_complete::Shell;
use modelcast_protocol::{InstanceName, ModelName, Namespace};
use tracing_subscriber::EnvFilter;

use crate::{
    batch::args::BatchArgs,
    predictions::verbs::args::PredictionsArgs,
    settings::{Overrides, ProcessOverrides, Source},
    stream::args::StreamArgs,
};

/// Serve live models over HTTP: the Open Inference Protocol, metrics and a page per model.
///
/// Subscribes to models published to Kafka, proves each version good, and swaps it in under live traffic.
#[derive(Debug, Parser)]
#[command(name = "consumer-app", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ended by a signal, 1 failed, 2 wrong usage, 64 settings wrong. \
    That Kafka cannot be reached ends nothing: what was live last serves on.";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Subscribe and serve until a signal ends it.
    Serve(ServeArgs),
    /// Inspect stored predictions; approve, reject or give them up.
    Predictions(PredictionsArgs),
    /// Score a file of any size: CSV or Parquet in; out to a table, CSV or Parquet.
    #[command(after_help = crate::batch::args::EXIT_CODES)]
    Batch(BatchArgs),
    /// Score records from one topic into another, exactly once, until a signal ends it.
    Stream(StreamArgs),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// The flags that every subcommand takes. Flags go over the environment, and that goes over the file.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Settings file [default: the one in config/ when it exists].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Kafka's addresses, instead of kafka.bootstrap_servers.
    #[arg(long, value_name = "HOST:PORT", env = "MODELCAST_KAFKA")]
    pub kafka: Option<String>,
    /// Prefix of all topics, instead of kafka.namespace.
    #[arg(long, value_name = "NS", env = "MODELCAST_NAMESPACE")]
    pub namespace: Option<Namespace>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,modelcast=debug`.
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// How to write the log.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The flags of a process of the fleet.
#[derive(Debug, Args)]
pub struct ProcessArgs {
    /// What every subcommand takes.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Name in the fleet, instead of instance.name; each process has its own.
    #[arg(long, value_name = "NAME", env = "MODELCAST_INSTANCE")]
    pub instance: Option<InstanceName>,
    /// Folder for what must outlive the process, instead of instance.state.
    #[arg(long, value_name = "FOLDER", env = "MODELCAST_STATE")]
    pub state: Option<PathBuf>,
}

/// The flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What every process takes.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Address to listen on, instead of http.listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "MODELCAST_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// A model to serve, instead of those in the file; may be repeated.
    #[arg(long = "model", value_name = "NAME")]
    pub models: Vec<ModelName>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl CommonArgs {
    /// The settings file to read: the one named, else the default one if it is there.
    #[must_use]
    pub fn config_file(&self, default: &str) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(default)).filter(|path| Path::exists(path));
        self.config.clone().or_else(default)
    }
}

impl ProcessArgs {
    /// What these flags, and the environment behind them, put over the file.
    #[must_use]
    pub fn overrides(&self, matches: &ArgMatches) -> ProcessOverrides {
        ProcessOverrides {
            kafka: self.common.kafka.clone().map(|value| (value, source(matches, "kafka"))),
            namespace: self.common.namespace.clone().map(|value| (value, source(matches, "namespace"))),
            instance: self.instance.clone().map(|value| (value, source(matches, "instance"))),
            state: self.state.clone().map(|value| (value, source(matches, "state"))),
        }
    }
}

impl ServeArgs {
    /// What these flags, and the environment behind them, put over the file.
    #[must_use]
    pub fn overrides(&self, matches: &ArgMatches) -> Overrides {
        let models = (!self.models.is_empty()).then(|| (self.models.clone(), source(matches, "models")));
        Overrides {
            process: self.process.overrides(matches),
            listen: self.listen.map(|value| (value, source(matches, "listen"))),
            models,
        }
    }
}

/// Where the value of an argument that was given comes from.
pub(crate) fn source(matches: &ArgMatches, argument: &str) -> Source {
    match matches.value_source(argument) {
        Some(ValueSource::EnvVariable) => Source::Environment,
        _ => Source::Flag,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn flags_are_taken_and_their_source_is_known() {
        Cli::command().debug_assert();
        let line = ["consumer-app", "serve", "--listen", "127.0.0.1:0", "--model", "a", "--model", "b"];
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        let Command::Serve(args) = Cli::from_arg_matches(&matches).unwrap().command else { panic!() };
        let overrides = args.overrides(matches.subcommand().unwrap().1);
        assert_eq!(overrides.listen.unwrap().1, Source::Flag);
        assert_eq!(overrides.models.unwrap().0.len(), 2);
    }
}
