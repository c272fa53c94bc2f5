//! Metrics of predictions on rows whose truth is known.
//!
//! Amounts are judged in their unit, labels by the probability of the positive one. Does not predict (see `score`).

use std::collections::BTreeMap;

use modelcast_protocol::schema::OutputKind;

use crate::design::count;

/// Names of the metrics of amounts.
pub const AMOUNT_METRICS: [&str; 3] = ["rmse", "mae", "r2"];
/// Names of the metrics of labels.
pub const LABEL_METRICS: [&str; 3] = ["accuracy", "auc", "log_loss"];

/// A probability further from 0 and 1 than this counts as it is: one wrong certainty should not hide all else.
const PROBABILITY_MARGIN: f64 = 1e-15;

/// The metrics of an output of this kind. `truth` holds amounts, or 1 for the positive label and 0 for the other.
///
/// A metric that these rows do not define is left out, such as the AUC of rows of one label.
#[must_use]
pub fn metrics(kind: &OutputKind, truth: &[f64], predicted: &[f64]) -> BTreeMap<String, f64> {
    let found: Vec<(&str, Option<f64>)> = match kind {
        OutputKind::Numeric { .. } => vec![
            ("rmse", Some(mean(truth, predicted, |y, p| (y - p).powi(2)).sqrt())),
            ("mae", Some(mean(truth, predicted, |y, p| (y - p).abs()))),
            ("r2", r2(truth, predicted)),
        ],
        OutputKind::Probability { threshold, .. } => {
            let right = |y: f64, p: f64| f64::from(u8::from((p >= *threshold) == (y > 0.5)));
            vec![
                ("accuracy", Some(mean(truth, predicted, right))),
                ("auc", auc(truth, predicted)),
                ("log_loss", Some(mean(truth, predicted, log_loss))),
            ]
        }
    };
    let defined = found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    defined.filter(|(_, value)| value.is_finite()).collect()
}

fn mean(truth: &[f64], predicted: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    truth.iter().zip(predicted).map(|(&y, &p)| term(y, p)).sum::<f64>() / count(truth.len())
}

fn r2(truth: &[f64], predicted: &[f64]) -> Option<f64> {
    let average = mean(truth, truth, |y, _| y);
    let spread = mean(truth, truth, |y, _| (y - average).powi(2));
    (spread > 0.0).then(|| 1.0 - mean(truth, predicted, |y, p| (y - p).powi(2)) / spread)
}

fn log_loss(truth: f64, probability: f64) -> f64 {
    let probability = probability.clamp(PROBABILITY_MARGIN, 1.0 - PROBABILITY_MARGIN);
    if truth > 0.5 { -probability.ln() } else { -(1.0 - probability).ln() }
}

/// Share of pairs of a positive and a negative row in which the positive one ranks higher; ties count half
/// (Mann and Whitney 1947, by ranks).
fn auc(truth: &[f64], predicted: &[f64]) -> Option<f64> {
    let mut rows: Vec<(f64, bool)> = predicted.iter().zip(truth).map(|(&p, &y)| (p, y > 0.5)).collect();
    rows.sort_by(|left, right| left.0.total_cmp(&right.0));
    let positives = rows.iter().filter(|(_, positive)| *positive).count();
    let negatives = rows.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (mut rank_sum, mut before) = (0.0, 0);
    for ties in rows.chunk_by(|left, right| left.0 == right.0) {
        let average_rank = count(before) + (count(ties.len()) + 1.0) / 2.0;
        rank_sum += average_rank * count(ties.iter().filter(|(_, positive)| *positive).count());
        before += ties.len();
    }
    let (positives, negatives) = (count(positives), count(negatives));
    Some((rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (name, value) in expected {
            assert!((found[*name] - value).abs() < 1e-12, "{name}: {found:?}");
        }
    }

    #[test]
    fn amounts_are_judged_in_their_unit() {
        let kind = OutputKind::Numeric { unit: Some("USD".into()) };
        let found = metrics(&kind, &[1.0, 2.0, 3.0, 6.0], &[2.0, 2.0, 2.0, 8.0]);
        close(&found, &[("rmse", 1.5_f64.sqrt()), ("mae", 1.0), ("r2", 1.0 - 6.0 / 14.0)]);
    }

    #[test]
    fn labels_are_judged_by_probability_and_ties_count_half() {
        let kind = OutputKind::Probability { positive: "yes".into(), negative: "no".into(), threshold: 0.5 };
        let found = metrics(&kind, &[1.0, 0.0, 1.0, 0.0], &[0.8, 0.5, 0.5, 0.2]);
        let log_loss = -(0.8_f64.ln() + 0.5_f64.ln() + 0.5_f64.ln() + 0.8_f64.ln()) / 4.0;
        close(&found, &[("accuracy", 0.75), ("auc", 3.5 / 4.0), ("log_loss", log_loss)]);
    }

    #[test]
    fn a_metric_that_the_rows_do_not_define_is_left_out() {
        let kind = OutputKind::Probability { positive: "yes".into(), negative: "no".into(), threshold: 0.5 };
        assert!(!metrics(&kind, &[1.0, 1.0], &[0.8, 0.9]).contains_key("auc"));
        assert!(!metrics(&OutputKind::Numeric { unit: None }, &[1.0, 1.0], &[0.8, 0.9]).contains_key("r2"));
    }
}
