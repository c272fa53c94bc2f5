//! A histogram as SVG: this run's bars, and the outline of the run beside it behind them.
//!
//! Drawn without a script and without inline styles, which the content policy forbids: classes carry the colours, so
//! that it is light or dark as the page is.

use std::fmt::Write as _;

use crate::{
    page::html::{Escaped, figure, percent},
    predictions::histogram::{Bar, highest},
};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 190.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 26.0;
/// Numbers under the bars: more would overlap.
const LABELS: usize = 5;

/// The chart; `title` says what it shows to whoever cannot see it.
pub(super) fn render(bars: &[Bar], title: &str) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let highest = highest(bars);
    let floor = HEIGHT - BOTTOM;
    let height = |share: f64| share / highest * (floor - TOP);
    let step = WIDTH / number(bars.len());
    let mut shapes = String::new();
    // Writing to a string does not fail.
    for (place, bar) in bars.iter().enumerate() {
        let x = step * number(place);
        let _ = write!(shapes, "<g><title>{}</title>", Escaped(&told(bar)));
        let _ = write!(
            shapes,
            "<rect class=\"hit\" x=\"{x:.2}\" y=\"{TOP}\" width=\"{step:.2}\" height=\"{:.2}\"/>",
            floor - TOP
        );
        let mut rect = |class: &str, share: f64, from: f64, width: f64| {
            let (x, y) = (x + step * from, floor - height(share));
            let _ = write!(
                shapes,
                "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" rx=\"1.5\"/>",
                step * width,
                height(share)
            );
        };
        if let Some(before) = bar.before {
            rect("before", before, 0.04, 0.92);
            rect("now", bar.now, 0.24, 0.52);
        } else {
            rect("now", bar.now, 0.08, 0.84);
        }
        shapes.push_str("</g>");
    }
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\
         <line class=\"axis\" x1=\"0\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\"/>{shapes}{labels}</svg>",
        title = Escaped(title),
        labels = labels(bars, step, floor),
    )
}

/// Edges under the bars between which they lie.
fn labels(bars: &[Bar], step: f64, floor: f64) -> String {
    let edges: Vec<_> = bars
        .iter()
        .enumerate()
        .filter_map(|(place, bar)| Some((place, bar.from?)))
        .chain(bars.last().and_then(|bar| Some((bars.len(), bar.to?))))
        .collect();
    let every = edges.len().div_ceil(LABELS).max(1);
    let mut text = String::new();
    for (place, edge) in edges.iter().step_by(every) {
        let x = step * number(*place);
        // Numbers at the ends stay inside.
        let anchor = match x {
            x if x < 20.0 => "start",
            x if x > WIDTH - 20.0 => "end",
            _ => "middle",
        };
        let _ = write!(
            text,
            "<text x=\"{x:.2}\" y=\"{:.2}\" text-anchor=\"{anchor}\">{}</text>",
            floor + 17.0,
            Escaped(&figure(*edge))
        );
    }
    text
}

/// A bar in words.
fn told(bar: &Bar) -> String {
    let range = match (bar.from, bar.to) {
        (None, Some(to)) => format!("below {}", figure(to)),
        (Some(from), Some(to)) => format!("{} to {}", figure(from), figure(to)),
        (Some(from), None) => format!("from {}", figure(from)),
        (None, None) => "all values".to_owned(),
    };
    match bar.before {
        Some(before) => format!("{range}: {}, before {}", percent(bar.now), percent(before)),
        None => format!("{range}: {}", percent(bar.now)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the place of one of a few bars")]
fn number(place: usize) -> f64 {
    place as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_bar_for_each_bucket_and_stays_in_its_frame() {
        let bar =
            |from: f64, now| Bar { from: Some(from), to: Some(from + 1.0), now, before: Some(now / 2.0) };
        let svg = render(&[bar(0.0, 0.25), bar(1.0, 0.75)], "a <b>");
        assert_eq!(svg.matches("class=\"now\"").count(), 2);
        assert_eq!(svg.matches("class=\"before\"").count(), 2);
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("1 to 2: 75.0 %, before 37.5 %"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("style="), "{svg}");
        assert_eq!(render(&[], "none"), "");
        let empty = render(&[Bar { from: None, to: None, now: 0.0, before: None }], "none");
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
    }
}
