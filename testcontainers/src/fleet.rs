//! Several instances of one application: subscribers in this process, or child processes.
//!
//! What they report is read with [`modelcast::fleet::Fleet`]; this one starts and ends them.
//!
//! # Invariants
//! * The names are `<stem>-1`, `<stem>-2` and so on: two fleets on one stage have two stems.
//! * Processes end with the fleet.

use std::process::Command;

use modelcast::subscribe::SubscriberBuilder;
use modelcast::{SubscribeError, Subscriber};

use crate::process::Process;
use crate::stage::{Stage, StageError};

/// Instances with their names; `M` is a [`Subscriber`] or a [`Process`].
pub struct Fleet<M> {
    members: Vec<(String, M)>,
}

/// Why a fleet does not start. What was started of it is ended.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The stage has no place for it.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A subscriber does not start.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// A process does not start.
    #[error("cannot start {instance}")]
    Process {
        /// Which instance.
        instance: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Fleet<Subscriber> {
    /// Starts `count` subscribers in this process; `follow` names the models of each.
    ///
    /// # Errors
    /// [`FleetError::Stage`], [`FleetError::Subscribe`].
    ///
    /// # Example
    /// ```no_run
    /// # use modelcast::admission::Policy;
    /// # use modelcast_testcontainers::{Fleet, Kafka, Stage};
    /// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
    /// let stage = Stage::on(Kafka::shared(), "ten", &["price"]).await?;
    /// let price: modelcast::protocol::ModelName = "price".parse()?;
    /// let fleet = Fleet::in_process(&stage, "app", 10, |one| one.model(price.clone(), Policy::standard())).await?;
    /// # Ok(()) }
    /// ```
    pub async fn in_process(
        stage: &Stage,
        stem: &str,
        count: usize,
        follow: impl Fn(SubscriberBuilder) -> SubscriberBuilder,
    ) -> Result<Self, FleetError> {
        let mut members = Vec::new();
        for name in names(stem, count) {
            let subscriber = follow(stage.subscriber(&name)?).start().await?;
            members.push((name, subscriber));
        }
        Ok(Self { members })
    }

    /// Ends all of them in an orderly way; they withdraw their reports.
    pub async fn shutdown(self) {
        for (_, subscriber) in self.members {
            subscriber.shutdown().await;
        }
    }
}

impl Fleet<Process> {
    /// Starts `count` processes, each by the command that is made for its name.
    /// [`bound_command`](crate::bound_command) makes one that outlives no test.
    ///
    /// # Errors
    /// [`FleetError::Process`].
    pub fn processes(
        stem: &str,
        count: usize,
        mut command: impl FnMut(&str) -> Command,
    ) -> Result<Self, FleetError> {
        let start = |instance: String| match Process::start(&mut command(&instance)) {
            Ok(process) => Ok((instance, process)),
            Err(source) => Err(FleetError::Process { instance, source }),
        };
        Ok(Self { members: names(stem, count).map(start).collect::<Result<_, _>>()? })
    }
}

impl<M> Fleet<M> {
    /// Each with its name, in the order in which they were started.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &M)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member))
    }

    /// The same, to kill, freeze or wait for.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut M)> {
        self.members.iter_mut().map(|(name, member)| (name.as_str(), member))
    }
}

fn names(stem: &str, count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(move |number| format!("{stem}-{number}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::bound_command;

    #[test]
    fn each_process_has_its_name_and_ends_with_the_fleet() {
        let command = |name: &str| {
            let mut command = bound_command("/bin/sh");
            command.args(["-c", &format!("test {name} = app-2 || exec sleep 1000")]);
            command
        };
        let mut fleet = Fleet::processes("app", 3, command).unwrap();
        assert_eq!(fleet.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["app-1", "app-2", "app-3"]);
        let (_, second) = fleet.iter_mut().nth(1).unwrap();
        assert!(second.wait(Duration::from_secs(60)).unwrap().success());
        let (_, first) = fleet.iter_mut().next().unwrap();
        assert!(first.ended().unwrap().is_none());
        let folder = format!("/proc/{}", first.child().id());
        drop(fleet);
        assert!(!std::path::Path::new(&folder).exists());
    }

    #[test]
    fn a_command_that_does_not_exist_names_its_instance() {
        let started = Fleet::processes("app", 1, |_| Command::new("/no/such/program"));
        assert!(matches!(started, Err(FleetError::Process { instance, .. }) if instance == "app-1"));
    }
}
