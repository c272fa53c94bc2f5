//! The end of a run: when everything is well again, everybody is brought to one last version, and what is there is read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use modelcast::fleet::Fleet;
use modelcast::protocol::desired::DesiredState;
use modelcast::protocol::{Generation, InstanceName, key::TrustedKeys};
use modelcast::{Catalog, Publisher};
use modelcast_testcontainers::history::{Action, Event, Recorder, Started};

use super::child::ChildArgs;
use super::operation::Operator;
use super::{reader, table_model};

/// Well above what a client needs to find its brokers again.
const CONVERGE_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ends all pins and the rollout, and publishes one last version for everybody.
pub(crate) async fn one_last_version(args: &ChildArgs) -> anyhow::Result<()> {
    let recorder = Arc::new(args.recorder()?);
    recorder.record(Event::Started(Started { instance: None, labels: [].into(), boot: args.boot }))?;
    let (trusted, signing) = args.keys()?;
    let publisher = Publisher::connect(&args.kafka(), &trusted, signing).await?;
    let mut operator = Operator::new(args, &publisher, &recorder);
    // Also when the run was too short for anybody to get that far: something is pinned once.
    let (_, state) = in_force(publisher.catalog(), args).await?;
    if let (Some(state), Ok(instance)) = (state, "app-1".parse::<InstanceName>()) {
        let target = modelcast::protocol::desired::PinTarget::Instance(instance);
        operator.carry_out(Action::Pin { target, version: state.champion }).await?;
    }
    let first = operator.new_table(None);
    operator.carry_out(first).await?;
    let (_, state) = in_force(publisher.catalog(), args).await?;
    let state = state.context("nothing was announced in all this time")?;
    for pin in &state.pins {
        operator.carry_out(Action::Unpin { target: pin.target.clone() }).await?;
    }
    if let Some(challenger) = state.challenger {
        operator.carry_out(Action::Quarantine { version: challenger.version, instead: None }).await?;
    }
    let last = operator.new_table(None);
    operator.carry_out(last).await?;
    Ok(recorder.record(Event::Stopped)?)
}

/// Waits until every instance reports the last version at the last generation; gives how long it took, if it did.
pub(crate) async fn converged(args: &ChildArgs, instances: &[String]) -> anyhow::Result<Option<Duration>> {
    let (kafka, (trusted, _)) = (args.kafka(), args.keys()?);
    let catalog = Catalog::connect(&kafka, &trusted).await?;
    let (generation, state) = in_force(&catalog, args).await?;
    let champion = state.as_ref().and_then(|state| state.entry(state.champion)).map(|entry| entry.manifest);
    let began = Instant::now();
    while began.elapsed() < CONVERGE_WITHIN {
        let fleet = Fleet::read(&kafka).await?;
        let there = instances.iter().filter(|instance| {
            fleet.of(&args.model).any(|status| {
                status.instance.as_str() == instance.as_str()
                    && status.generation_seen == generation
                    && status.served.map(|served| served.manifest) == champion
            })
        });
        if there.count() == instances.len() {
            return Ok(Some(began.elapsed()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(None)
}

/// Reads everything back and writes it down.
pub(crate) async fn read_back(args: &ChildArgs, instances: &[String]) -> anyhow::Result<()> {
    let (kafka, (trusted, _), recorder) = (args.kafka(), args.keys()?, args.recorder()?);
    versions(args, &trusted, &recorder).await?;
    for instance in instances {
        let (instance, model) = (instance.parse()?, args.model.clone());
        recorder.record(Event::Expected { instance, model })?;
    }
    let read = tokio::task::spawn_blocking(move || {
        reader::announcements(&kafka, &trusted, &recorder)?;
        reader::statuses(&kafka, &recorder)
    });
    read.await?
}

/// Whether every version that is still named reads back whole.
async fn versions(args: &ChildArgs, trusted: &TrustedKeys, recorder: &Recorder) -> anyhow::Result<()> {
    let catalog = Catalog::connect(&args.kafka(), trusted).await?;
    let (generation, state) = in_force(&catalog, args).await?;
    let policy = table_model::policy();
    for entry in state.map(|state| state.versions).unwrap_or_default() {
        let read = catalog.version(&args.model, &entry, generation, &policy, Arc::new(|_| {})).await;
        let (model, error) = (args.model.clone(), read.err().map(|error| error.to_string()));
        let (version, manifest) = (entry.version, entry.manifest);
        recorder.record(Event::ReadBack { model, version, manifest, error })?;
    }
    Ok(())
}

async fn in_force(catalog: &Catalog, args: &ChildArgs) -> anyhow::Result<(Generation, Option<DesiredState>)> {
    let in_force = catalog.in_force(&args.model).await?;
    let generation = in_force.as_ref().map_or(Generation::ZERO, |in_force| in_force.generation());
    Ok((generation, in_force.map(|in_force| in_force.announcement.body).transpose()?))
}
