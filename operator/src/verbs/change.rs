//! What rollback, pin, unpin and quarantine share: announce one change, and report it.

use modelcast::{PublishError, clock, publish::Committed};
use modelcast_protocol::{
    ModelName,
    change::{Change, ChangeError},
    desired::{Pin, Stamp},
    fold::InForce,
};

use crate::{
    change_report::{ChangeReport, Outcome, differences},
    cli::ChangeArgs,
    failure::{Exit, Failure},
    session,
    settings::Settings,
    stdout,
};

/// Announces the change and prints what it did.
pub(super) async fn announce(
    settings: &Settings,
    model: &ModelName,
    change: &Change,
    args: &ChangeArgs,
) -> Result<Exit, Failure> {
    let publisher = session::publisher(settings).await?;
    // Read for the report only: the change itself is decided on what is in force when it is announced.
    let fold = publisher.catalog().fold().await?;
    let before = session::in_force(settings, &fold, model).await?;
    let stamp = Stamp {
        author: settings.author(args.author.as_deref()),
        reason: args.reason.clone(),
        at_unix_ms: clock::unix_ms(),
    };
    let report = match publisher.change(model, change, &stamp).await {
        Ok(committed) => committed_report(before, committed),
        Err(PublishError::Change(ChangeError::AlreadySo { what })) => {
            unchanged_report(model, before, change, &what, stamp)
        }
        Err(error) => return Err(error.into()),
    };
    if args.json { stdout::json(&report) } else { stdout::text(&report.text()) }?;
    Ok(Exit::Done)
}

fn committed_report(before: &InForce, committed: Committed) -> ChangeReport {
    let previous = committed.generation.get().saturating_sub(1);
    // Somebody else's change in between is not this one's doing.
    let adjacent = before.generation().get() == previous;
    let old = before.announcement.body.as_ref().ok().filter(|_| adjacent);
    ChangeReport {
        changes: old.map_or_else(Vec::new, |old| differences(old, &committed.state)),
        model: committed.model,
        outcome: Outcome::Committed,
        previous_generation: modelcast_protocol::Generation::new(previous),
        generation: committed.generation,
        digest: committed.digest,
        summary: committed.state.summary,
        overtaken_by: committed.conflicts,
        champion: Some(committed.state.champion),
        stamp: committed.state.stamp,
    }
}

fn unchanged_report(
    model: &ModelName,
    before: &InForce,
    change: &Change,
    what: &str,
    stamp: Stamp,
) -> ChangeReport {
    let state = before.announcement.body.as_ref().ok();
    // A target that is not pinned may be a typo of one that is.
    let pins = match (change, state) {
        (Change::Unpin { .. }, Some(state)) => pins(&state.pins),
        _ => String::new(),
    };
    ChangeReport {
        model: model.clone(),
        outcome: Outcome::Unchanged,
        previous_generation: before.generation(),
        generation: before.generation(),
        digest: before.announcement.digest,
        summary: format!("{what}{pins}"),
        changes: Vec::new(),
        overtaken_by: Vec::new(),
        champion: state.map(|state| state.champion),
        stamp,
    }
}

fn pins(pins: &[Pin]) -> String {
    if pins.is_empty() {
        return "; nothing is pinned".to_owned();
    }
    let pins: Vec<_> = pins.iter().map(|pin| format!("{} to version {}", pin.target, pin.version)).collect();
    format!("; pinned are: {}", pins.join(", "))
}
