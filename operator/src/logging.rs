//! The log: to stderr, so that results alone are on stdout.
//!
//! librdkafka's own log is left out unless the filter asks for it (`--log warn,librdkafka=debug`): it calls the end of a
//! partition an error, and what is really wrong comes back as an error of the verb.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::cli::{CommonArgs, LogFormat};

/// Starts the log; clap has checked the filter.
pub(crate) fn start(args: &CommonArgs) {
    let filter = EnvFilter::new(filter(&args.log));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

fn filter(asked: &str) -> String {
    if asked.contains("rdkafka") { asked.to_owned() } else { format!("{asked},rdkafka=off,librdkafka=off") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafkas_log_is_shown_to_whoever_asks_for_it() {
        assert_eq!(filter("info"), "info,rdkafka=off,librdkafka=off");
        assert_eq!(filter("warn,librdkafka=debug"), "warn,librdkafka=debug");
        assert!(EnvFilter::try_new(filter("modelcast=debug")).is_ok());
    }
}
