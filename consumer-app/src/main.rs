//! `consumer-app`: serves live models over HTTP. Reads the command line and settings, starts the log, runs the app.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use consumer_app::{
    app::{self, AppError},
    batch::{self, BatchError, args::BatchArgs, report::Report},
    cli::{Cli, Command, CommonArgs, LogFormat, ServeArgs},
    predictions::verbs,
    settings::Settings,
    stream::{self, StreamError, args::StreamArgs, settings::StreamSettings},
};
use tracing::info;
use tracing_subscriber::EnvFilter;

const DEFAULT_CONFIG: &str = "config/consumer-app.toml";
const DEFAULT_BATCH_CONFIG: &str = "config/batch.toml";
const STREAM_CONFIG: &str = "config/stream.toml";
/// Work that does not end by itself, such as a download, is left behind after this.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(2);

/// How long clients that close may hold up the end, where a broker is gone.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The same for a member of a group, which tells the others that it leaves.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

const FAILED: u8 = 1;
const STOPPED: u8 = 3;
const REFUSED: u8 = 4;
const SETTINGS_WRONG: u8 = 64;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "consumer-app", &mut io::stdout());
            ExitCode::SUCCESS
        }
        Command::Predictions(args) => match verbs::run(&args, &mut io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let code = error.exit_code();
                failed(&error.into());
                ExitCode::from(code)
            }
        },
        Command::Serve(args) => match serve(&args, matches.subcommand_matches("serve").unwrap_or(&matches)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Command::Batch(args) => match batch(&args, matches.subcommand_matches("batch").unwrap_or(&matches)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Command::Stream(args) => {
            match run_stream(&args, matches.subcommand_matches("stream").unwrap_or(&matches)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }
        }
    }
}

fn batch(args: &BatchArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    start_log(&args.process.common)?;
    let file = args.process.common.config_file(DEFAULT_BATCH_CONFIG);
    let settings = batch::settings::Settings::read(file.as_deref(), args.overrides(matches))
        .map_err(BatchError::from)?;
    info!(version = env!("CARGO_PKG_VERSION"), instance = %settings.process.instance, "consumer-app batch starts");
    for (key, value, source) in &settings.shown {
        info!(key, value, source = source.name(), "setting");
    }
    let json = args.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ran = runtime.block_on(batch::run(settings, |report| say_report(report, json)));
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    modelcast::wait_until_closed(CLOSE_DEADLINE);
    Ok(ran?)
}

/// What a run had to say of itself, on standard output.
fn say_report(report: &Report, json: bool) {
    let text = if json { serde_json::to_string(report).unwrap_or_default() } else { report.to_string() };
    let mut out = io::stdout();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        info!("nobody reads standard output");
    }
}

fn run_stream(args: &StreamArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    start_log(&args.process.common)?;
    let settings = StreamSettings::read(
        args.process.common.config_file(STREAM_CONFIG).as_deref(),
        args.overrides(matches),
    )
    .map_err(StreamError::from)?;
    info!(version = env!("CARGO_PKG_VERSION"), instance = %settings.process.instance, "consumer-app stream starts");
    for (key, value, source) in &settings.shown {
        info!(key, value, source = source.name(), "setting");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ran = runtime.block_on(stream::run(settings, |address| say_listening("http", address)));
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    modelcast::wait_until_closed(LEAVE_DEADLINE);
    Ok(ran?)
}

fn serve(args: &ServeArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    start_log(&args.process.common)?;
    let settings =
        Settings::read(args.process.common.config_file(DEFAULT_CONFIG).as_deref(), args.overrides(matches))
            .map_err(AppError::from)?;
    info!(version = env!("CARGO_PKG_VERSION"), instance = %settings.process.instance, "consumer-app starts");
    for (key, value, source) in &settings.shown {
        info!(key, value, source = source.name(), "setting");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ran = runtime.block_on(app::run(settings, say_listening));
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    modelcast::wait_until_closed(CLOSE_DEADLINE);
    Ok(ran?)
}

fn start_log(args: &CommonArgs) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&args.log)?)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The one line on standard output: whoever starts this program with port 0 reads the address from it.
fn say_listening(scheme: &str, address: SocketAddr) {
    let mut out = io::stdout();
    if writeln!(out, "listening on {scheme}://{address}").and_then(|()| out.flush()).is_err() {
        info!("nobody reads standard output");
    }
    info!(%address, "listening");
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // Nothing else can be done when standard error is gone.
    let _ = writeln!(
        io::stderr(),
        "error: {}",
        error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
    );
    let is_settings = error.downcast_ref::<AppError>().is_some_and(AppError::is_settings)
        || error.downcast_ref::<StreamError>().is_some_and(StreamError::is_settings);
    let batch = error.downcast_ref::<BatchError>();
    ExitCode::from(match batch {
        _ if is_settings => SETTINGS_WRONG,
        Some(batch) if batch.is_settings() => SETTINGS_WRONG,
        Some(batch) if batch.is_stopped() => STOPPED,
        Some(batch) if batch.is_refusal() => REFUSED,
        _ => FAILED,
    })
}
