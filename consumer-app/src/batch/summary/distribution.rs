//! How one output is distributed, value by value: moments, and a histogram whose edges never move once they are set.
//!
//! Edges are the last run's where there is one; else a probability has fixed ones, and an amount takes round ones
//! around the middle of its first values.
//!
//! # Invariants
//! * Memory is bounded: at most `SAMPLE_MAX` values are held, until the edges are set.
//! * The same values in the same order give the same summary.

use modelcast_protocol::schema::{Output, OutputKind};

use super::OutputSummary;

/// So many first values say where the edges of an amount are.
const SAMPLE_MAX: usize = 10_000;
/// Buckets that are aimed at between the edges.
const BUCKETS: usize = 20;
/// Most edges that a last run may hand on.
const EDGES_MAX: usize = 1_000;

/// One output, as far as it has passed.
#[derive(Debug, Clone)]
pub(super) struct Distribution {
    name: String,
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    edges: Vec<f64>,
    counts: Vec<u64>,
    /// The first values, as long as there are no edges.
    sample: Vec<f64>,
}

impl Distribution {
    /// Nothing has passed; `last` is the same output in the last run.
    pub(super) fn new(output: &Output, last: Option<&OutputSummary>) -> Self {
        let edges =
            match (last.map(|last| last.edges.as_slice()).filter(|edges| are_edges(edges)), &output.kind) {
                (Some(edges), _) => edges.to_vec(),
                (None, OutputKind::Probability { .. }) => probability_edges(),
                (None, OutputKind::Numeric { .. }) => Vec::new(),
            };
        let counts = vec![0; if edges.is_empty() { 0 } else { edges.len() + 1 }];
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        let name = output.name.clone();
        Self { name, count: 0, min, max, mean: 0.0, squares: 0.0, edges, counts, sample: Vec::new() }
    }

