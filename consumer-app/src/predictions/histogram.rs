//! How an output is distributed in a run beside another, as bars to be drawn.
//!
//! # Invariants
//! * Two runs are side by side only where their buckets are the same.

use crate::batch::summary::OutputSummary;

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    /// Where it begins; none for what is below the first edge.
    pub(crate) from: Option<f64>,
    /// Where it ends; none for what is from the last edge on.
    pub(crate) to: Option<f64>,
    /// Share of this run's values.
    pub(crate) now: f64,
    /// Share of the other run's values; none where it cannot be compared.
    pub(crate) before: Option<f64>,
}

/// The bars of an output, without the empty ones at both ends.
pub(crate) fn bars(now: &OutputSummary, before: Option<&OutputSummary>) -> Vec<Bar> {
    let before = before.filter(|before| before.edges == now.edges && before.counts.len() == now.counts.len());
    let bar = |place: usize, count: u64| Bar {
        from: place.checked_sub(1).and_then(|place| now.edges.get(place)).copied(),
        to: now.edges.get(place).copied(),
        now: share(count, now.count),
        before: before.map(|before| share(before.counts.get(place).copied().unwrap_or(0), before.count)),
    };
    let bars: Vec<_> = now.counts.iter().enumerate().map(|(place, count)| bar(place, *count)).collect();
    let is_used = |bar: &Bar| bar.now > 0.0 || bar.before.is_some_and(|before| before > 0.0);
    let first = bars.iter().position(is_used).unwrap_or(0);
    let end = bars.iter().rposition(is_used).map_or(0, |last| last.saturating_add(1));
    bars.get(first..end).map(<[Bar]>::to_vec).unwrap_or_default()
}

/// The highest share of all bars; above 0.
pub(crate) fn highest(bars: &[Bar]) -> f64 {
    let shares = bars.iter().flat_map(|bar| [bar.now, bar.before.unwrap_or(0.0)]);
    shares.fold(f64::MIN_POSITIVE, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "a share of rows, to be drawn")]
fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(edges: &[f64], counts: &[u64]) -> OutputSummary {
        let (edges, counts) = (edges.to_vec(), counts.to_vec());
        OutputSummary { count: counts.iter().sum(), edges, counts, ..OutputSummary::default() }
    }

    #[test]
    fn bars_stand_side_by_side_only_in_the_same_buckets() {
        let now = summary(&[0.0, 1.0, 2.0], &[0, 3, 1, 0]);
        let same = bars(&now, Some(&summary(&[0.0, 1.0, 2.0], &[0, 1, 0, 1])));
        let shares: Vec<_> = same.iter().map(|bar| (bar.from, bar.to, bar.now, bar.before)).collect();
        let expected = [
            (Some(0.0), Some(1.0), 0.75, Some(0.5)),
            (Some(1.0), Some(2.0), 0.25, Some(0.0)),
            (Some(2.0), None, 0.0, Some(0.5)),
        ];
        assert_eq!(shares, expected);
        assert_eq!(highest(&same), 0.75);
        let other = bars(&now, Some(&summary(&[0.0, 1.0, 3.0], &[0, 1, 0, 1])));
        assert!(other.len() == 2 && other.iter().all(|bar| bar.before.is_none()), "{other:?}");
        assert_eq!(bars(&OutputSummary::default(), None), []);
    }
}
