//! What each verb does: reads what it needs, calls the cycle, writes the result to stdout.

use std::{
    io::{self, Write as _},
    path::Path,
    time::Instant,
};

use anyhow::anyhow;
use clap::{ArgMatches, CommandFactory as _};
use modelcast::{Catalog, PublishError, Publisher, publish::GateResult};
use serde_json::json;
use trainer::{
    cycle::{self, Candidate, CycleError, Order},
    folder,
    outcome::{Outcome, Verdict, numbers},
    wait::{Goal, wait},
};

use crate::{
    cli::{Cli, ListArgs, OrderArgs, PublishArgs, TrainArgs, Verb},
    effective::{self, Effective},
    failure::{Exit, Failure},
    progress::Progress,
};

/// Runs a verb.
///
/// # Errors
/// A [`Failure`] with the code to end with.
pub(crate) async fn run(cli: Cli, matches: &ArgMatches) -> Result<Exit, Failure> {
    if let Verb::Completions { shell } = cli.verb {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "trainer", &mut script);
        return write(&script);
    }
    let effective = effective::read(&cli.common, matches)?;
    match cli.verb {
        Verb::Completions { .. } => Ok(Exit::Done),
        Verb::List(args) => list(&effective, &args),
        Verb::Train(args) => train(&effective, args).await,
        Verb::Publish(args) => publish(&effective, args).await,
        Verb::Run(args) => {
            let progress = Progress::start();
            let candidate = from_data(&effective, &args.data.dataset, args.data.until, &progress).await?;
            announce(&effective, candidate, &args.order, &progress).await
        }
    }
}

fn list(effective: &Effective, args: &ListArgs) -> Result<Exit, Failure> {
    let mut text = String::new();
    for recipe in effective.configuration.recipes.values() {
        let file = recipe.file.display().to_string();
        if args.json {
            let line = json!({"dataset": recipe.dataset, "model": recipe.model, "file": file});
            text.push_str(&format!("{line}\n"));
        } else {
            text.push_str(&format!("{:<20} {:<20} {file}\n", recipe.dataset, recipe.model.as_str()));
        }
    }
    if text.is_empty() && !args.json {
        "no data sets are configured\n".clone_into(&mut text);
    }
    write(text.as_bytes())
}

async fn train(effective: &Effective, args: TrainArgs) -> Result<Exit, Failure> {
    let progress = Progress::start();
    let candidate = from_data(effective, &args.data.dataset, args.data.until, &progress).await?;
    cycle::to_folder(&args.out, &candidate)?;
    progress.finish();
    let package = &candidate.package;
    let folder = args.out.display().to_string();
    let text = if args.json {
        let line = json!({
            "model": package.model,
            "dataset": package.dataset,
            "until": package.until,
            "held_out": package.held_out,
            "folder": folder,
            "artifact_digest": package.artifact_digest(),
            "artifact_bytes": package.artifact.len(),
            "metrics": package.metrics,
            "fit": package.quality,
            "lineage": package.lineage,
        });
        format!("{line}\n")
    } else {
        let (rows, held) = (package.lineage.train_rows, package.lineage.test_rows);
        let quality = package.quality.map(|quality| {
            let condition =
                quality.condition.map_or_else(String::new, |value| format!(", condition {value:.0}"));
            format!("gradient norm {:.1e}{condition}", quality.gradient_norm)
        });
        format!(
            "{} packaged in {folder}\n  rows      {rows} trained on, {held} held out ({})\n  metrics   {}\n  fit       {}\n",
            package.model,
            package.held_out,
            numbers(&package.metrics),
            quality.unwrap_or_default(),
        )
    };
    write(text.as_bytes())
}

async fn publish(effective: &Effective, args: PublishArgs) -> Result<Exit, Failure> {
    let progress = Progress::start();
    let candidate = match (args.packaged, args.artifact, args.dataset) {
        (Some(folder), _, _) => from_folder(effective, &folder, &progress).await?,
        (None, Some(file), Some(dataset)) => {
            let recipe = effective.recipe(&dataset)?.clone();
            progress.say(format!("reading {}", file.display()));
            blocking(move || cycle::from_coefficients(&recipe, args.until.as_deref(), &file)).await?
        }
        (None, _, Some(dataset)) => from_data(effective, &dataset, args.until, &progress).await?,
        (None, _, None) => {
            return Err(Failure::new(Exit::Usage, anyhow!("name a --dataset or a --packaged folder")));
        }
    };
    announce(effective, candidate, &args.order, &progress).await
}

