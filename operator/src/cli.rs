//! What can be typed: the arguments of `modelcast` as clap reads them.
//!
//! Checks the form of each value (names, versions, labels, texts). What the values mean for a model is decided by
//! `modelcast_protocol::change`; what is in the configuration file is read by [`crate::settings`].

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use modelcast_protocol::{
    Digest, Generation, InstanceName, ModelName, Namespace, Version,
    desired::PinTarget,
    limits::{REASON_MAX_BYTES, SCHEMA_TEXT_MAX_BYTES},
};

const EXIT_CODES: &str = "\
Exit codes:
   0  done; `status`: every instance that is not silent runs what it should
   1  failed; `status`: some instance does not; `verify`, `inspect`: a check failed
   2  wrong usage
   3  conflict: somebody else announced first
   4  refused: a rule said no
   5  outcome unknown; the `modelcast settle` command to run is printed
  64  configuration wrong
  69  Kafka cannot be reached";

/// See and steer a fleet of Modelcast instances.
#[derive(Debug, Parser)]
#[command(name = "modelcast", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonArgs {
    /// Configuration file; `config/operator.toml` when that exists
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of one or more Kafka brokers
    #[arg(long, global = true, value_name = "HOST:PORT", env = "MODELCAST_KAFKA")]
    pub(crate) kafka: Option<String>,
    /// Prefix of the topics
    #[arg(long, global = true, value_name = "NS", env = "MODELCAST_NAMESPACE")]
    pub(crate) namespace: Option<Namespace>,
    /// What to log, as `info` or `modelcast=debug`
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
    /// Create the topics, or check their settings
    #[command(subcommand)]
    Topics(TopicsVerb),
    /// Make keys for signing
    #[command(subcommand)]
    Keys(KeysVerb),
    /// List the versions of a model
    Versions(VersionsArgs),
    /// Show what every instance runs and what it should run
    Status(StatusArgs),
    /// Make an older version the champion
    Rollback(RollbackArgs),
    /// Hold instances on a version
    Pin(PinArgs),
    /// Let pinned instances go
    Unpin(UnpinArgs),
    /// Forbid a version, or allow it again
    Quarantine(QuarantineArgs),
    /// Fetch a whole version and verify it as a subscriber would
    Verify(VerifyArgs),
    /// Write a version into one file, for an application that carries its model with it
    Pull(PullArgs),
    /// Show what such a file holds, and verify it; needs no Kafka
    Inspect(InspectArgs),
    /// Say what became of an announcement whose outcome was unknown
    Settle(SettleArgs),
    /// Bring back what the announcements have lost
    Recover(RecoverArgs),
    /// Write a shell's completion script
    Completions(CompletionsArgs),
}

/// `modelcast topics …`
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsVerb {
    /// Create what is missing; topics that exist are checked and left alone
    Create(TopicsCreateArgs),
    /// Compare the topics' partitions and settings with what they must be
    Check(TopicsCheckArgs),
}

/// `modelcast topics create`
#[derive(Debug, Args)]
pub(crate) struct TopicsCreateArgs {
    /// A model whose topic for manifests and chunks to create as well; can be repeated
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<ModelName>,
    /// Copies of each topic, 3 on a cluster; the brokers' own default when left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub(crate) replication: Option<i32>,
}

/// `modelcast topics check`
#[derive(Debug, Args)]
pub(crate) struct TopicsCheckArgs {
    /// A model whose topic for manifests and chunks to check as well; can be repeated
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<ModelName>,
}

/// `modelcast keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// Write a new NAME.key.pem (secret) and NAME.pub.pem; never overwrites
    Generate(KeysGenerateArgs),
}

/// `modelcast keys generate`
#[derive(Debug, Args)]
pub(crate) struct KeysGenerateArgs {
    /// Folder to write to; created when missing
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Name of the files
    #[arg(long, value_name = "NAME", default_value = "publisher", value_parser = key_name)]
    pub(crate) name: String,
}

