//! What each verb does: one file each.
//!
//! A verb reads what it needs, asks the client crate, prints a result to stdout and says how the process ends. What
//! can be decided without Kafka stands in pure modules beside this one.

mod change;
mod completions;
mod inspect;
mod keys;
mod pin;
mod pull;
mod quarantine;
mod recover;
mod rollback;
mod settle;
mod status;
mod topics;
mod unpin;
mod verify;
mod versions;

use clap::ArgMatches;

use crate::{
    cli::{Cli, Verb},
    failure::{Exit, Failure},
    settings,
};

/// Does what was typed.
pub(crate) async fn run(cli: &Cli, matches: &ArgMatches) -> Result<Exit, Failure> {
    // These two need no Kafka, and must work before there is a configuration.
    match &cli.verb {
        Verb::Completions(args) => return completions::run(args),
        Verb::Keys(verb) => return keys::run(verb),
        _ => {}
    }
    let settings = settings::read(&cli.common, matches)?;
    match &cli.verb {
        Verb::Completions(args) => completions::run(args),
        Verb::Keys(verb) => keys::run(verb),
        Verb::Topics(verb) => topics::run(&settings, verb).await,
        Verb::Versions(args) => versions::run(&settings, args).await,
        Verb::Status(args) => status::run(&settings, args).await,
        Verb::Rollback(args) => rollback::run(&settings, args).await,
        Verb::Pin(args) => pin::run(&settings, args).await,
        Verb::Unpin(args) => unpin::run(&settings, args).await,
        Verb::Quarantine(args) => quarantine::run(&settings, args).await,
        Verb::Verify(args) => verify::run(&settings, args).await,
        Verb::Pull(args) => pull::run(&settings, args).await,
        Verb::Inspect(args) => inspect::run(&settings, args).await,
        Verb::Settle(args) => settle::run(&settings, args).await,
        Verb::Recover(args) => recover::run(&settings, args).await,
    }
}
