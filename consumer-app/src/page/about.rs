//! What a person may want to know of the version that answers: how well it did, and where it came from.

use std::fmt::Write as _;

use jiff::Timestamp;
use modelcast::{LoadedModel, Origin};
use modelcast_protocol::schema::{Output, OutputKind};

use super::html::{Escaped, figure, grouped_count, humanized};

/// Most metrics and parameters that are shown.
const ENTRIES_MAX: usize = 24;

/// The panel; the script replaces it when another version goes live.
pub(super) fn render(model: &LoadedModel) -> String {
    let manifest = model.manifest();
    let lineage = &manifest.lineage;
    let mut list = String::new();
    // Writing to a string does not fail.
    let mut entry = |name: &str, value: &str| {
        let _ = write!(list, "<div><dt>{}</dt><dd>{}</dd></div>", Escaped(name), Escaped(value));
    };
    for (name, value) in manifest.metrics.iter().take(ENTRIES_MAX) {
        entry(&metric_name(name), &format!("{}{}", figure(*value), metric_unit(name, model)));
    }
    if !lineage.data_name.is_empty() {
        entry("Data", &lineage.data_name);
    }
    if lineage.train_rows > 0 {
        entry("Trained on", &format!("{} rows", grouped_count(lineage.train_rows)));
    }
    if lineage.test_rows > 0 {
        entry("Measured on", &format!("{} rows", grouped_count(lineage.test_rows)));
    }
    if lineage.trained_at_unix_ms > 0 {
        entry("Trained at", &time(lineage.trained_at_unix_ms));
    }
    entry("Format", &manifest.format);
    entry("Artifact", &format!("{} bytes", grouped_count(manifest.size_bytes)));
    entry("Generation", &model.generation().to_string());
    if model.origin() == Origin::Embedded {
        entry("Origin", "embedded in this application, not from Kafka");
    }
    format!(
        "<details id=\"about\" class=\"card about\" open><summary>About this version</summary>\
         <dl>{list}</dl><p class=\"digest\"><code>{}</code></p></details>",
        model.digest()
    )
}

/// A point in time for people; the script turns it into their own zone.
pub(crate) fn time(unix_ms: u64) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    timestamp.map_or_else(|| "–".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Short metric names are abbreviations.
fn metric_name(name: &str) -> String {
    match name {
        "r2" => "R²".to_owned(),
        short if short.len() <= 4 => short.to_uppercase(),
        long => humanized(long),
    }
}

/// The unit of an error, where it is that of the only output.
fn metric_unit(name: &str, model: &LoadedModel) -> String {
    match (name, model.schema().outputs.as_slice()) {
        ("rmse" | "mae", [Output { kind: OutputKind::Numeric { unit: Some(unit) }, .. }]) => {
            format!(" {unit}")
        }
        _ => String::new(),
    }
}
