//! The runs of a model, the newest first.

use modelcast_protocol::ModelName;

use crate::{
    page::{
        about::time,
        html::{Escaped, grouped_count, humanized},
    },
    predictions::run::{Run, RunState},
};

pub(super) fn render(model: &ModelName, runs: &[Run]) -> String {
    let title = humanized(model.as_str());
    let rows: String = runs.iter().map(row).collect();
    let table = if runs.is_empty() {
        "<section class=\"card empty\"><h2>No run is stored</h2>\
         <p><code>consumer-app batch</code> scores a file and stores its predictions as a run.</p></section>"
            .to_owned()
    } else {
        format!(
            "<section class=\"card wide\"><table class=\"runs\"><thead><tr><th>Run</th><th>State</th>\
             <th class=\"number\">Version</th><th class=\"number\">Rows</th><th class=\"number\">Failed</th>\
             <th>Started</th><th>Decided</th></tr></thead><tbody>{rows}</tbody></table></section>"
        )
    };
    format!(
        "<main>{crumbs}<div class=\"intro\"><h1>Runs</h1><p class=\"lead\">Predictions that were scored offline and \
         stored. One approved run is served; the others wait, or were served before.</p></div>{table}</main>",
        crumbs = crumbs(model, &title, None),
    )
}

fn row(run: &Run) -> String {
    let decided = run.decision.as_ref().map_or_else(String::new, |decision| {
        format!("{} · {}", Escaped(&decision.who), Escaped(&decision.reason))
    });
    format!(
        "<tr><td data-label=\"Run\"><a href=\"/models/{model}/runs/{run}\">{run}</a></td>\
         <td data-label=\"State\">{chip}</td><td data-label=\"Version\" class=\"number\">{version}</td>\
         <td data-label=\"Rows\" class=\"number\">{rows}</td><td data-label=\"Failed\" class=\"number\">{failed}</td>\
         <td data-label=\"Started\">{started}</td><td data-label=\"Decided\">{decided}</td></tr>",
        model = run.model,
        run = run.run,
        chip = chip(run.state),
        version = run.version,
        rows = grouped_count(run.rows),
        failed = grouped_count(run.failures),
        started = time(run.started_at_unix_ms),
    )
}

/// A state as a mark.
pub(super) fn chip(state: RunState) -> String {
    format!("<span class=\"chip\" data-state=\"{state}\">{state}</span>")
}

/// The way back.
pub(super) fn crumbs(model: &ModelName, title: &str, run: Option<&str>) -> String {
    let runs = run.map_or_else(String::new, |_| format!("<a href=\"/models/{model}/runs\">Runs</a>"));
    format!(
        "<nav class=\"crumbs\" aria-label=\"Where you are\"><a href=\"/\">Models</a>\
         <a href=\"/models/{model}\">{}</a>{runs}</nav>",
        Escaped(title)
    )
}
