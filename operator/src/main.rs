//! The `modelcast` command: see and steer the fleet.
//!
//! In reading order: [`cli`] says what can be typed, [`settings`] what it runs with, [`verbs`] what each verb does.
//! [`fleet`], [`version_list`], [`verification`], [`embedded_report`], [`change_report`] and [`recovery_report`] turn what
//! was read into what is shown, as pure functions; [`decoders`] and [`progress`] are for verbs that admit a version;
//! [`table`], [`printable`] and [`stdout`] show it. [`failure`] says how the process ends.

mod change_report;
mod cli;
mod decoders;
mod embedded_report;
mod failure;
mod fleet;
mod logging;
mod printable;
mod progress;
mod recovery_report;
mod session;
mod settings;
mod stdout;
mod table;
mod verbs;
mod verification;
mod version_list;

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _};

/// How long clients that close may hold up the end, where a broker is gone.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> ExitCode {
    // Wrong usage ends here, with exit code 2 and clap's suggestions.
    let matches = cli::Cli::command().get_matches();
    let cli = cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    logging::start(&cli.common);
    let ended = verbs::run(&cli, &matches).await;
    modelcast::wait_until_closed(CLOSE_DEADLINE);
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let _ = std::io::stderr().write_all(failure.text().as_bytes());
            failure.exit.into()
        }
    }
}
