//! What is said of a complete run, to people and to programs.

use std::fmt;

use serde::Serialize;

use super::{progress::rate, summary::Summary, work::Scorer};
use crate::predictions::run::RunId;

/// What a complete run has to say of itself.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its name.
    pub run: RunId,
    /// Which version it used.
    #[serde(flatten)]
    pub scorer: Scorer,
    /// Where its predictions are.
    pub output: String,
    /// `waiting` for somebody to approve it, `approved`, or `complete` where there is nothing to approve.
    pub state: &'static str,
    /// Rows of the input that were done already when this process began with it.
    pub resumed_at: u64,
    /// How long this process took.
    pub seconds: f64,
    /// What it found.
    pub summary: Summary,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, scorer, output, state, seconds, summary, .. } = self;
        let Scorer { model, version, .. } = scorer;
        let rate = rate(summary.rows, std::time::Duration::from_secs_f64(*seconds));
        writeln!(f, "run {run} of {model} version {version} is {state}: {output}")?;
        write!(f, "{} rows, {} failed; {seconds:.1} s, {rate:.0} rows/s", summary.rows, summary.failures)?;
        for output in &summary.outputs {
            let figures =
                [output.min, output.mean, output.max, output.sd].map(|figure| format!("{figure:.4}"));
            let [min, mean, max, sd] = figures;
            write!(f, "\n{}: {min} to {max}, mean {mean}, sd {sd}", output.name)?;
        }
        for (what, features) in
            [("out of range", &summary.out_of_range), ("unseen category", &summary.unseen)]
        {
            for one in features {
                write!(f, "\n{}: {what} in {} rows", one.feature, one.rows)?;
            }
        }
        for failure in &summary.first_failures {
            write!(f, "\nrow {} (key {:?}): {}", failure.row, failure.key, failure.cause)?;
        }
        Ok(())
    }
}
