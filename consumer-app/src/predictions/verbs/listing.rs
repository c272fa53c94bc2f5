//! Runs as a table.

use super::terminal::table;
use crate::{
    page::{about::time, html::grouped_count},
    predictions::run::Run,
};

const HEADER: [&str; 9] = ["run", "model", "version", "state", "rows", "failures", "started", "by", "reason"];

/// The table, or that there is nothing.
pub(super) fn render(runs: &[Run]) -> String {
    if runs.is_empty() {
        return "no run is stored\n".to_owned();
    }
    table(&HEADER, &[4, 5], runs.iter().map(row).collect())
}

fn row(run: &Run) -> Vec<String> {
    let decision = run.decision.as_ref();
    let reason = decision.map(|decision| decision.reason.clone()).or_else(|| run.cause.clone());
    vec![
        run.run.to_string(),
        run.model.to_string(),
        run.version.to_string(),
        run.state.to_string(),
        grouped_count(run.rows),
        grouped_count(run.failures),
        time(run.started_at_unix_ms),
        decision.map(|decision| decision.who.clone()).unwrap_or_default(),
        reason.unwrap_or_default(),
    ]
}
