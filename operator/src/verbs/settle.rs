//! `modelcast settle`: what became of an announcement whose outcome was unknown.
//!
//! Judged by the log alone, and so as often as one likes; announces nothing.

use std::fmt::Write as _;

use modelcast_protocol::{
    Digest, Generation, ModelName,
    fold::InForce,
    outcome::{Verdict, judge},
};
use serde::Serialize;

use crate::{
    cli::SettleArgs,
    failure::{Exit, Failure},
    printable::printable,
    session,
    settings::Settings,
    stdout,
};

/// The verdict as it is printed.
#[derive(Debug, Serialize)]
struct Settled {
    model: ModelName,
    generation: Generation,
    digest: Digest,
    outcome: &'static str,
    /// The announcement that took force instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Digest>,
    /// The generation in force now.
    generation_in_force: Generation,
    #[serde(skip)]
    detail: String,
}

/// Settles.
pub(super) async fn run(settings: &Settings, args: &SettleArgs) -> Result<Exit, Failure> {
    let in_force = session::catalog(settings).await?.in_force(&args.model).await?;
    let (exit, settled) = settle(args, in_force.as_ref());
    if args.json { stdout::json(&settled) } else { stdout::text(&settled.text()) }?;
    Ok(exit)
}

fn settle(args: &SettleArgs, in_force: Option<&InForce>) -> (Exit, Settled) {
    let now = in_force.map_or(Generation::ZERO, InForce::generation);
    let (exit, outcome, by, detail) = match judge(args.digest, args.generation, in_force) {
        Verdict::Committed if now == args.generation => {
            (Exit::Done, "committed", None, "it is in force".to_owned())
        }
        Verdict::Committed => {
            (Exit::Done, "committed", None, format!("it took force; generation {now} is in force now"))
        }
        Verdict::Conflict { by } => {
            (Exit::Conflict, "conflict", Some(by), format!("{} took force instead", theirs(by, in_force)))
        }
        Verdict::Undecided => (Exit::Unknown, "undecided", None, undecided(args.generation, now)),
    };
    let settled = Settled {
        model: args.model.clone(),
        generation: args.generation,
        digest: args.digest,
        outcome,
        by,
        generation_in_force: now,
        detail,
    };
    (exit, settled)
}

fn theirs(by: Digest, in_force: Option<&InForce>) -> String {
    let announcement = in_force.map(|in_force| &in_force.announcement);
    let state = announcement.filter(|it| it.digest == by).and_then(|it| it.body.as_ref().ok());
    match state {
        Some(state) => format!("\"{}\" by {} ({})", state.summary, state.stamp.author, state.stamp.reason),
        None => format!("announcement {by}"),
    }
}

fn undecided(generation: Generation, now: Generation) -> String {
    if generation > now {
        format!(
            "generation {generation} is still open, {now} is in force: it did not arrive, or not yet. \
             Run the change again if it is still wanted: one of the two will win"
        )
    } else {
        format!("generation {generation} is longer ago than the announcement of generation {now} remembers")
    }
}

impl Settled {
    fn text(&self) -> String {
        let mut text = format!("{}: {} at generation {}\n", self.model, self.outcome, self.generation);
        let _ = writeln!(text, "  {}", printable(&self.detail));
        text
    }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::{
        Namespace,
        announcement::{self, Frame},
        change::{Change, NewRole, NewVersion},
        desired::Stamp,
        key::{SigningKey, TrustedKeys},
    };

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    /// An announcement at generation 70 that remembers generations 68 and 69.
    fn in_force() -> InForce {
        let key = SigningKey::from_seed(&[7; 32]);
        let new = NewVersion {
            manifest: digest(0),
            manifest_offset: 0,
            artifact: digest(0),
            inline_manifest: None,
            inline_artifact: None,
            role: NewRole::Champion,
        };
        let stamp = Stamp { author: "ada".into(), reason: "why".into(), at_unix_ms: 0 };
        let state = Change::Publish(new).apply(None, &stamp, [0; 16]).unwrap();
        let frame = Frame {
            namespace: Namespace::parse("test").unwrap(),
            model: ModelName::parse("house").unwrap(),
            generation: Generation::new(70),
            recent: vec![digest(68), digest(69)],
        };
        let bytes = frame.seal(&state, &key).unwrap().bytes;
        let announcement = announcement::open(&bytes, &TrustedKeys::new([key.public()]).unwrap()).unwrap();
        InForce { announcement, offset: 0, bytes }
    }

    #[test]
    fn every_outcome_is_told_with_its_exit_code() {
        let in_force = in_force();
        for (generation, digest, exit, outcome, says) in [
            (70, in_force.announcement.digest, Exit::Done, "committed", "it is in force"),
            (69, digest(69), Exit::Done, "committed", "generation 70 is in force now"),
            (69, digest(1), Exit::Conflict, "conflict", "took force instead"),
            (70, digest(1), Exit::Conflict, "conflict", "\"publish version 1\" by ada (why)"),
            (71, digest(1), Exit::Unknown, "undecided", "still open"),
            (12, digest(1), Exit::Unknown, "undecided", "longer ago"),
        ] {
            let model = ModelName::parse("house").unwrap();
            let args = SettleArgs { model, generation: Generation::new(generation), digest, json: false };
            let (found, settled) = settle(&args, Some(&in_force));
            assert_eq!((found, settled.outcome), (exit, outcome), "{generation}");
            assert!(settled.text().contains(says), "{}", settled.text());
        }
    }
}
