//! The publishers and subscribers of a run, and what happens to them.
//!
//! # Invariants
//! * A process begins when the one before it of the same name is gone.
//! * One that ends by itself ends the run: nobody asked it to.
//! * All are started by the thread that owns this; they end with that thread.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::child::{Child, ChildArgs};
use super::storm::Storm;

/// A publisher that nobody disturbs ends when what it does is decided: within its patience, and some.
const PUBLISHER_END: Duration = Duration::from_secs(150);
const SUBSCRIBER_END: Duration = Duration::from_secs(15);

/// What a member is right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Running,
    Frozen { until: Instant },
    Ending { until: Instant, down: Duration },
    Down { until: Instant },
}

struct Member {
    role: &'static str,
    args: ChildArgs,
    child: Option<Child>,
    condition: Condition,
}

/// All processes of a run.
pub(crate) struct Processes {
    members: Vec<Member>,
    random: StdRng,
    next: Instant,
}

/// The role that publishes.
pub(crate) const PUBLISHER: &str = "publisher";
/// The role that subscribes.
pub(crate) const SUBSCRIBER: &str = "subscriber";

impl Processes {
    pub(crate) fn new(random: StdRng) -> Self {
        Self { members: Vec::new(), random, next: Instant::now() }
    }

    /// Starts the first process of a name.
    pub(crate) fn start(&mut self, role: &'static str, args: ChildArgs) -> anyhow::Result<()> {
        let child = Some(Child::start(role, &args)?);
        self.members.push(Member { role, args, child, condition: Condition::Running });
        Ok(())
    }

    /// Does what is due: begins and ends faults.
    pub(crate) fn tick(&mut self, storm: &Storm) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.tick(storm)?;
        }
        if storm.left().is_none() || Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + Duration::from_millis(self.random.random_range(800..6_000));
        let place = self.random.random_range(0..self.members.len());
        let lasts = Duration::from_millis(self.random.random_range(100..7_000));
        let kind = self.random.random_range(0..10);
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        if member.condition != Condition::Running {
            return Ok(());
        }
        match kind {
            0..5 => member.kill(storm, lasts),
            5..8 => member.freeze(storm, lasts),
            _ => member.stop(storm, lasts),
        }
    }

    /// Ends all faults.
    pub(crate) fn calm(&mut self, storm: &Storm) -> anyhow::Result<()> {
        let until = Instant::now() + PUBLISHER_END;
        while self.members.iter().any(|member| member.condition != Condition::Running) {
            ensure!(Instant::now() < until, "a process does not end");
            for member in &mut self.members {
                member.hurry();
                member.tick(storm)?;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks those of a role to end, and waits for it.
    pub(crate) fn end(&mut self, role: &str) -> anyhow::Result<()> {
        let within = if role == PUBLISHER { PUBLISHER_END } else { SUBSCRIBER_END };
        let until = Instant::now() + within;
        let members = self.members.iter_mut().filter(|member| member.role == role);
        let mut ending: Vec<_> =
            members.filter_map(|member| member.child.as_mut().map(|of| (&member.args, of))).collect();
        ending.iter_mut().for_each(|(_, child)| child.ask_to_end());
        while !ending.is_empty() {
            let mut left = Vec::new();
            for (args, child) in ending {
                match child.ended()? {
                    Some(status) => ensure!(status.success(), "{} ended with {status}", args.process()),
                    None => left.push((args, child)),
                }
            }
            ending = left;
            if let Some((args, _)) = ending.first() {
                ensure!(Instant::now() < until, "{} does not end within {within:?}", args.process());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        self.members.retain(|member| member.role != role);
        Ok(())
    }

    /// The names of a role.
    pub(crate) fn names(&self, role: &str) -> Vec<String> {
        let members = self.members.iter().filter(|member| member.role == role);
        members.map(|member| member.args.name.clone()).collect()
    }
}

impl Member {
    fn tick(&mut self, storm: &Storm) -> anyhow::Result<()> {
        let now = Instant::now();
        let ended = self.child.as_mut().map(Child::ended).transpose()?.flatten();
        match self.condition {
            Condition::Running => {
                if let Some(status) = ended {
                    let (process, folder) = (self.args.process(), self.args.folder.display());
                    bail!("{process} ended by itself with {status}; see {folder}/{process}.log");
                }
            }
            Condition::Frozen { until } if now >= until => {
                self.child.as_ref().map(Child::thaw).transpose()?;
                self.calmed(storm);
            }
            Condition::Ending { down, .. } if ended.is_some() => {
                self.child = None;
                self.condition = Condition::Down { until: now + down };
            }
            Condition::Ending { until, .. } => {
                // Whoever asked somebody to end does not wait for ever.
                if now >= until {
                    self.child.as_mut().map(Child::kill).into_iter().for_each(drop);
                }
            }
            Condition::Down { until } if now >= until => {
                self.args.boot += 1;
                self.child = Some(Child::start(self.role, &self.args)?);
                self.calmed(storm);
            }
            Condition::Frozen { .. } | Condition::Down { .. } => {}
        }
        Ok(())
    }

    fn kill(&mut self, storm: &Storm, lasts: Duration) -> anyhow::Result<()> {
        storm.strikes(&format!("kill-{}", self.role), &self.args.name, &format!("down for {lasts:?}"))?;
        if let Some(mut child) = self.child.take() {
            child.kill();
        }
        self.condition = Condition::Down { until: Instant::now() + lasts };
        Ok(())
    }

    fn freeze(&mut self, storm: &Storm, lasts: Duration) -> anyhow::Result<()> {
        storm.strikes(&format!("freeze-{}", self.role), &self.args.name, &format!("for {lasts:?}"))?;
        self.child.as_ref().map(Child::freeze).transpose()?;
        self.condition = Condition::Frozen { until: Instant::now() + lasts };
        Ok(())
    }

    fn stop(&mut self, storm: &Storm, down: Duration) -> anyhow::Result<()> {
        storm.strikes(&format!("restart-{}", self.role), &self.args.name, &format!("down for {down:?}"))?;
        if let Some(child) = &mut self.child {
            child.ask_to_end();
        }
        let within = if self.role == PUBLISHER { PUBLISHER_END } else { SUBSCRIBER_END };
        self.condition = Condition::Ending { until: Instant::now() + within, down };
        Ok(())
    }

    /// What is waited for is due now.
    fn hurry(&mut self) {
        match &mut self.condition {
            Condition::Frozen { until } | Condition::Down { until } => *until = Instant::now(),
            Condition::Ending { down, .. } => *down = Duration::ZERO,
            Condition::Running => {}
        }
    }

    fn calmed(&mut self, storm: &Storm) {
        self.condition = Condition::Running;
        storm.ended(&self.args.name);
    }
}
