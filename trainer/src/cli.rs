//! What can be typed: the arguments of `trainer` as clap reads them.
//!
//! Checks the form of each value. What the values mean for a data set is decided by the library.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use modelcast_protocol::{
    limits::{REASON_MAX_BYTES, SCHEMA_TEXT_MAX_BYTES},
    name::Namespace,
};
use tracing_subscriber::EnvFilter;

const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed; `--wait`: the fleet did not get there
   2  wrong usage
   3  conflict: somebody else announced first
   4  refused: a gate or a rule said no, or the fit did not converge
   5  outcome unknown; the `modelcast settle` command to run is printed
  64  configuration wrong
  69  Kafka cannot be reached";

/// Train a model on a data set and publish it as a version.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonArgs {
    /// Configuration file; `config/trainer.toml` when that exists
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of one or more Kafka brokers
    #[arg(long, global = true, value_name = "HOST:PORT", env = "MODELCAST_KAFKA")]
    pub(crate) kafka: Option<String>,
    /// Prefix of the topics
    #[arg(long, global = true, value_name = "NS", env = "MODELCAST_NAMESPACE")]
    pub(crate) namespace: Option<Namespace>,
    /// What to log, as `info` or `trainer=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "RUST_LOG", default_value = "warn", value_parser = log_filter)]
    pub(crate) log: String,
    /// How to write the log
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the data sets that are configured
    List(ListArgs),
    /// Fit, evaluate and package; writes artifact, schema.json, golden.json and report.json
    Train(TrainArgs),
    /// Publish a package, coefficients fitted elsewhere, or what a data set gives
    Publish(PublishArgs),
    /// The whole cycle: train, evaluate, package, gates, publish, wait
    Run(RunArgs),
    /// Print what makes a shell complete these commands
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Folder to write the package into; made if it does not exist
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// The report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `publish`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["dataset", "packaged"]))]
pub(crate) struct PublishArgs {
    /// Data set to train on; with --artifact, the one that the coefficients are judged by
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// Train on rows up to this value of the time column
    #[arg(long, value_name = "VALUE", conflicts_with = "packaged")]
    pub(crate) until: Option<String>,
    /// Package that `trainer train` wrote
    #[arg(long, value_name = "FOLDER")]
    pub(crate) packaged: Option<PathBuf>,
    /// Coefficients fitted elsewhere, as JSON (trainer/README.md says how they look)
    #[arg(long, value_name = "FILE", requires = "dataset", conflicts_with = "packaged")]
    pub(crate) artifact: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

/// Which rows to train on.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Data set, a section of the configuration
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: String,
    /// Train on rows up to this value of the time column
    #[arg(long, value_name = "VALUE")]
    pub(crate) until: Option<String>,
}

/// How to publish.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// Ask the gates and stop before anything is sent; ends with 4 if one says no
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until this part of the instances that are not silent is live
    #[arg(long, value_name = "PERCENT", value_parser = share, conflicts_with = "dry_run")]
    pub(crate) wait: Option<f64>,
    /// How long to wait at most, as `90s` or `2m`
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    pub(crate) timeout: Duration,
    /// Let a gate fail, for a reason that is recorded; may be given again for another gate
    #[arg(long = "override", value_name = "GATE=REASON", value_parser = gate_and_reason, action = ArgAction::Append)]
    pub(crate) overrides: Vec<(String, String)>,
    /// Why it is published; what it was trained on unless given
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
    /// Who publishes it; $USER@host unless given
    #[arg(long, value_name = "NAME", env = "MODELCAST_AUTHOR", value_parser = author)]
    pub(crate) author: Option<String>,
    /// The result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl OrderArgs {
    /// The overrides by gate; a gate given twice has its last reason.
    pub(crate) fn overrides(&self) -> BTreeMap<String, String> {
        self.overrides.iter().cloned().collect()
    }
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0).filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "write a part such as 95%, above 0% and up to 100%".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time such as 90s, 2m or 1h, up to 24h".to_owned();
    let place = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(place);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let seconds =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)?;
    if (1..=24 * 3600).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(wrong()) }
}

fn gate_and_reason(text: &str) -> Result<(String, String), String> {
    let (gate, why) = text.split_once('=').ok_or("write GATE=REASON, such as rmse=\"smaller market\"")?;
    if gate.is_empty() {
        return Err("write GATE=REASON: the gate is missing".to_owned());
    }
    Ok((gate.to_owned(), reason(why)?))
}

fn reason(text: &str) -> Result<String, String> {
    bounded(text, REASON_MAX_BYTES)
}

/// Checks who publishes.
pub(crate) fn author(text: &str) -> Result<String, String> {
    bounded(text, SCHEMA_TEXT_MAX_BYTES)
}

fn bounded(text: &str, most: usize) -> Result<String, String> {
    match text.trim() {
        "" => Err("must not be empty".to_owned()),
        text if text.len() > most => Err(format!("must not be longer than {most} bytes")),
        text => Ok(text.to_owned()),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("trainer").chain(line.split_whitespace()))
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_contradicts_or_has_no_meaning_is_wrong_usage() {
        for line in [
            "publish",
            "publish --packaged a --dataset b",
            "publish --artifact a.json",
            "publish --packaged a --artifact a.json",
            "publish --packaged a --until 2007",
            "train --dataset a",
            "run --dataset a --wait 95",
            "run --dataset a --wait 0%",
            "run --dataset a --wait 101%",
            "run --dataset a --wait nan%",
            "run --dataset a --dry-run --wait 95%",
            "run --dataset a --timeout 2",
            "run --dataset a --timeout 99999999999999999999h",
            "run --dataset a --override rmse",
            "run --dataset a --override rmse=",
            "run --dataset a --override =x",
            "run --dataset a --namespace A",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn shares_and_times_are_read_as_written() {
        let cli = parse("run --dataset a --wait 95% --timeout 3m --override rmse=why").unwrap();
        let Verb::Run(args) = cli.verb else { panic!("run") };
        assert_eq!((args.order.wait, args.order.timeout), (Some(0.95), Duration::from_secs(180)));
        assert_eq!(args.order.overrides(), BTreeMap::from([("rmse".to_owned(), "why".to_owned())]));
    }
}
