//! Waits until enough of the fleet runs what was published.
//!
//! Looks at the log and the fleet again and again; never at messages in between. Changes nothing.
//!
//! # Invariants
//! * An instance counts as live when it serves what it should, at the generation waited for or a later one; a pinned
//!   instance too, on what it is pinned to.
//! * Silent instances are listed and not waited for.

use std::time::Duration;

use modelcast::{
    Catalog, KafkaError,
    fleet::{Fleet, Standing, standing},
    settings::KafkaSettings,
};
use modelcast_protocol::{Digest, Generation, desired::DesiredState, name::ModelName, status::Status};
use serde::Serialize;
use tokio::time::Instant;

/// How long to rest between two looks.
const REST: Duration = Duration::from_millis(200);

/// What to wait for.
#[derive(Debug, Clone)]
pub struct Goal {
    /// Of which model.
    pub model: ModelName,
    /// The generation to be reached.
    pub generation: Generation,
    /// The manifest that it made the champion.
    pub manifest: Digest,
    /// The part of the instances that must be live, from 0 to 1.
    pub share: f64,
    /// For how long at most.
    pub timeout: Duration,
}

/// What the fleet said last.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Waited {
    /// Instances that run what they should.
    pub live: usize,
    /// Instances that are not silent.
    pub of: usize,
    /// Who refused it, at which stage and why.
    pub refused: Vec<Refused>,
    /// Who gave no sign of life lately.
    pub silent: Vec<String>,
    /// Who is on the way.
    pub lagging: Vec<String>,
    /// The later announcement that made something else the champion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<Generation>,
    /// Whether the goal was reached.
    pub reached: bool,
}

/// One instance that refused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Which.
    pub instance: String,
    /// By which check.
    pub stage: String,
    /// For what reason.
    pub cause: String,
}

/// Waits for a goal; tells `on_change` whenever the fleet says something else.
///
/// Ends early when the goal can no longer be reached: too many refused, or something else was announced.
///
/// # Errors
/// [`KafkaError`] when log or fleet cannot be read, which is not tried again.
pub async fn wait(
    kafka: &KafkaSettings,
    catalog: &Catalog,
    goal: &Goal,
    on_change: impl Fn(&Waited),
) -> Result<Waited, KafkaError> {
    let deadline = Instant::now() + goal.timeout;
    let mut last = None;
    loop {
        let in_force = catalog.in_force(&goal.model).await?;
        let fleet = Fleet::read(kafka).await?;
        let generation = in_force.as_ref().map_or(Generation::ZERO, |in_force| in_force.generation());
        let desired = in_force.as_ref().and_then(|in_force| in_force.announcement.body.as_ref().ok());
        let waited = judge(goal, fleet.of(&goal.model), generation, desired);
        if last.as_ref() != Some(&waited) {
            on_change(&waited);
        }
        if waited.reached || waited.is_hopeless(goal.share) || Instant::now() >= deadline {
            return Ok(waited);
        }
        last = Some(waited);
        tokio::time::sleep(REST).await;
    }
}

/// What statuses say about a goal, with the desired state that is in force.
pub fn judge<'a>(
    goal: &Goal,
    statuses: impl Iterator<Item = &'a Status>,
    generation: Generation,
    desired: Option<&DesiredState>,
) -> Waited {
    let mut waited = Waited::default();
    let champion = desired.and_then(|desired| desired.entry(desired.champion)).map(|entry| entry.manifest);
    if generation > goal.generation && champion != Some(goal.manifest) {
        waited.superseded_by = Some(generation);
    }
    for status in statuses {
        let instance = status.instance.to_string();
        match standing(status, desired) {
            Standing::Silent { .. } => {
                waited.silent.push(instance);
                continue;
            }
            Standing::Live if status.generation_seen >= goal.generation => waited.live += 1,
            Standing::Live | Standing::Lagging => waited.lagging.push(instance),
            Standing::Refused { stage, cause } => {
                waited.refused.push(Refused { instance, stage: format!("{stage:?}").to_lowercase(), cause });
            }
        }
        waited.of += 1;
    }
    waited.reached =
        waited.superseded_by.is_none() && waited.of > 0 && waited.live >= needed(goal.share, waited.of);
    waited
}

impl Waited {
    /// Whether waiting longer is of no use. An instance that refused tries again only when an operator asks.
    fn is_hopeless(&self, share: f64) -> bool {
        let possible = self.of.saturating_sub(self.refused.len());
        self.superseded_by.is_some() || (!self.refused.is_empty() && possible < needed(share, self.of))
    }

