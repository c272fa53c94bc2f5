//! `consumer-app predictions …`: list, show, approve, reject, abandon and prune stored predictions.
//!
//! Reads `[predictions]` of a settings file, whichever program's it is. Writes results to what it is given, and
//! progress to standard error.

pub mod args;
mod listing;
mod showing;
mod terminal;

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use modelcast::{
    clock::unix_ms,
    settings::{SettingsError, load},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::args::{AbandonArgs, DecideArgs, ListArgs, PredictionsArgs, PruneArgs, ShowArgs, Verb};
use super::{
    inspection::{Inspection, inspect},
    run::{RunId, Verdict},
    store::{Pruned, Remedy, Store, StoreError},
};
use crate::{
    batch::work::{Work, WorkError},
    settings::StoreSettings,
};

const DEFAULT_CONFIG: &str = "config/consumer-app.toml";

/// Why a verb does not do what it was told.
#[derive(Debug, Error)]
pub enum VerbError {
    /// A setting is wrong.
    #[error("the settings are wrong")]
    Settings(#[from] SettingsError),
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run's batch is at work on it, or its folder cannot be looked into.
    #[error("run {run} cannot be given up now")]
    AtWork {
        /// The run.
        run: RunId,
        /// What keeps it.
        source: WorkError,
    },
    /// The result cannot be written.
    #[error("standard output cannot be written to")]
    Output(#[from] std::io::Error),
}

impl VerbError {
    /// What the process ends with; `--help` lists these.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Store(StoreError::Address { .. }) => 64,
            Self::Store(StoreError::State { .. }) => 3,
            Self::Store(error) => match error.remedy() {
                Remedy::Retry => 69,
                Remedy::Refuse => 4,
                Remedy::Mend => 1,
            },
            Self::AtWork { source: WorkError::InUse { .. }, .. } => 3,
            Self::AtWork { source: WorkError::Io { .. }, .. } | Self::Output(_) => 1,
        }
    }
}

/// Of a settings file, whichever it is, what this needs.
#[derive(Debug, Default, Deserialize)]
struct AnyFile {
    #[serde(default)]
    predictions: StoreSettings,
    #[serde(default)]
    instance: AnyInstance,
}

/// The same of `[instance]`: where a batch has its state.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnyInstance {
    name: Option<String>,
    state: Option<PathBuf>,
}

impl AnyInstance {
    fn state(self) -> Option<PathBuf> {
        self.state.or_else(|| self.name.map(|name| Path::new("state").join(name)))
    }
}

