//! What a model answered: counters for the status record, without a lock on the predict path.
//!
//! # Invariants
//! * No output spoils what is told of the others: one that is not finite is counted as a prediction only.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use modelcast_protocol::status;

/// Latency buckets: a quarter of an octave each, from 100 ns up to some 100 s.
const BUCKETS: usize = 120;
const FIRST_BUCKET_SECONDS: f64 = 1e-7;
const BUCKETS_PER_OCTAVE: f64 = 4.0;

/// Counts predictions since the start of the process.
#[derive(Debug)]
pub struct Traffic {
    predictions: AtomicU64,
    errors: AtomicU64,
    latencies: [AtomicU64; BUCKETS],
    /// Finite outputs.
    outputs: AtomicU64,
    /// The first of them. The sums are of distances from it: with sums of the outputs themselves, a mean that is
    /// large beside the deviation leaves no digits for the latter.
    first: AtomicU64,
    sum: AtomicU64,
    sum_of_squares: AtomicU64,
}

/// The bits of a number that no finite output has.
const NONE_YET: u64 = f64::NAN.to_bits();

impl Default for Traffic {
    fn default() -> Self {
        Self {
            predictions: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
            outputs: AtomicU64::new(0),
            first: AtomicU64::new(NONE_YET),
            sum: AtomicU64::new(0),
            sum_of_squares: AtomicU64::new(0),
        }
    }
}

impl Traffic {
    /// Counts rows that were predicted together in `latency`, with their first outputs.
    pub fn answered(&self, first_outputs: impl IntoIterator<Item = f64>, latency: Duration) {
        let (mut rows, mut finite, mut sum, mut sum_of_squares) = (0, 0, 0.0, 0.0);
        for output in first_outputs {
            rows += 1;
            if output.is_finite() {
                let distance = output - self.first_output(output);
                finite += 1;
                sum += distance;
                sum_of_squares += distance * distance;
            }
        }
        self.predictions.fetch_add(rows, Relaxed);
        self.outputs.fetch_add(finite, Relaxed);
        add(&self.sum, sum);
        add(&self.sum_of_squares, sum_of_squares);
        if let Some(bucket) = self.latencies.get(bucket(latency)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Counts rows that could not be predicted.
    pub fn failed(&self, rows: u64) {
        self.errors.fetch_add(rows, Relaxed);
    }

    /// Rows predicted so far.
    #[must_use]
    pub fn predictions(&self) -> u64 {
        self.predictions.load(Relaxed)
    }

    /// Rows that could not be predicted so far.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// The counters as a status record has them.
    #[must_use]
    pub fn report(&self) -> status::Traffic {
        let outputs = self.outputs.load(Relaxed);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a mean over more than 2^53 rows may lose the last bit"
        )]
        let count = outputs as f64;
        let distance = f64::from_bits(self.sum.load(Relaxed)) / count;
        let mean = f64::from_bits(self.first.load(Relaxed)) + distance;
        let variance = f64::from_bits(self.sum_of_squares.load(Relaxed)) / count - distance * distance;
        let told = |value: f64| Some(value).filter(|value| outputs > 0 && value.is_finite());
        status::Traffic {
            predictions: self.predictions(),
            errors: self.errors(),
            latency_p50_seconds: self.quantile(0.5),
            latency_p99_seconds: self.quantile(0.99),
            output_mean: told(mean),
            output_deviation: told(variance).map(|variance| variance.max(0.0).sqrt()),
        }
    }

    /// The first finite output of all; `output`, if there was none before.
    fn first_output(&self, output: f64) -> f64 {
        let first = self.first.load(Relaxed);
        if first != NONE_YET {
            return f64::from_bits(first);
        }
        let set = self.first.compare_exchange(NONE_YET, output.to_bits(), Relaxed, Relaxed);
        set.map_or_else(f64::from_bits, |_| output)
    }

    /// Upper end of the bucket that holds a quantile of the latencies.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let counts: Vec<u64> = self.latencies.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a rank among more than 2^53 may be off by one")]
        let rank = total as f64 * quantile;
        let mut seen = 0;
        let mut upper = FIRST_BUCKET_SECONDS;
        for count in counts {
            seen += count;
            upper *= 2_f64.powf(1.0 / BUCKETS_PER_OCTAVE);
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            if seen > 0 && seen as f64 >= rank {
                return Some(upper);
            }
        }
        None
    }
}

fn bucket(latency: Duration) -> usize {
    let octaves = (latency.as_secs_f64() / FIRST_BUCKET_SECONDS).max(1.0).log2();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0 and below 2^8")]
    let bucket = (octaves * BUCKETS_PER_OCTAVE) as usize;
    bucket.min(BUCKETS - 1)
}

/// Adds to a float that is kept as bits.
fn add(to: &AtomicU64, amount: f64) {
    let sum = |bits| Some((f64::from_bits(bits) + amount).to_bits());
    let (Ok(_) | Err(_)) = to.fetch_update(Relaxed, Relaxed, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket() {
        let traffic = Traffic::default();
        for micros in 1..=1_000 {
            traffic.answered([2.0], Duration::from_micros(micros));
        }
        let report = traffic.report();
        let near = |found: Option<f64>, wanted: f64| {
            let found = found.unwrap();
            assert!((wanted..wanted * 1.2).contains(&found), "{found} for {wanted}");
        };
        near(report.latency_p50_seconds, 500e-6);
        near(report.latency_p99_seconds, 990e-6);
        assert_eq!(
            (report.predictions, report.output_mean, report.output_deviation),
            (1_000, Some(2.0), Some(0.0))
        );
    }

    #[test]
    fn an_output_that_is_not_finite_spoils_nothing() {
        let traffic = Traffic::default();
        traffic.answered([f64::NAN, f64::INFINITY, 1.0, 3.0], Duration::from_micros(1));
        let report = traffic.report();
        assert_eq!(
            (report.predictions, report.output_mean, report.output_deviation),
            (4, Some(2.0), Some(1.0))
        );
    }

    #[test]
    fn a_small_deviation_of_large_outputs_keeps_its_digits() {
        let traffic = Traffic::default();
        for output in [1e9, 1e9 + 2.0] {
            traffic.answered([output], Duration::from_micros(1));
        }
        assert_eq!(
            (traffic.report().output_mean, traffic.report().output_deviation),
            (Some(1e9 + 1.0), Some(1.0))
        );
    }

    #[test]
    fn no_traffic_has_no_quantiles() {
        assert_eq!(Traffic::default().report(), status::Traffic::default());
    }
}
