//! What a predicted value means to a person: the label of a probability.
//!
//! Does not compute predictions (see `model`).

use modelcast_protocol::schema::OutputKind;

/// The label that a predicted `value` stands for: the positive one from the threshold on, else the negative one.
///
/// None for an amount, and for a value that is not a number.
#[must_use]
pub fn label(kind: &OutputKind, value: f64) -> Option<&str> {
    match kind {
        OutputKind::Numeric { .. } => None,
        OutputKind::Probability { .. } if value.is_nan() => None,
        OutputKind::Probability { positive, threshold, .. } if value >= *threshold => Some(positive),
        OutputKind::Probability { negative, .. } => Some(negative),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_positive_from_the_threshold_on() {
        let kind = OutputKind::Probability {
            positive: "benign".into(),
            negative: "malignant".into(),
            threshold: 0.3,
        };
        let rows = [
            (0.3, Some("benign")),
            (1.0, Some("benign")),
            (0.3_f64.next_down(), Some("malignant")),
            (0.0, Some("malignant")),
            (f64::NAN, None),
        ];
        for (value, expected) in rows {
            assert_eq!(label(&kind, value), expected, "{value}");
        }
        assert_eq!(label(&OutputKind::Numeric { unit: None }, 0.9), None);
    }
}
