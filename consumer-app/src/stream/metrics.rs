//! What the stream counts, and how `/metrics` shows it beside what is counted for the model.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering::Relaxed},
    time::Duration,
};

use modelcast::pipe::Pipe;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::Counter,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{metrics, served::ServedModels};

/// Counts since the start of the process.
#[derive(Debug)]
pub(super) struct Counts {
    records_in: Counter,
    predicted: Counter,
    tombstones: Counter,
    dead: Counter,
    committed: Counter,
    aborted: Counter,
    latency: Histogram,
    lags: Mutex<BTreeMap<i32, i64>>,
    is_open: AtomicBool,
}

#[derive(Debug)]
struct Lags(Arc<Counts>);

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            records_in: Counter::default(),
            predicted: Counter::default(),
            tombstones: Counter::default(),
            dead: Counter::default(),
            committed: Counter::default(),
            aborted: Counter::default(),
            // From 1 ms, a small transaction on a near broker, to some 16 s.
            latency: Histogram::new(exponential_buckets(1e-3, 2.0, 15)),
            lags: Mutex::default(),
            is_open: AtomicBool::new(false),
        }
    }

    /// Takes over what a pipe says of itself.
    pub(super) fn watch(&self, pipe: &Pipe) {
        self.is_open.store(pipe.is_member(), Relaxed);
        *self.lags.lock().unwrap_or_else(PoisonError::into_inner) = pipe.lags();
    }

    pub(super) fn closed(&self) {
        self.is_open.store(false, Relaxed);
    }

    /// Whether it is a member that scores.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    pub(super) fn committed(
        &self,
        records: usize,
        predicted: u64,
        tombstones: u64,
        dead: u64,
        took: Duration,
    ) {
        self.records_in.inc_by(u64::try_from(records).unwrap_or(u64::MAX));
        self.predicted.inc_by(predicted);
        self.tombstones.inc_by(tombstones);
        self.dead.inc_by(dead);
        self.committed.inc();
        self.latency.observe(took.as_secs_f64());
    }

    pub(super) fn aborted(&self) {
        self.aborted.inc();
    }
}

/// A registry over the model and the stream.
pub(super) fn registry(models: Arc<ServedModels>, counts: Arc<Counts>) -> Registry {
    let mut registry = metrics::registry(models);
    let counters = [
        ("modelcast_stream_records", "Records of the input in committed batches", &counts.records_in),
        ("modelcast_stream_predictions", "Predictions delivered", &counts.predicted),
        ("modelcast_stream_tombstones", "Tombstones passed on", &counts.tombstones),
        ("modelcast_stream_dead_letters", "Records that could not be scored", &counts.dead),
        ("modelcast_stream_batches_committed", "Batches delivered", &counts.committed),
        ("modelcast_stream_batches_aborted", "Batches given up and gathered again", &counts.aborted),
    ];
    for (name, help, counter) in counters {
        registry.register(name, help, counter.clone());
    }
    let help = "From a batch's last record in to its commit";
    registry.register_with_unit(
        "modelcast_stream_batch_latency",
        help,
        Unit::Seconds,
        counts.latency.clone(),
    );
    registry.register_collector(Box::new(Lags(counts)));
    registry
}

impl Collector for Lags {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Records of a partition of this member that are not committed yet";
        let mut family = encoder.encode_descriptor("modelcast_stream_lag", help, None, MetricType::Gauge)?;
        let lags = self.0.lags.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (partition, lag) in lags {
            let labels = [("partition", partition)];
            ConstGauge::new(lag).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
