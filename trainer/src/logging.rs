//! The log: to stderr, so that results alone are on stdout.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::cli::{CommonArgs, LogFormat};

/// Starts the log; clap has checked the filter.
pub(crate) fn start(args: &CommonArgs) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&args.log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