/// Does what the command line says.
///
/// # Errors
/// [`VerbError`], with the exit code that belongs to it.
pub fn run(args: &PredictionsArgs, out: &mut dyn Write) -> Result<(), VerbError> {
    let AnyFile { predictions: mut settings, instance } = any_file(args)?;
    if let Some(store) = &args.store {
        settings.store.clone_from(store);
    }
    let mut store = Store::open(&settings)?;
    let written = match &args.verb {
        Verb::List(list) => self::list(&mut store, list, out),
        Verb::Show(show) => self::show(&mut store, show, out),
        Verb::Approve(decide) => self::decide(&mut store, decide, Verdict::Approved, out),
        Verb::Reject(decide) => self::decide(&mut store, decide, Verdict::Rejected, out),
        Verb::Abandon(abandon) => self::abandon(&mut store, abandon, instance.state(), out),
        Verb::Prune(prune) => self::prune(&mut store, prune, settings.keep_runs, out),
    };
    match written {
        // `… list | head -1` is no error.
        Err(VerbError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn any_file(args: &PredictionsArgs) -> Result<AnyFile, SettingsError> {
    match &args.config {
        Some(file) => load(file),
        None if Path::new(DEFAULT_CONFIG).exists() => load(Path::new(DEFAULT_CONFIG)),
        None => Ok(AnyFile::default()),
    }
}

fn list(store: &mut Store, args: &ListArgs, out: &mut dyn Write) -> Result<(), VerbError> {
    let runs = store.runs(args.model.as_ref(), args.limit)?;
    if args.json {
        return json(&runs, out);
    }
    Ok(out.write_all(listing::render(&runs).as_bytes())?)
}

fn show(store: &mut Store, args: &ShowArgs, out: &mut dyn Write) -> Result<(), VerbError> {
    let progress = spinner("{spinner} reading run, {elapsed}");
    progress.enable_steady_tick(Duration::from_millis(200));
    let inspection = inspected(store, args);
    progress.finish_and_clear();
    let inspection = inspection?;
    if args.json {
        return json(&inspection, out);
    }
    Ok(out.write_all(showing::render(&inspection).as_bytes())?)
}

/// Movers that take too long are no error: the rest is there.
fn inspected(store: &mut Store, args: &ShowArgs) -> Result<Inspection, StoreError> {
    let mut inspection = inspect(store, &args.run, args.failures)?;
    if let Some((run, beside)) = inspection.compared().filter(|_| args.movers > 0) {
        match store.movers(&run, &beside, args.movers) {
            Ok(movers) => inspection.movers = Some(movers),
            Err(slow @ StoreError::Slow { .. }) => inspection.movers_cause = Some(slow.to_string()),
            Err(other) => return Err(other),
        }
    }
    Ok(inspection)
}

fn decide(
    store: &mut Store,
    args: &DecideArgs,
    verdict: Verdict,
    out: &mut dyn Write,
) -> Result<(), VerbError> {
    let run = store.decide(&args.run, verdict, &args.by, &args.reason, unix_ms())?;
    if args.json {
        return json(&run, out);
    }
    let then = match verdict {
        Verdict::Approved => format!("predictions of {} are served from it", run.model),
        Verdict::Rejected => "it is never served".to_owned(),
    };
    Ok(writeln!(out, "run {} is {}: {then}", run.run, run.state)?)
}

/// Gives up a run. While that is done, no process can begin to go on with it in its folder.
fn abandon(
    store: &mut Store,
    args: &AbandonArgs,
    state: Option<PathBuf>,
    out: &mut dyn Write,
) -> Result<(), VerbError> {
    let DecideArgs { run, by, reason, json: is_json } = &args.decide;
    let folder = args.state.clone().or(state).map(|state| state.join("batch"));
    let idle = folder.map(|folder| Work::of_run(&folder, run)).transpose();
    let _idle = idle.map_err(|source| VerbError::AtWork { run: run.clone(), source })?;
    store.abandon(run, &format!("given up by {by}: {reason}"), unix_ms())?;
    let run = store.run(run)?;
    if *is_json {
        return json(&run, out);
    }
    Ok(writeln!(out, "run {} is {}: a batch that goes on with it begins anew", run.run, run.state)?)
}

fn prune(store: &mut Store, args: &PruneArgs, keep_runs: u64, out: &mut dyn Write) -> Result<(), VerbError> {
    let keep = args.keep.unwrap_or(keep_runs);
    let progress = spinner("{spinner} {human_pos} rows deleted, {per_sec}, {elapsed}");
    let pruned: Pruned = store.prune(&args.model, keep, |rows| progress.set_position(rows))?;
    progress.finish_and_clear();
    if args.json {
        return json(&pruned, out);
    }
    let runs: Vec<_> = pruned.runs.iter().map(|run| run.as_str()).collect();
    let which = if runs.is_empty() { "no run".to_owned() } else { runs.join(", ") };
    Ok(writeln!(out, "pruned {which}: {} rows deleted, the newest {keep} runs kept", pruned.rows)?)
}

/// Progress on standard error, where that is a terminal.
fn spinner(template: &str) -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    match ProgressStyle::with_template(template) {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}

fn json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), VerbError> {
    let mut line = serde_json::to_string(value).map_err(std::io::Error::from)?;
    line.push('\n');
    Ok(out.write_all(line.as_bytes())?)
}