    /// What kept the goal from being reached, in one sentence.
    #[must_use]
    pub fn finding(&self) -> String {
        if let Some(generation) = self.superseded_by {
            return format!("generation {generation} made something else the champion meanwhile");
        }
        if self.of == 0 {
            return "no instance of this model reports".to_owned();
        }
        let mut finding = format!("{} of {} instances are live", self.live, self.of);
        for refused in &self.refused {
            finding.push_str(&format!(
                "; {} refused it at {}: {}",
                refused.instance, refused.stage, refused.cause
            ));
        }
        for (word, instances) in [("lagging", &self.lagging), ("silent", &self.silent)] {
            if !instances.is_empty() {
                finding.push_str(&format!("; {word}: {}", instances.join(", ")));
            }
        }
        finding
    }
}

/// The least number of instances that is a share of `of`.
fn needed(share: f64, of: usize) -> usize {
    let wanted = share * crate::design::count(of) - 1e-9; // 0.95 * 20 is a little above 19
    (0..=of).find(|&live| crate::design::count(live) >= wanted).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::{
        Version,
        change::{Change, NewRole, NewVersion},
        desired::{Labels, Stamp},
        name::InstanceName,
        status::{Phase, Served, Stage, StatusVersion, Traffic},
    };

    use super::*;

    const GENERATION: u64 = 2;

    fn manifest(version: u64) -> Digest {
        Digest::of(&version.to_be_bytes())
    }

    /// Two versions; the second is the champion.
    fn desired() -> DesiredState {
        let stamp = Stamp { author: "ada".into(), reason: "because".into(), at_unix_ms: 1 };
        let publish = |version| {
            Change::Publish(NewVersion {
                manifest: manifest(version),
                manifest_offset: 0,
                artifact: manifest(version),
                inline_manifest: None,
                inline_artifact: None,
                role: NewRole::Champion,
            })
        };
        let first = publish(1).apply(None, &stamp, [0; 16]).unwrap();
        publish(2).apply(Some(&first), &stamp, [1; 16]).unwrap()
    }

    fn status(instance: &str, serves: u64, seen: u64) -> Status {
        let version = |number| Version::new(number).unwrap();
        Status {
            v: 1,
            model: ModelName::parse("price").unwrap(),
            instance: InstanceName::parse(instance).unwrap(),
            boot_id: "boot".into(),
            sequence: 1,
            at_unix_ms: modelcast::clock::unix_ms(),
            labels: Labels::default(),
            phase: Phase::Live,
            wanted: Some(StatusVersion { version: version(2), manifest: manifest(2) }),
            served: Some(Served {
                version: version(serves),
                manifest: manifest(serves),
                generation: Generation::new(seen),
                since_unix_ms: 0,
            }),
            generation_seen: Generation::new(seen),
            announcement_seen: None,
            warnings: Vec::new(),
            traffic: Traffic::default(),
        }
    }

    fn goal(share: f64) -> Goal {
        Goal {
            model: ModelName::parse("price").unwrap(),
            generation: Generation::new(GENERATION),
            manifest: manifest(2),
            share,
            timeout: Duration::from_secs(1),
        }
    }

    fn judged(share: f64, statuses: &[Status]) -> Waited {
        judge(&goal(share), statuses.iter(), Generation::new(GENERATION), Some(&desired()))
    }

    #[test]
    fn the_goal_is_a_share_of_those_that_are_not_silent() {
        let silent = Status { at_unix_ms: 1, ..status("c", 1, 1) };
        let fleet = [status("a", 2, 2), status("b", 1, 1), silent];
        let all = judged(1.0, &fleet);
        assert_eq!((all.live, all.of, all.reached), (1, 2, false));
        assert_eq!(
            (all.lagging.as_slice(), all.silent.as_slice()),
            (&["b".to_owned()][..], &["c".to_owned()][..])
        );
        assert!(judged(0.5, &fleet).reached);
        assert!(!judged(0.5, &[]).reached, "nobody is not everybody");
    }

    #[test]
    fn too_many_refusals_end_the_wait_and_say_why() {
        let phase = Phase::Refused { stage: Stage::Golden, cause: "row 3".into() };
        let fleet = [status("a", 2, 2), Status { phase, ..status("b", 1, 2) }];
        assert!(judged(1.0, &fleet).is_hopeless(1.0));
        assert!(!judged(0.5, &fleet).is_hopeless(0.5));
        let finding = judged(1.0, &fleet).finding();
        assert!(finding.contains("b refused it at golden: row 3"), "{finding}");
    }

    #[test]
    fn a_later_champion_ends_the_wait() {
        let other = Goal { manifest: manifest(1), generation: Generation::new(1), ..goal(1.0) };
        let waited = judge(&other, [status("a", 2, 2)].iter(), Generation::new(2), Some(&desired()));
        assert_eq!((waited.superseded_by, waited.reached), (Some(Generation::new(2)), false));
        assert!(waited.is_hopeless(1.0));
    }

    #[test]
    fn shares_round_up_to_whole_instances() {
        for (share, of, expected) in [(0.95, 20, 19), (0.95, 10, 10), (0.5, 3, 2), (1.0, 7, 7), (0.01, 2, 1)]
        {
            assert_eq!(needed(share, of), expected, "{share} of {of}");
        }
    }
}
