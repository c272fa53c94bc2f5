//! The phases of each instance, told as they happen.
//!
//! Reads the apps' server-sent events on threads of its own. Only for showing: whether a version is live is asked
//! of `/status`, since a stream tells what changed and not what is.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;

use super::interrupt::Interrupt;
use super::telling::Teller;

const RETRY: Duration = Duration::from_millis(500);

/// Tells every phase of `model` on the app at `url` until the demo ends. The thread is not waited for: it blocks
/// in a read that ends with the app.
pub(super) fn follow(instance: &str, url: &str, model: &str, teller: &Teller, interrupt: &Interrupt) {
    let (instance, model) = (instance.to_owned(), model.to_owned());
    let url = format!("{url}/models/{model}/events");
    let (teller, interrupt) = (teller.clone(), interrupt.clone());
    std::thread::spawn(move || {
        let mut last = String::new();
        loop {
            _ = read(&url, |data| {
                if let Some(phase) = phase(data, &model).filter(|phase| *phase != last) {
                    teller.event(&format!("{instance}  {model}: {phase}"));
                    last = phase;
                }
            });
            if interrupt.wait(RETRY) {
                return;
            }
        }
    });
}

/// Calls `each` with the data of every event until the stream ends.
fn read(url: &str, mut each: impl FnMut(&str)) -> anyhow::Result<()> {
    let response = ureq::get(url).call()?;
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        if let Some(data) = line?.strip_prefix("data:") {
            each(data.trim());
        }
    }
    Ok(())
}

/// What the state of a model says, in words.
fn phase(data: &str, model: &str) -> Option<String> {
    let data: Value = serde_json::from_str(data).ok()?;
    let is_wanted = |state: &&Value| state.get("model").and_then(Value::as_str) == Some(model);
    let state = match data.get("models") {
        Some(models) => models.as_array()?.iter().find(is_wanted)?,
        None => &data,
    };
    let phase = state.get("phase")?.as_str()?;
    // The detail is a phrase of its own: `fetching 3 of 9 bytes`, `live`.
    let detail = state.get("phase_detail").and_then(Value::as_str).unwrap_or_default();
    let detail = detail.strip_prefix(phase).unwrap_or(detail).trim();
    let version = |key: &str| state.get(key)?.get("version")?.as_u64();
    let subject = if phase == "live" { version("served") } else { version("wanted") };
    let subject = subject.map(|version| format!(" version {version}")).unwrap_or_default();
    Some(if detail.is_empty() { format!("{phase}{subject}") } else { format!("{phase}{subject} ({detail})") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_names_the_version_it_is_about() {
        let fetching = r#"{"model":"m","phase":"fetching","phase_detail":"fetching 3 of 9 bytes","wanted":{"version":2},"served":{"version":1}}"#;
        assert_eq!(phase(fetching, "m").as_deref(), Some("fetching version 2 (3 of 9 bytes)"));
        let live = r#"{"models":[{"model":"x","phase":"seen"},{"model":"m","phase":"live","phase_detail":"live","served":{"version":2}}]}"#;
        assert_eq!(phase(live, "m").as_deref(), Some("live version 2"));
        assert_eq!(phase(r#"{"models":[]}"#, "m"), None);
        assert_eq!(phase("no JSON", "m"), None);
    }
}
