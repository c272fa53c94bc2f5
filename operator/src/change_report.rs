//! What a change did: generations, what differs, who and why; for people and as JSON.
//!
//! Compares two desired states; reads and announces nothing.

use std::fmt::Write as _;

use modelcast::publish::Conflict;
use modelcast_protocol::{
    Digest, Generation, ModelName, Version,
    desired::{Challenger, DesiredState, Pin, PinTarget, Stamp},
};
use serde::Serialize;

use crate::printable::{percent, printable, time};

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It took force.
    Committed,
    /// The state was so already; nothing was announced.
    Unchanged,
}

/// A change as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeReport {
    /// Of which model.
    pub(crate) model: ModelName,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// The generation it was computed from.
    pub(crate) previous_generation: Generation,
    /// The generation in force because of it.
    pub(crate) generation: Generation,
    /// Digest of the announcement at `generation`.
    pub(crate) digest: Digest,
    /// In one line.
    pub(crate) summary: String,
    /// Each thing that differs.
    pub(crate) changes: Vec<String>,
    /// Changes of others that took force while this one was tried, oldest first.
    pub(crate) overtaken_by: Vec<Conflict>,
    /// What everybody runs now.
    pub(crate) champion: Option<Version>,
    /// Who, why, when.
    #[serde(flatten)]
    pub(crate) stamp: Stamp,
}

impl ChangeReport {
    /// The text for people.
    pub(crate) fn text(&self) -> String {
        let mut text = match self.outcome {
            Outcome::Committed => {
                format!("{}: generation {} → {}\n", self.model, self.previous_generation, self.generation)
            }
            Outcome::Unchanged => {
                format!("{}: generation {}, nothing announced\n", self.model, self.generation)
            }
        };
        for other in &self.overtaken_by {
            let (by, summary) = (printable(&other.by), printable(&other.summary));
            let _ = writeln!(text, "  generation {} went to {by}: {summary}", other.generation);
        }
        let _ = writeln!(text, "  {}", printable(&self.summary));
        for change in &self.changes {
            let _ = writeln!(text, "    {}", printable(change));
        }
        if self.outcome == Outcome::Committed {
            let _ = writeln!(text, "  by   {}", printable(&self.stamp.author));
            let _ = writeln!(text, "  why  {}", printable(&self.stamp.reason));
            let _ = writeln!(text, "  at   {} UTC", time(self.stamp.at_unix_ms));
            let _ = writeln!(text, "see who runs it: modelcast status {}", self.model);
        }
        text
    }
}

/// Each thing in which two states of a model differ.
pub(crate) fn differences(old: &DesiredState, new: &DesiredState) -> Vec<String> {
    let mut lines = Vec::new();
    if old.champion != new.champion {
        lines.push(format!("champion: {} → {}", old.champion, new.champion));
    }
    if old.challenger != new.challenger {
        let (old, new) = (challenger(old.challenger.as_ref()), challenger(new.challenger.as_ref()));
        lines.push(format!("challenger: {old} → {new}"));
    }
    for pin in &new.pins {
        let held = pin_of(old, &pin.target).map(|pin| pin.version);
        if held != Some(pin.version) {
            let held = held.map_or_else(|| "not pinned".to_owned(), |version| version.to_string());
            lines.push(format!("{}: {held} → pinned to {}", pin.target, pin.version));
        }
    }
    for pin in &old.pins {
        if pin_of(new, &pin.target).is_none() {
            lines.push(format!("{}: pinned to {} → not pinned", pin.target, pin.version));
        }
    }
    for version in quarantined(new).filter(|version| !old.is_quarantined(*version)) {
        lines.push(format!("version {version}: quarantined"));
    }
    for version in quarantined(old).filter(|version| !new.is_quarantined(*version)) {
        lines.push(format!("version {version}: allowed again"));
    }
    lines
}

fn quarantined(state: &DesiredState) -> impl Iterator<Item = Version> {
    state.quarantine.iter().map(|quarantined| quarantined.version)
}

fn pin_of<'a>(state: &'a DesiredState, target: &PinTarget) -> Option<&'a Pin> {
    state.pins.iter().find(|pin| pin.target == *target)
}

fn challenger(challenger: Option<&Challenger>) -> String {
    match challenger {
        None => "none".to_owned(),
        Some(challenger) => {
            format!("{} for {}", challenger.version, percent(challenger.cohort.basis_points))
        }
    }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::{
        InstanceName,
        change::{Change, LeftVersion, NewRole, NewVersion},
    };

    use super::*;

    fn version(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    fn stamp() -> Stamp {
        Stamp { author: "ada".into(), reason: "errors\nup".into(), at_unix_ms: 0 }
    }

    fn after(state: Option<&DesiredState>, change: &Change) -> DesiredState {
        change.apply(state, &stamp(), [0; 16]).unwrap()
    }

    fn published(count: u8) -> DesiredState {
        let mut state = None;
        for number in 1..=count {
            let digest = Digest::of(&[number]);
            let new = NewVersion {
                manifest: digest,
                manifest_offset: 0,
                artifact: digest,
                inline_manifest: None,
                inline_artifact: None,
                role: NewRole::Champion,
            };
            state = Some(after(state.as_ref(), &Change::Publish(new)));
        }
        state.unwrap()
    }

    #[test]
    fn every_operators_change_is_spelt_out() {
        let instance = PinTarget::Instance(InstanceName::parse("app-1").unwrap());
        let pin = |number| Change::Pin { target: instance.clone(), version: version(number) };
        let mut state = published(3);
        for (change, lines) in [
            (
                Change::Rollback { to: None, left: LeftVersion::Quarantine },
                &["champion: 3 → 2", "version 3: quarantined"][..],
            ),
            (Change::Release { version: version(3) }, &["version 3: allowed again"]),
            (pin(1), &["instance app-1: not pinned → pinned to 1"]),
            (pin(3), &["instance app-1: 1 → pinned to 3"]),
            (Change::Unpin { target: instance.clone() }, &["instance app-1: pinned to 3 → not pinned"]),
            (
                Change::Quarantine { version: version(2), instead: Some(version(3)) },
                &["champion: 2 → 3", "version 2: quarantined"],
            ),
        ] {
            let next = after(Some(&state), &change);
            assert_eq!(differences(&state, &next), lines);
            state = next;
        }
        assert!(differences(&state, &state).is_empty());
    }

    #[test]
    fn a_report_names_generations_author_and_reason_one_a_line() {
        let report = ChangeReport {
            model: ModelName::parse("house").unwrap(),
            outcome: Outcome::Committed,
            previous_generation: Generation::new(7),
            generation: Generation::new(8),
            digest: Digest::of(b"x"),
            summary: "roll back from version 3 to 2".into(),
            changes: vec!["champion: 3 → 2".into()],
            overtaken_by: Vec::new(),
            champion: Some(version(2)),
            stamp: stamp(),
        };
        let text = report.text();
        for part in ["generation 7 → 8", "champion: 3 → 2", "by   ada", "why  errors\u{fffd}up"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["outcome"], &json["generation"]), (&"committed".into(), &8.into()));
        assert_eq!((&json["author"], &json["previous_generation"]), (&"ada".into(), &7.into()));
        assert!(json["digest"].as_str().unwrap().starts_with("blake3:"));
    }
}
