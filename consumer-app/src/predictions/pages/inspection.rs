//! A run for whoever decides about it: distributions beside the run that is served, unusual rows, failures, movers,
//! and the form.

use std::fmt::Write as _;

use modelcast_protocol::schema::{Output, OutputKind};

use super::{
    chart,
    listing::{chip, crumbs},
    origin::Token,
};
use crate::{
    batch::summary::{FeatureRows, OutputSummary, Summary},
    page::{
        about::time,
        html::{Escaped, figure, grouped_count, humanized},
    },
    predictions::{
        histogram::bars,
        inspection::{Inspection, Summarised},
        run::{Decision, FailureRow, Mover, Run, Verdict, WHO_MAX_BYTES},
        store::Movers,
    },
};

/// The page. With a token there is a form, if there is something to decide.
pub(super) fn render(inspection: &Inspection, token: Option<&Token>, problem: Option<&str>) -> String {
    let Inspection { inspected, decisions, beside, first_failures, movers, movers_cause } = inspection;
    let run = &inspected.run;
    let mut cards = String::new();
    if let Some(summary) = &inspected.summary {
        cards.push_str(&distributions(run, summary, beside.as_ref()));
        cards.push_str(&unusual(summary));
    }
    cards.push_str(&failures(run, first_failures));
    cards.push_str(&moved(run, movers.as_ref(), movers_cause.as_deref()));
    format!(
        "<main>{crumbs}<div class=\"intro\"><h1 class=\"name\">{name} {chip}</h1><p class=\"lead\">{lead}</p></div>\
         {problem}<div class=\"columns inspection\"><aside>{decide}{about}</aside>\
         <div class=\"cards-wide\">{cards}</div></div></main>",
        crumbs = crumbs(&run.model, &humanized(run.model.as_str()), Some(run.run.as_str())),
        name = run.run,
        chip = chip(run.state),
        lead = lead(run, beside.as_ref()),
        problem = problem.map_or_else(String::new, |problem| {
            format!("<p class=\"problem card\" role=\"alert\">{}.</p>", Escaped(problem))
        }),
        decide = deciding(run, decisions, token),
        about = about(run),
    )
}

fn lead(run: &Run, beside: Option<&Summarised>) -> String {
    let compared = beside.map_or_else(
        || "No other run was approved to compare it with.".to_owned(),
        |beside| {
            let other = &beside.run;
            format!(
                "Beside it: <a href=\"/models/{0}/runs/{1}\">{1}</a> of version {2}, {3}.",
                other.model, other.run, other.version, other.state
            )
        },
    );
    format!(
        "Version {} scored {} rows of {}; {} failed. {compared}",
        run.version,
        grouped_count(run.rows),
        Escaped(&run.input.name),
        grouped_count(run.failures),
    )
}

/// What was decided, and the form where something can be.
fn deciding(run: &Run, decisions: &[Decision], token: Option<&Token>) -> String {
    let mut list = String::new();
    for decision in decisions.iter().rev() {
        // Writing to a string does not fail.
        let _ = write!(
            list,
            "<li><b>{verdict} by {who}</b><span>{reason}</span><time>{at}</time></li>",
            verdict = humanized(decision.verdict.name()),
            who = Escaped(&decision.who),
            reason = Escaped(&decision.reason),
            at = time(decision.at_unix_ms),
        );
    }
    if let Some(cause) = &run.cause {
        let _ = write!(list, "<li><b>Given up</b><span>{}</span></li>", Escaped(cause));
    }
    let (approve, reject) = (run.can_become(Verdict::Approved), run.can_become(Verdict::Rejected));
    let body = match token {
        Some(token) if approve || reject => form(token, reject),
        _ if approve || reject => format!(
            "<p>Decide by command:</p><pre><code>consumer-app predictions approve {run} \\\n  --by NAME \
             --reason TEXT</code></pre>",
            run = run.run
        ),
        _ if list.is_empty() => "<p>There is nothing to decide about this run.</p>".to_owned(),
        _ => String::new(),
    };
    format!(
        "<section class=\"card panel decide\"><h2>Decision</h2><ul class=\"decisions\">{list}</ul>{body}</section>"
    )
}