/// `modelcast versions`
#[derive(Debug, Args)]
pub(crate) struct VersionsArgs {
    /// The model
    pub(crate) model: ModelName,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `modelcast status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The model; all models when left out
    pub(crate) model: Option<ModelName>,
    /// Print one JSON object; one per line with --watch
    #[arg(long)]
    pub(crate) json: bool,
    /// Read again every 2 seconds until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Who changes something and why, and how the result is printed.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Why; shown wherever this change is listed
    #[arg(long, value_name = "TEXT", value_parser = stamp_text)]
    pub(crate) reason: String,
    /// Who; the configured author or USER@HOST when left out
    #[arg(long, value_name = "NAME", value_parser = stamp_text)]
    pub(crate) author: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `modelcast rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The model
    pub(crate) model: ModelName,
    /// Version to return to; the newest below the champion that is not quarantined when left out
    #[arg(long, value_name = "V")]
    pub(crate) to: Option<Version>,
    /// Do not quarantine the version that is left
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Whom a pin holds.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["instance", "label", "all"])))]
pub(crate) struct TargetArgs {
    /// One instance
    #[arg(long, value_name = "I")]
    instance: Option<InstanceName>,
    /// Every instance with this label
    #[arg(long, value_name = "K=V", value_parser = label)]
    label: Option<(String, String)>,
    /// Every instance
    #[arg(long)]
    all: bool,
}

impl TargetArgs {
    /// The target; clap has seen to it that exactly one was named.
    pub(crate) fn target(&self) -> PinTarget {
        match (&self.instance, &self.label) {
            (Some(instance), _) => PinTarget::Instance(instance.clone()),
            (None, Some((name, value))) => PinTarget::Label(name.clone(), value.clone()),
            (None, None) => PinTarget::All,
        }
    }
}

/// `modelcast pin`
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The model
    pub(crate) model: ModelName,
    /// The version to hold on
    #[arg(value_name = "V")]
    pub(crate) version: Version,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `modelcast unpin`
