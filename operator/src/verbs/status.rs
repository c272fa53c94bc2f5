//! `modelcast status`: what every instance runs, and what it should run.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use modelcast::{Catalog, clock, fleet::Fleet};
use modelcast_protocol::ModelName;

use crate::{
    cli::StatusArgs,
    failure::{Exit, Failure},
    fleet::{self, FleetView, Holders, Report, table},
    session,
    settings::Settings,
    stdout::{self, Reader},
    table::Look,
};

/// How long `--watch` waits between two readings.
const WATCH_PAUSE: Duration = Duration::from_secs(2);
/// Home and clear: what a terminal showed before is not scrolled away by each reading.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the fleet once, or until Ctrl-C; the exit code is that of the last reading.
pub(super) async fn run(settings: &Settings, args: &StatusArgs) -> Result<Exit, Failure> {
    let catalog = session::catalog(settings).await?;
    let (exit, reader) = show(&read(settings, &catalog, args).await?, args)?;
    if args.watch && reader == Reader::There { watch(settings, &catalog, args, exit).await } else { Ok(exit) }
}

async fn watch(
    settings: &Settings,
    catalog: &Catalog,
    args: &StatusArgs,
    mut exit: Exit,
) -> Result<Exit, Failure> {
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(exit),
            () = tokio::time::sleep(WATCH_PAUSE) => {}
        }
        let view = tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(exit),
            view = read(settings, catalog, args) => view,
        };
        match view {
            Ok(view) => {
                let (now, reader) = show(&view, args)?;
                exit = now;
                if reader == Reader::Gone {
                    return Ok(exit);
                }
            }
            // Whoever watches while brokers restart wants to see them come back.
            Err(failure) if failure.may_pass() => {
                exit = failure.exit;
                let _ = std::io::stderr().write_all(failure.text().as_bytes());
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn read(settings: &Settings, catalog: &Catalog, args: &StatusArgs) -> Result<FleetView, Failure> {
    // The fleet first: an instance cannot have seen an announcement that is not in the log afterwards.
    let fleet = Fleet::read(&settings.kafka).await?;
    let fold = catalog.fold().await?;
    let asked = |model: &ModelName| args.model.as_ref().is_none_or(|asked| asked == model);
    let announced: BTreeMap<_, _> = fold
        .models()
        .filter(|(model, _)| asked(model))
        .map(|(model, in_force)| (model.clone(), in_force.clone()))
        .collect();
    let reports: Vec<_> = fleet
        .statuses()
        .filter(|status| asked(&status.model))
        .map(|status| {
            let contested = fleet.is_contested(&status.model, &status.instance);
            let holders = if contested { Holders::TakeTurns } else { Holders::One };
            Report { status: status.clone(), holders }
        })
        .collect();
    let mut view = fleet::view(&announced, &reports, clock::unix_ms());
    match &args.model {
        Some(model) if view.models.is_empty() => {
            let announced = fold.models().map(|(model, _)| model);
            return Err(session::unknown_model(model, announced));
        }
        _ => {}
    }
    for model in &mut view.models {
        if let Some(record) = fold.unverified_ahead(&model.model).last() {
            let (offset, generation, cause) = (record.offset, record.generation, &record.cause);
            let problem =
                format!("an unverified record of generation {generation} at offset {offset}: {cause}");
            model.problems.push(problem);
        }
    }
    Ok(view)
}

fn show(view: &FleetView, args: &StatusArgs) -> Result<(Exit, Reader), Failure> {
    let exit = if view.ok { Exit::Done } else { Exit::Failed };
    if args.json {
        return Ok((exit, stdout::json(view)?));
    }
    let look = Look::of_stdout();
    let clear = if args.watch && look != Look::Plain { CLEAR } else { "" };
    let reader = stdout::text(&format!("{clear}{}", table::render(view, look)))?;
    Ok((exit, reader))
}