fn form(token: &Token, can_reject: bool) -> String {
    let reject = if can_reject {
        "<button name=\"verdict\" value=\"reject\" class=\"quiet bad\">Reject</button>"
    } else {
        ""
    };
    format!(
        "<form method=\"post\" autocomplete=\"off\"><input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <div class=\"field\"><label for=\"by\">Your name</label><span class=\"box\">\
         <input id=\"by\" name=\"by\" required maxlength=\"{WHO_MAX_BYTES}\"></span></div>\
         <div class=\"field\"><label for=\"reason\">Reason</label><span class=\"box\">\
         <textarea id=\"reason\" name=\"reason\" required maxlength=\"1000\" rows=\"3\"></textarea></span></div>\
         <div class=\"actions\"><button name=\"verdict\" value=\"approve\">Approve</button>{reject}</div></form>",
        token = Escaped(token.text()),
    )
}

fn distributions(run: &Run, summary: &Summary, beside: Option<&Summarised>) -> String {
    let card = |now: &OutputSummary| {
        let output = run.outputs.iter().find(|output| output.name == now.name);
        let title = output.map_or_else(|| humanized(&now.name), title);
        let other = beside.and_then(|beside| {
            let summary = beside.summary.as_ref()?;
            Some((&beside.run, summary.outputs.iter().find(|output| output.name == now.name)?))
        });
        let bars = bars(now, other.map(|(_, output)| output));
        let is_beside = bars.iter().any(|bar| bar.before.is_some());
        let legend = match other {
            Some((other, _)) if is_beside => format!(
                "<p class=\"legend\"><span class=\"key now\"></span>{} <span class=\"key before\"></span>{}</p>",
                run.run, other.run
            ),
            Some((other, _)) => {
                format!("<p class=\"legend\">Run {} has other buckets, and is not drawn.</p>", other.run)
            }
            None => String::new(),
        };
        let mut rows = moments(run, now);
        if let Some((other, output)) = other {
            rows.push_str(&moments(other, output));
        }
        format!(
            "<section class=\"card panel\" data-distribution=\"{name}\"><h2>{title}</h2>{legend}{chart}\
             <table><thead><tr><th>Run</th><th class=\"number\">Mean</th><th class=\"number\">Spread</th>\
             <th class=\"number\">Least</th><th class=\"number\">Most</th></tr></thead><tbody>{rows}</tbody></table>\
             </section>",
            name = Escaped(&now.name),
            title = Escaped(&title),
            chart = chart::render(&bars, &format!("Distribution of {title}")),
        )
    };
    summary.outputs.iter().map(card).collect()
}

fn title(output: &Output) -> String {
    let title = output.title.clone().unwrap_or_else(|| humanized(&output.name));
    match &output.kind {
        OutputKind::Numeric { unit: Some(unit) } => format!("{title}, {unit}"),
        OutputKind::Numeric { unit: None } => title,
        OutputKind::Probability { positive, .. } => format!("{title}: probability of {positive}"),
    }
}

fn moments(run: &Run, output: &OutputSummary) -> String {
    let cells: String = [output.mean, output.sd, output.min, output.max]
        .into_iter()
        .map(|value| format!("<td class=\"number\">{}</td>", figure(value)))
        .collect();
    format!("<tr><td>{}</td>{cells}</tr>", run.run)
}

