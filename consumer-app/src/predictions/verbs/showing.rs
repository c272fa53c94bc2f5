//! A run for whoever decides about it, as text: what it is, distributions, unusual rows, failures, movers.

use std::fmt::Write as _;

use modelcast_protocol::schema::{Output, OutputKind};

use super::terminal::{bar, printable, table};
use crate::{
    batch::summary::{FeatureRows, OutputSummary, Summary},
    page::{
        about::time,
        html::{figure, grouped_count, percent},
    },
    predictions::{
        histogram::{bars, highest},
        inspection::{Inspection, Summarised},
        run::{FailureRow, Run, RunState},
        store::Movers,
    },
};

/// Characters of the longest bar.
const BAR_WIDTH: u32 = 24;

/// Everything about a run. Writing to a string does not fail, so what `write` gives back is not looked at.
pub(super) fn render(inspection: &Inspection) -> String {
    let Inspection { inspected, decisions, beside, first_failures, movers, movers_cause } = inspection;
    let mut text = head(&inspected.run);
    for decision in decisions {
        let (who, reason) = (printable(&decision.who), printable(&decision.reason));
        let _ =
            writeln!(text, "{} by {who} at {}: {reason}", decision.verdict.name(), time(decision.at_unix_ms));
    }
    match beside {
        Some(beside) => {
            let run = &beside.run;
            let _ =
                writeln!(text, "beside run {} of version {}, which is {}", run.run, run.version, run.state);
        }
        None => text.push_str("no other run was approved to compare it with\n"),
    }
    if let Some(summary) = &inspected.summary {
        distributions(&mut text, &inspected.run, summary, beside.as_ref());
        unusual(&mut text, summary);
    }
    failures(&mut text, &inspected.run, first_failures);
    if let Some(movers) = movers {
        moved(&mut text, &inspected.run, movers);
    }
    if let Some(cause) = movers_cause {
        let _ = writeln!(text, "\nbiggest movers: {}", printable(cause));
    }
    let _ = write!(text, "{}", next_step(&inspected.run));
    text
}

fn head(run: &Run) -> String {
    let mut text = format!(
        "run       {}\nstate     {}\nmodel     {} version {} ({})\ninput     {}: {} bytes\n\
         rows      {} stored, {} failed\nstarted   {}\nfinished  {}\n",
        run.run,
        run.state,
        run.model,
        run.version,
        run.digest,
        printable(&run.input.name),
        grouped_count(run.input.size_bytes),
        grouped_count(run.rows),
        grouped_count(run.failures),
        time(run.started_at_unix_ms),
        run.finished_at_unix_ms.map_or_else(|| "–".to_owned(), time),
    );
    if let Some(cause) = &run.cause {
        let _ = writeln!(text, "cause     {}", printable(cause));
    }
    text
}

fn distributions(text: &mut String, run: &Run, summary: &Summary, beside: Option<&Summarised>) {
    for now in &summary.outputs {
        let unit = run.outputs.iter().find(|output| output.name == now.name).map(unit).unwrap_or_default();
        let other = beside.and_then(|beside| {
            let output = beside.summary.as_ref()?.outputs.iter().find(|output| output.name == now.name)?;
            Some((beside.run.run.as_str(), output))
        });
        let _ = write!(text, "\n{}{unit}\n", printable(&now.name));
        let (here, run_name) = (moments(now), run.run.as_str());
        let mut rows = vec![[vec![run_name.to_owned()], here].concat()];
        rows.extend(other.map(|(name, output)| [vec![name.to_owned()], moments(output)].concat()));
        text.push_str(&table(&["", "mean", "sd", "min", "max"], &[1, 2, 3, 4], rows));
        let bars = bars(now, other.map(|(_, output)| output));
        let highest = highest(&bars);
        let rows = bars.iter().map(|each| {
            let range = match (each.from, each.to) {
                (None, Some(to)) => format!("below {}", figure(to)),
                (Some(from), Some(to)) => format!("{} to {}", figure(from), figure(to)),
                (Some(from), None) => format!("from {}", figure(from)),
                (None, None) => "all".to_owned(),
            };
            let before = each.before;
            vec![
                range,
                percent(each.now),
                bar(each.now, highest, BAR_WIDTH),
                before.map(percent).unwrap_or_default(),
                before.map(|before| bar(before, highest, BAR_WIDTH)).unwrap_or_default(),
            ]
        });
        let name = other.map(|(name, _)| name).unwrap_or_default();
        text.push_str(&table(&["", run_name, "", name, ""], &[1, 3], rows.collect()));
    }
}

fn moments(output: &OutputSummary) -> Vec<String> {
    [output.mean, output.sd, output.min, output.max].map(figure).to_vec()
}

fn unit(output: &Output) -> String {
    match &output.kind {
        OutputKind::Numeric { unit: Some(unit) } => format!(" ({unit})"),
        OutputKind::Numeric { unit: None } => String::new(),
        OutputKind::Probability { positive, .. } => format!(" (probability of {positive})"),
    }
}

fn unusual(text: &mut String, summary: &Summary) {
    let lists = [
        ("outside of the range seen in training", &summary.out_of_range),
        ("with a category not seen in training", &summary.unseen),
    ];
    for (what, features) in lists {
        if features.is_empty() {
            let _ = write!(text, "\nno row {what}\n");
            continue;
        }
        let _ = write!(text, "\nrows {what}\n");
        let row = |feature: &FeatureRows| vec![feature.feature.clone(), grouped_count(feature.rows)];
        text.push_str(&table(&["feature", "rows"], &[1], features.iter().map(row).collect()));
    }
}

fn failures(text: &mut String, run: &Run, first: &[FailureRow]) {
    if first.is_empty() {
        return;
    }
    let _ = write!(text, "\nfailures: the first {} of {}\n", first.len(), grouped_count(run.failures));
    let row = |failure: &FailureRow| {
        vec![failure.row.to_string(), failure.key.clone().unwrap_or_default(), failure.cause.clone()]
    };
    text.push_str(&table(&["row", "key", "cause"], &[0], first.iter().map(row).collect()));
}

fn moved(text: &mut String, run: &Run, movers: &Movers) {
    let (now, before) = (run.run.as_str(), movers.against.as_str());
    if movers.movers.is_empty() {
        let _ = write!(text, "\nno prediction differs from run {before}\n");
        return;
    }
    text.push_str("\nbiggest movers\n");
    let rows = movers.movers.iter().map(|mover| {
        let change = mover.now - mover.before;
        let sign = if change > 0.0 { "+" } else { "" };
        vec![
            mover.output.clone(),
            mover.key.clone(),
            figure(mover.before),
            figure(mover.now),
            format!("{sign}{}", figure(change)),
        ]
    });
    text.push_str(&table(&["output", "key", before, now, "change"], &[2, 3, 4], rows.collect()));
}

fn next_step(run: &Run) -> String {
    let command = "consumer-app predictions";
    let why = "--by NAME --reason TEXT";
    match run.state {
        RunState::Waiting => format!("\n{command} approve {0} {why}\n{command} reject {0} {why}\n", run.run),
        RunState::Running => {
            format!("\n{command} abandon {} {why}   # when no batch goes on with it\n", run.run)
        }
        RunState::Superseded => format!("\n{command} approve {} {why}   # the rollback\n", run.run),
        _ => String::new(),
    }
}