#[derive(Debug, Args)]
pub(crate) struct UnpinArgs {
    /// The model
    pub(crate) model: ModelName,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `modelcast quarantine`
#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    /// The model
    pub(crate) model: ModelName,
    /// The version to forbid
    #[arg(value_name = "V")]
    pub(crate) version: Version,
    /// What becomes the champion; needed when V is the champion
    #[arg(long, value_name = "V2", conflicts_with = "release")]
    pub(crate) instead: Option<Version>,
    /// Allow the version again
    #[arg(long)]
    pub(crate) release: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `modelcast verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The model
    pub(crate) model: ModelName,
    /// The version; the champion when left out
    #[arg(value_name = "V")]
    pub(crate) version: Option<Version>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `modelcast pull`
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The model
    pub(crate) model: ModelName,
    /// The version; the champion when left out
    #[arg(long, value_name = "V")]
    pub(crate) version: Option<Version>,
    /// File to write, or to replace once the version was verified
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `modelcast inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A file that `modelcast pull` wrote
    pub(crate) file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `modelcast settle`
#[derive(Debug, Args)]
pub(crate) struct SettleArgs {
    /// The model
    pub(crate) model: ModelName,
    /// The generation that was proposed
    #[arg(value_parser = generation)]
    pub(crate) generation: Generation,
    /// The announcement's digest, `blake3:…`
    pub(crate) digest: Digest,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `modelcast recover`
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The model
    pub(crate) model: ModelName,
    /// What everybody is to run; what the newest announcement that is left says when left out
    #[arg(long, value_name = "V")]
    pub(crate) version: Option<Version>,
    /// Manifest of that version, where neither an announcement nor an instance names it
    #[arg(long, value_name = "DIGEST", requires = "version")]
    pub(crate) manifest: Option<Digest>,
    /// A signed announcement from a backup or from an instance's state folder; can be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `modelcast completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn generation(text: &str) -> Result<Generation, String> {
    let number = text.parse::<u64>().ok().filter(|&number| number > 0);
    number.map(Generation::new).ok_or_else(|| "a generation is a whole number from 1".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is written NAME=VALUE")?;
    if name.is_empty() || name.len().max(value.len()) > SCHEMA_TEXT_MAX_BYTES {
        return Err(format!(
            "a label's name is not empty, and neither part above {SCHEMA_TEXT_MAX_BYTES} bytes"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// An author or a reason: something a person can read, that fits an announcement.
pub(crate) fn stamp_text(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.len() > REASON_MAX_BYTES {
        return Err(format!("{} bytes are more than {REASON_MAX_BYTES}", text.len()));
    }
    Ok(text.to_owned())
}

/// Key files are named by the grammar of all our names, so that no path can hide in one.
fn key_name(text: &str) -> Result<String, String> {
    let good = |name: InstanceName| name.as_str().to_owned();
    InstanceName::parse(text)
        .map(good)
        .map_err(|_| "a key's name is made of a-z, 0-9 and . _ - inside, at most 64 characters".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("modelcast").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_line_of_the_contract_parses() {
        let digest = Digest::of(b"x");
        for line in [
            "topics create --model house --model cancer --replication 3",
            "topics check",
            "keys generate --out /tmp/keys --name ci",
            "versions house --json",
            "status",
            "status house --json --watch",
            "rollback house --reason bad",
            "rollback house --to 3 --keep --reason bad --author ada --json",
            "pin house v3 --instance app-1 --reason held",
            "pin house 3 --label zone=a --reason held",
            "pin house 3 --all --reason held",
            "unpin house --all --reason over",
            "quarantine house 4 --instead 3 --reason bad",
            "quarantine house 4 --release --reason fixed",
            "verify house",
            "verify house 3",
            "pull house --out house.modelcast",
            "pull house --version 3 --out house.modelcast --json",
            "inspect house.modelcast --json",
            &format!("settle house 9 {digest}"),
            "recover house --reason lost --dry-run",
            &format!(
                "recover house --version 3 --manifest {digest} --from a --from b --yes --json --reason lost"
            ),
            "completions bash",
            "status --kafka localhost:9092 --namespace team --config x.toml --log debug --log-format json",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn wrong_usage_is_refused_with_what_is_wrong() {
        let bare_manifest = format!("recover house --manifest {} --reason x", Digest::of(b"x"));
        for (line, kind, says) in [
            ("rolback house", ErrorKind::InvalidSubcommand, "rollback"),
            ("rollback house --reson x", ErrorKind::UnknownArgument, "--reason"),
            ("rollback house", ErrorKind::MissingRequiredArgument, "--reason"),
            ("pin house 3 --reason x", ErrorKind::MissingRequiredArgument, "--instance"),
            ("pin house 3 --all --instance a --reason x", ErrorKind::ArgumentConflict, "--instance"),
            ("quarantine house 4 --instead 3 --release --reason x", ErrorKind::ArgumentConflict, "--release"),
            ("pin house 0 --all --reason x", ErrorKind::ValueValidation, "whole number from 1"),
            ("pin house 3 --label zone --reason x", ErrorKind::ValueValidation, "NAME=VALUE"),
            ("status House", ErrorKind::ValueValidation, "model name"),
            (bare_manifest.as_str(), ErrorKind::MissingRequiredArgument, "--version"),
            ("recover house", ErrorKind::MissingRequiredArgument, "--reason"),
            ("pull house", ErrorKind::MissingRequiredArgument, "--out"),
            ("settle house 0 x", ErrorKind::ValueValidation, "from 1"),
            ("keys generate --out k --name ../x", ErrorKind::ValueValidation, "a key's name"),
            ("topics create --replication 0", ErrorKind::ValueValidation, "replication"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert!(error.to_string().contains(says), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn an_empty_reason_is_no_reason() {
        let error =
            Cli::try_parse_from(["modelcast", "unpin", "house", "--all", "--reason", " "]).unwrap_err();
        assert!(error.to_string().contains("must not be empty"), "{error}");
    }
}