fn unusual(summary: &Summary) -> String {
    let row = |feature: &FeatureRows| {
        let (name, rows) = (Escaped(&feature.feature), grouped_count(feature.rows));
        format!("<tr><td>{name}</td><td class=\"number\">{rows}</td></tr>")
    };
    let list = |title: &str, features: &[FeatureRows]| match features {
        [] => format!("<p>{title}: no row.</p>"),
        features => format!(
            "<table><thead><tr><th>{title}</th><th class=\"number\">Rows</th></tr></thead><tbody>{}</tbody></table>",
            features.iter().map(row).collect::<String>()
        ),
    };
    format!(
        "<section class=\"card panel\" data-unusual><h2>Unusual rows</h2>{}{}</section>",
        list("Outside of the range seen in training", &summary.out_of_range),
        list("With a category not seen in training", &summary.unseen),
    )
}

fn failures(run: &Run, first: &[FailureRow]) -> String {
    if first.is_empty() {
        return String::new();
    }
    let row = |failure: &FailureRow| {
        format!(
            "<tr><td class=\"number\">{}</td><td>{}</td><td>{}</td></tr>",
            failure.row,
            Escaped(failure.key.as_deref().unwrap_or("–")),
            Escaped(&failure.cause)
        )
    };
    format!(
        "<section class=\"card panel\" data-failures><h2>Failures</h2><p>The first {} of {}.</p><div class=\"scroll\">\
         <table><thead><tr><th class=\"number\">Row</th><th>Key</th><th>Cause</th></tr></thead><tbody>{}</tbody>\
         </table></div></section>",
        first.len(),
        grouped_count(run.failures),
        first.iter().map(row).collect::<String>(),
    )
}

fn moved(run: &Run, movers: Option<&Movers>, cause: Option<&str>) -> String {
    let body = match (movers, cause) {
        (None, None) => return String::new(),
        (None, Some(cause)) => format!(
            "<p>{}.</p><p><code>consumer-app predictions show {}</code> looks for them, too.</p>",
            Escaped(cause),
            run.run
        ),
        (Some(movers), _) if movers.movers.is_empty() => {
            format!("<p>No prediction differs from run {}.</p>", movers.against)
        }
        (Some(movers), _) => format!(
            "<div class=\"scroll\"><table><thead><tr><th>Key</th><th>Output</th><th class=\"number\">{}</th>\
             <th class=\"number\">{}</th><th class=\"number\">Change</th></tr></thead><tbody>{}</tbody></table></div>",
            movers.against,
            run.run,
            movers.movers.iter().map(mover).collect::<String>(),
        ),
    };
    format!("<section class=\"card panel\" data-movers><h2>Biggest movers</h2>{body}</section>")
}

fn mover(mover: &Mover) -> String {
    let change = mover.now - mover.before;
    let sign = if change > 0.0 { "+" } else { "" };
    format!(
        "<tr><td>{key}</td><td>{output}</td><td class=\"number\">{before}</td><td class=\"number\">{now}</td>\
         <td class=\"number\">{sign}{change}</td></tr>",
        key = Escaped(&mover.key),
        output = Escaped(&mover.output),
        before = figure(mover.before),
        now = figure(mover.now),
        change = figure(change),
    )
}

fn about(run: &Run) -> String {
    let mut list = String::new();
    // Writing to a string does not fail.
    let mut entry = |name: &str, value: &str| {
        let _ = write!(list, "<div><dt>{name}</dt><dd>{}</dd></div>", Escaped(value));
    };
    entry("Version", &run.version.to_string());
    entry("Generation", &run.generation.to_string());
    entry("Input", &run.input.name);
    entry("Size", &format!("{} bytes", grouped_count(run.input.size_bytes)));
    entry("Changed", &time(run.input.modified_at_unix_ms));
    entry("Started", &time(run.started_at_unix_ms));
    entry("Finished", &run.finished_at_unix_ms.map_or_else(|| "–".to_owned(), time));
    format!(
        "<details class=\"card about\" open><summary>About this run</summary><dl>{list}</dl>\
         <p class=\"digest\"><code>{}</code></p></details>",
        run.digest
    )
}
