//! The fleet view as a table for people, and the lines under it.

use std::fmt::Write as _;

use modelcast_protocol::status::Phase;

use super::{Counts, FleetView, InstanceView, ModelView, Standing};
use crate::{
    printable::{age, percent, printable},
    table::{self, Field, Look, Tone},
};

const HEADER: [&str; 9] =
    ["model", "instance", "phase", "serves", "wants", "generation", "news", "predictions", "note"];

/// The table, then one line a model, then what is amiss.
pub(crate) fn render(view: &FleetView, look: Look) -> String {
    let mut text = String::new();
    let rows: Vec<_> = view
        .models
        .iter()
        .flat_map(|model| model.instances.iter().map(|instance| row(model, instance)))
        .collect();
    if !rows.is_empty() {
        let _ = writeln!(text, "{}\n", table::render(look, &HEADER, rows));
    }
    if view.models.is_empty() {
        text.push_str("no model is announced, and no instance reports\n");
    }
    for model in &view.models {
        let _ = writeln!(text, "{}", summary(model));
    }
    text
}

fn row(model: &ModelView, instance: &InstanceView) -> Vec<Field> {
    let (phase, tone) = phase(instance);
    let serves = instance.serves.map_or_else(|| "-".to_owned(), |served| served.version.to_string());
    let wants = match instance.wants {
        None => "-".to_owned(),
        Some(wants) if wants.role == "champion" => wants.version.to_string(),
        Some(wants) => format!("{} ({})", wants.version, wants.role),
    };
    let predictions = match instance.errors {
        0 => instance.predictions.to_string(),
        errors => format!("{} ({errors} errors)", instance.predictions),
    };
    let note = instance.notes.join("; ");
    let note_tone = if instance.ok { Tone::Neutral } else { Tone::Bad };
    vec![
        Field::from(model.model.as_str()),
        Field::from(instance.instance.as_str()),
        Field::toned(&phase, tone),
        Field::from(serves),
        Field::from(wants),
        Field::from(instance.generation_seen.to_string()),
        Field::from(age(instance.heard_ms_ago)),
        Field::from(predictions),
        Field::toned(&note, note_tone),
    ]
}

/// The standing, and where that says more, the phase that the instance reports.
fn phase(instance: &InstanceView) -> (String, Tone) {
    match (instance.standing, &instance.phase) {
        (Standing::Live, _) => ("live".to_owned(), Tone::Good),
        (Standing::Refused, Phase::Refused { stage, .. }) => (format!("refused at {stage}"), Tone::Bad),
        (Standing::Refused, _) => ("refused".to_owned(), Tone::Bad),
        (Standing::Waiting, _) => ("waiting".to_owned(), Tone::Faded),
        (Standing::Unclear, _) => ("unclear".to_owned(), Tone::Bad),
        (Standing::Silent, _) => ("silent".to_owned(), Tone::Faded),
        (Standing::Lagging, Phase::Fetching { done_bytes, total_bytes }) => {
            (format!("lagging: fetching {done_bytes} of {total_bytes} bytes"), Tone::Busy)
        }
        // What it reports is about an older wanted version: it has not seen the newer one.
        (Standing::Lagging, Phase::Live | Phase::Refused { .. } | Phase::Waiting) => {
            ("lagging".to_owned(), Tone::Busy)
        }
        (Standing::Lagging, phase) => (format!("lagging: {phase}"), Tone::Busy),
    }
}

fn summary(model: &ModelView) -> String {
    let mut text = model.model.to_string();
    if let Some(generation) = model.generation {
        let _ = write!(text, ": generation {generation}");
    }
    if let Some(champion) = model.champion {
        let _ = write!(text, ", champion {champion}");
    }
    if let Some(challenger) = &model.challenger {
        let share = percent(challenger.cohort.basis_points);
        let _ = write!(text, ", challenger {} for {share}", challenger.version);
    }
    let _ = write!(text, ": {}", counts(model.counts));
    for problem in &model.problems {
        let _ = write!(text, "; {}", printable(problem));
    }
    text
}

fn counts(counts: Counts) -> String {
    let mut text = format!("{} of {} live", counts.live, counts.of);
    let others = [
        (counts.lagging, "lagging"),
        (counts.refused, "refused"),
        (counts.waiting, "waiting"),
        (counts.unclear, "unclear"),
        (counts.silent, "silent"),
    ];
    for (count, word) in others {
        if count > 0 {
            let _ = write!(text, ", {count} {word}");
        }
    }
    text
}