    /// One more value; finite, as every prediction is.
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        // Welford's: one pass, and no difference of large sums.
        let from_mean = value - self.mean;
        self.mean += from_mean / as_f64(self.count);
        self.squares += from_mean * (value - self.mean);
        if self.edges.is_empty() {
            self.sample.push(value);
            if self.sample.len() == SAMPLE_MAX {
                self.set_edges();
            }
        } else {
            self.put(value);
        }
    }

    pub(super) fn finish(mut self) -> OutputSummary {
        if !self.sample.is_empty() {
            self.set_edges();
        }
        let figure = |value: f64| if self.count == 0 { 0.0 } else { value.clamp(f64::MIN, f64::MAX) };
        OutputSummary {
            count: self.count,
            min: figure(self.min),
            max: figure(self.max),
            mean: figure(finite(self.mean)),
            sd: figure(finite((self.squares / as_f64(self.count)).sqrt())),
            name: self.name,
            edges: self.edges,
            counts: self.counts,
        }
    }

    fn put(&mut self, value: f64) {
        let bucket = self.edges.partition_point(|edge| *edge <= value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    fn set_edges(&mut self) {
        let mut sample = std::mem::take(&mut self.sample);
        sample.sort_by(f64::total_cmp);
        let rare = sample.len() / 100;
        let low = sample.get(rare).copied().unwrap_or_default();
        let high = sample.get(sample.len() - 1 - rare).copied().unwrap_or(low);
        self.edges = round_edges(low, high);
        self.counts = vec![0; self.edges.len() + 1];
        sample.into_iter().for_each(|value| self.put(value));
    }
}

fn are_edges(edges: &[f64]) -> bool {
    let ascending = edges.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    (1..=EDGES_MAX).contains(&edges.len()) && ascending && edges.iter().all(|edge| edge.is_finite())
}

fn probability_edges() -> Vec<f64> {
    (1..20_u32).map(|twentieth| f64::from(twentieth) / 20.0).collect()
}

/// Edges from below `low` to above `high`, at multiples of 1, 2 or 5 times a power of ten; one edge where there is no
/// room between the two.
fn round_edges(low: f64, high: f64) -> Vec<f64> {
    let aim = high / as_f64(BUCKETS as u64) - low / as_f64(BUCKETS as u64); // a difference of the two may overflow
    let decade = 10_f64.powf(aim.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * decade).into_iter().find(|step| *step >= aim);
    let Some(step) = step.filter(|step| step.is_normal()) else { return vec![low] };
    let first = (low / step).floor();
    let edges = (0..=BUCKETS as u64 + 2).map(|place| (first + as_f64(place)) * step);
    let mut found: Vec<f64> = Vec::with_capacity(BUCKETS + 3);
    for edge in edges {
        found.push(edge);
        if edge > high {
            break;
        }
    }
    if are_edges(&found) { found } else { vec![low] }
}

fn finite(value: f64) -> f64 {
    if value.is_nan() { f64::MAX } else { value }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of rows: exact up to 2^53, and figures for people beyond"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(kind: OutputKind) -> Output {
        Output { name: "price".into(), title: None, kind }
    }

    fn amount() -> Output {
        output(OutputKind::Numeric { unit: None })
    }

    fn of(values: impl IntoIterator<Item = f64>, last: Option<&OutputSummary>) -> OutputSummary {
        let mut distribution = Distribution::new(&amount(), last);
        values.into_iter().for_each(|value| distribution.add(value));
        distribution.finish()
    }

    #[test]
    fn moments_are_those_of_the_textbook() {
        let found = of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], None);
        assert_eq!((found.count, found.min, found.max, found.mean, found.sd), (8, 2.0, 9.0, 5.0, 2.0));
    }

    #[test]
    fn edges_are_round_and_every_value_is_in_one_bucket() {
        let found = of((0..25_000).map(|value| f64::from(value) * 10.0), None);
        assert_eq!(found.edges[1] - found.edges[0], 5_000.0, "{:?}", found.edges);
        assert!(found.edges.iter().all(|edge| edge % 5_000.0 == 0.0), "{:?}", found.edges);
        assert_eq!(found.counts.iter().sum::<u64>(), 25_000);
        assert_eq!(found.counts.len(), found.edges.len() + 1);
        assert_eq!(found.counts[1], 500, "{:?}", found.counts);
    }

    #[test]
    fn the_last_run_hands_its_edges_on_unless_they_are_none() {
        let last = OutputSummary { edges: vec![1.0, 2.0], ..OutputSummary::default() };
        let found = of([0.5, 1.0, 1.5, 2.0, 99.0], Some(&last));
        assert_eq!((found.edges, found.counts), (vec![1.0, 2.0], vec![1, 2, 2]));
        for wrong in [vec![], vec![2.0, 1.0], vec![1.0, 1.0], vec![f64::NAN]] {
            let last = OutputSummary { edges: wrong, ..OutputSummary::default() };
            assert!(of([3.0, 4.0], Some(&last)).edges.len() > 2);
        }
    }

    #[test]
    fn a_probability_has_fixed_edges() {
        let kind = OutputKind::Probability { positive: "a".into(), negative: "b".into(), threshold: 0.5 };
        let found = Distribution::new(&output(kind), None).finish();
        assert_eq!((found.edges.len(), found.edges[9]), (19, 0.5));
        assert_eq!((found.min, found.max, found.mean, found.sd), (0.0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn extreme_values_end_in_finite_figures() {
        for values in
            [vec![f64::MAX, f64::MIN, f64::MAX], vec![5e-324, 0.0], vec![7.0; 3], vec![1e300, 1e300 + 1e285]]
        {
            let found = of(values.clone(), None);
            let figures = [found.min, found.max, found.mean, found.sd];
            assert!(
                figures.iter().chain(&found.edges).all(|figure| figure.is_finite()),
                "{values:?}: {found:?}"
            );
            assert!(are_edges(&found.edges), "{found:?}");
            assert_eq!(found.counts.iter().sum::<u64>(), values.len() as u64, "{found:?}");
        }
    }
}