async fn from_data(
    effective: &Effective,
    dataset: &str,
    until: Option<String>,
    progress: &Progress,
) -> Result<Candidate, Failure> {
    let recipe = effective.recipe(dataset)?.clone();
    progress.say(format!("training on {}", recipe.file.display()));
    blocking(move || cycle::from_data(&recipe, until.as_deref())).await
}

async fn from_folder(
    effective: &Effective,
    folder: &Path,
    progress: &Progress,
) -> Result<Candidate, Failure> {
    let package = folder::read(folder)?;
    let recipe = effective.recipe(&package.dataset)?.clone();
    progress.say(format!("reading {}", recipe.file.display()));
    let folder = folder.to_owned();
    blocking(move || cycle::from_folder(&folder, package, &recipe)).await
}

/// Publishes a candidate, waits if asked, and writes what became of it.
async fn announce(
    effective: &Effective,
    candidate: Candidate,
    args: &OrderArgs,
    progress: &Progress,
) -> Result<Exit, Failure> {
    let order = Order {
        author: effective.author(args.author.as_deref()),
        reason: args.reason.clone().unwrap_or_else(|| why(&candidate)),
        overrides: args.overrides(),
        dry_run: args.dry_run,
    };
    let configuration = &effective.configuration;
    let (keys, signing) = (configuration.keys.trusted()?, configuration.keys.signing()?);
    progress.say(format!("connecting to {}", configuration.kafka.bootstrap_servers));
    let publisher = Publisher::connect(&configuration.kafka, &keys, signing).await?;
    let shown = progress.clone();
    let published = cycle::publish(&publisher, &candidate, &order, move |event| shown.publish(&event)).await;
    let mut outcome = match published {
        Ok(published) => Outcome::of(&candidate, published),
        Err(PublishError::Gates(gates)) => {
            progress.finish();
            show(&Outcome::refused(&candidate, gates.clone()), args)?;
            return Err(PublishError::Gates(gates).into());
        }
        Err(error) => return Err(error.into()),
    };
    if let (Some(share), Some(generation), Some(manifest)) = (args.wait, outcome.generation, outcome.manifest)
    {
        let model = outcome.model.clone();
        let goal = Goal { model, generation, manifest, share, timeout: args.timeout };
        let catalog = Catalog::connect(&configuration.kafka, &keys).await?;
        let start = Instant::now();
        let waited = wait(&configuration.kafka, &catalog, &goal, |waited| progress.fleet(waited)).await?;
        outcome.seconds.insert("wait".to_owned(), start.elapsed().as_secs_f64());
        outcome.waited = Some(waited);
    }
    progress.finish();
    show(&outcome, args)?;
    conclude(&outcome)
}

fn conclude(outcome: &Outcome) -> Result<Exit, Failure> {
    match &outcome.waited {
        Some(waited) if !waited.reached => Err(Failure::new(
            Exit::Failed,
            anyhow!("published, but the fleet did not get there: {}", waited.finding()),
        )),
        _ if outcome.outcome == Verdict::DryRun && outcome.gates.iter().any(GateResult::is_failed) => {
            Err(PublishError::Gates(outcome.gates.clone()).into())
        }
        _ => Ok(Exit::Done),
    }
}

fn show(outcome: &Outcome, args: &OrderArgs) -> Result<Exit, Failure> {
    if args.json {
        let line = serde_json::to_string(outcome).map_err(io::Error::from)?;
        write(format!("{line}\n").as_bytes())
    } else {
        write(outcome.text().as_bytes())
    }
}

/// What it was trained on, where nobody gave a reason.
fn why(candidate: &Candidate) -> String {
    let package = &candidate.package;
    match (&package.quality, &package.until) {
        (None, _) => format!("coefficients fitted elsewhere, judged by data set {}", package.dataset),
        (Some(_), Some(until)) => format!("trained on data set {} until {until}", package.dataset),
        (Some(_), None) => format!("trained on data set {}", package.dataset),
    }
}

/// Computes on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CycleError> + Send + 'static,
) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(work).await;
    Ok(ended
        .map_err(|error| Failure::new(Exit::Failed, anyhow!("training ended unexpectedly: {error}")))??)
}

/// Writes a result to stdout; a reader that went away is no error.
fn write(bytes: &[u8]) -> Result<Exit, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Done),
    }
}
