//! The flags of `stream`.

use std::net::SocketAddr;

use clap::{ArgMatches, Args};
use modelcast_protocol::ModelName;

use super::settings::{ModelAt, Overrides};
use crate::cli::{ProcessArgs, source};

/// The flags of `stream`. Flags go over the environment, and that goes over the file.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// What every process takes.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Address of metrics and health, instead of stream.listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "MODELCAST_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// The model that scores, instead of stream.model.
    #[arg(long, value_name = "NAME")]
    pub model: Option<ModelName>,
    /// Which version scores a record: the one that is live, or the one that was champion at the record's timestamp.
    #[arg(long, value_enum, value_name = "WHICH")]
    pub model_at: Option<ModelAt>,
    /// Consumer group, instead of stream.group: a replay takes one of its own.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

impl StreamArgs {
    /// What these flags, and the environment behind them, put over the file.
    #[must_use]
    pub fn overrides(&self, matches: &ArgMatches) -> Overrides {
        Overrides {
            process: self.process.overrides(matches),
            listen: self.listen.map(|value| (value, source(matches, "listen"))),
            model: self.model.clone().map(|value| (value, source(matches, "model"))),
            model_at: self.model_at.map(|value| (value, source(matches, "model_at"))),
            group: self.group.clone().map(|value| (value, source(matches, "group"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use crate::{
        cli::{Cli, Command},
        settings::Source,
        stream::settings::ModelAt,
    };

    #[test]
    fn flags_are_taken_and_their_source_is_known() {
        Cli::command().debug_assert();
        let line = ["consumer-app", "stream", "--model-at", "event-time", "--group", "replay"];
        let matches = Cli::command().try_get_matches_from(line).unwrap();
        let Command::Stream(args) = Cli::from_arg_matches(&matches).unwrap().command else { panic!() };
        let overrides = args.overrides(matches.subcommand().unwrap().1);
        assert_eq!(overrides.model_at.unwrap(), (ModelAt::EventTime, Source::Flag));
        assert_eq!(overrides.group.unwrap().0, "replay");
    }
}
