//! A publisher process: one operation after the other, until its input ends.

use std::sync::Arc;
use std::time::Duration;

use modelcast::Publisher;
use modelcast_testcontainers::history::{Event, Started};
use rand::RngExt as _;
use tracing::warn;

use super::child::{ChildArgs, end_of_input, log_to_stderr};
use super::operation::{Operator, PATIENCE};

/// Longest pause between two operations.
const PAUSE_MAX_MS: u64 = 400;
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Publishes until the input ends.
pub(crate) fn run(args: &ChildArgs) -> anyhow::Result<()> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(publish(args))
}

async fn publish(args: &ChildArgs) -> anyhow::Result<()> {
    let (recorder, stop) = (Arc::new(args.recorder()?), end_of_input());
    let (trusted, signing) = args.keys()?;
    recorder.record(Event::Started(Started { instance: None, labels: [].into(), boot: args.boot }))?;
    let publisher = loop {
        if *stop.borrow() {
            return Ok(recorder.record(Event::Stopped)?);
        }
        match Publisher::connect(&args.kafka(), &trusted, signing.clone()).await {
            Ok(publisher) => break publisher.with_announce_deadline(PATIENCE),
            Err(error) => warn!(%error, "no contact yet"),
        }
        tokio::time::sleep(CONNECT_AGAIN_AFTER).await;
    };
    let mut operator = Operator::new(args, &publisher, &recorder);
    while !*stop.borrow() {
        operator.next().await?;
        let pause = operator.random.random_range(0..PAUSE_MAX_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(recorder.record(Event::Stopped)?)
}
