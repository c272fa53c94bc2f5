//! What a recovery would do, or did: what is lost by whose word, what is left, what is announced; for people and as JSON.
//!
//! Reads and announces nothing.

use std::fmt::Write as _;

use modelcast::publish::recover::{Place, Recovered, Recovery, Source, Witness};
use modelcast_protocol::{Generation, ModelName, desired::Stamp};
use serde::Serialize;

use crate::printable::{age, printable};

/// Most instances that are listed one by one; `--json` has them all.
const INSTANCES_SHOWN: usize = 20;

/// What became of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Nothing is lost.
    Unchanged,
    /// This is what would be done.
    Planned,
    /// It is done.
    Recovered,
}

/// A recovery as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct RecoveryReport<'a> {
    /// Of which model.
    model: &'a ModelName,
    /// What became of it.
    outcome: Outcome,
    /// What was planned.
    plan: Option<&'a Recovery>,
    /// What is in force because of it.
    #[serde(flatten)]
    recovered: Option<Recovered>,
    /// Who, why, when.
    #[serde(flatten)]
    stamp: Option<&'a Stamp>,
}

impl<'a> RecoveryReport<'a> {
    /// Nothing is lost.
    pub(crate) fn unchanged(model: &'a ModelName) -> Self {
        Self { model, outcome: Outcome::Unchanged, plan: None, recovered: None, stamp: None }
    }

    /// What would be done.
    pub(crate) fn planned(plan: &'a Recovery) -> Self {
        let model = &plan.model;
        Self { model, outcome: Outcome::Planned, plan: Some(plan), recovered: None, stamp: None }
    }

    /// What was done.
    pub(crate) fn recovered(plan: &'a Recovery, recovered: Recovered, stamp: &'a Stamp) -> Self {
        let (recovered, stamp) = (Some(recovered), Some(stamp));
        Self { outcome: Outcome::Recovered, recovered, stamp, ..Self::planned(plan) }
    }

    /// The plan for people.
    pub(crate) fn text(&self, now_unix_ms: u64) -> String {
        let Some(plan) = self.plan else {
            return format!("{}: nothing to recover, nobody has seen more than the log has\n", self.model);
        };
        let mut text = format!("{}: history lost\n", plan.model);
        let mut line = |head: &str, what: &str| {
            let _ = writeln!(text, "  {head:<13} {}", printable(what));
        };
        line("the log", &in_log(plan.log_generation));
        for witness in plan.lost.iter().take(INSTANCES_SHOWN) {
            line(witness.instance.as_str(), &word(witness, now_unix_ms));
        }
        let more = plan.lost.len().saturating_sub(INSTANCES_SHOWN);
        if more > 0 {
            line("", &format!("and {more} more"));
        }
        line("what is left", &plan.source.map_or_else(only_fleet, left));
        if let (Some(first), Some(last)) = (plan.restored.first(), plan.restored.last()) {
            line("to do", &format!("append {} as found", generations(*first, *last)));
        }
        if let Some((first, last)) = plan.announced {
            line("to do", &format!("announce {} anew", generations(first, last)));
        }
        if let Some(champion) = plan.champion {
            line("then", &format!("version {champion} is the champion"));
        }
        for warning in &plan.warnings {
            line("warning", warning);
        }
        text
    }

    /// The result for people, after the plan.
    pub(crate) fn result(&self) -> String {
        let Some(recovered) = self.recovered else { return String::new() };
        let (model, generation) = (self.model, recovered.generation);
        format!(
            "{model}: generation {generation} is in force\nsee it arrive: modelcast status {model} --watch\n"
        )
    }
}

fn in_log(generation: Generation) -> String {
    match generation {
        Generation::ZERO => "has nothing of this model".to_owned(),
        generation => format!("ends at generation {generation}"),
    }
}

fn word(witness: &Witness, now_unix_ms: u64) -> String {
    let serves = witness.served.map_or_else(
        || "serves nothing".to_owned(),
        |served| format!("serves version {} (manifest {})", served.version, served.manifest.short()),
    );
    let said = match now_unix_ms.saturating_sub(witness.at_unix_ms) {
        0..1_000 => "says so now".to_owned(),
        ms => format!("said so {} ago", age(ms)),
    };
    format!("has seen generation {}, {serves}, {said}", witness.generation)
}

fn only_fleet() -> String {
    "no announcement: what instances serve, as far as its manifest is in the blobs topic".to_owned()
}

fn left(source: Source) -> String {
    let place = match source.place {
        Place::Log => "in the log",
        Place::Audit => "in the audit topic",
        Place::Given => "in a file that was given",
    };
    let offset = source.offset.map(|offset| format!(" at offset {offset}")).unwrap_or_default();
    format!("generation {}, {place}{offset}", source.generation)
}

fn generations(first: Generation, last: Generation) -> String {
    if first == last { format!("generation {first}") } else { format!("generations {first} to {last}") }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::{Digest, Version, status::StatusVersion};

    use super::*;

    #[test]
    fn an_instances_word_says_what_it_saw_what_it_serves_and_when() {
        let served = StatusVersion { version: Version::FIRST, manifest: Digest::of(b"manifest") };
        let (generation, instance) = (Generation::new(12), "app-1".parse().unwrap());
        let at_unix_ms = 1_000;
        let witness = Witness { instance, generation, announcement: None, served: Some(served), at_unix_ms };
        let short = served.manifest.short();
        for (now, witness, says) in [
            (
                1_500,
                witness.clone(),
                format!("has seen generation 12, serves version 1 (manifest {short}), says so now"),
            ),
            (
                8_000,
                Witness { served: None, ..witness },
                "has seen generation 12, serves nothing, said so 7 s ago".to_owned(),
            ),
        ] {
            assert_eq!(word(&witness, now), says);
        }
    }

    #[test]
    fn places_and_generations_read_well() {
        let announcement = Digest::of(b"x");
        let source = |place, offset| Source { place, offset, generation: Generation::new(12), announcement };
        assert_eq!(left(source(Place::Audit, Some(41))), "generation 12, in the audit topic at offset 41");
        assert_eq!(left(source(Place::Given, None)), "generation 12, in a file that was given");
        assert_eq!(generations(Generation::new(4), Generation::new(4)), "generation 4");
        assert_eq!(generations(Generation::new(4), Generation::new(6)), "generations 4 to 6");
        assert_eq!(in_log(Generation::ZERO), "has nothing of this model");
    }
}
