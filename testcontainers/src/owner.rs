//! Whose a container is, and the removal of those whose owner is dead.
//!
//! The second net under the `watchdog`: it catches what is left when the watchdog was killed too,
//! or the machine went down.
//!
//! # Invariants
//! * Only containers of this machine are judged: several may share one Docker engine, and process numbers mean
//!   nothing elsewhere, nor in another container's process namespace.
//! * A process number alone proves nothing, since it is used again: its start time goes with it.

use std::fmt;
use std::fs;
use std::process::Stdio;

use crate::engine;

/// The label that says whose a container is.
pub(crate) const LABEL: &str = "modelcast.owner";

/// A process, named so that nothing else is ever named like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    machine: String,
    boot: String,
    process_namespace: String,
    process: u32,
    started: String,
}

impl Owner {
    /// This process. `None` where there is no `/proc`; then only the watchdog cleans up.
    pub(crate) fn this_process() -> Option<Self> {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().replace(' ', "_"));
        let process = std::process::id();
        Some(Self {
            machine: read("/proc/sys/kernel/hostname")?,
            boot: read("/proc/sys/kernel/random/boot_id")?,
            process_namespace: fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned(),
            process,
            started: start_time(process)?,
        })
    }

    fn parse(label: &str) -> Option<Self> {
        let mut words = label.split(' ').map(ToOwned::to_owned);
        Some(Self {
            machine: words.next()?,
            boot: words.next()?,
            process_namespace: words.next()?,
            process: words.next()?.parse().ok()?,
            started: words.next()?,
        })
    }

    /// Whether `self`, the owner of a container, is certainly gone. `start_time` tells it of a living process.
    fn is_gone(&self, judge: &Owner, start_time: impl Fn(u32) -> Option<String>) -> bool {
        if self.machine != judge.machine {
            return false;
        }
        if self.boot != judge.boot {
            return true;
        }
        self.process_namespace == judge.process_namespace
            && start_time(self.process).is_none_or(|started| started != self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, boot, process_namespace, process, started } = self;
        write!(formatter, "{machine} {boot} {process_namespace} {process} {started}")
    }
}

/// Removes the containers whose owner is dead, and says so.
pub(crate) fn remove_orphans() {
    let Some(judge) = Owner::this_process() else { return };
    let filter = format!("label={LABEL}");
    let ids = docker(&["ps", "--all", "--no-trunc", "--quiet", "--filter", &filter]);
    let ids: Vec<_> = ids.lines().collect();
    if ids.is_empty() {
        return;
    }
    // The templates of `ps` are not the same in Docker and Podman.
    let format = format!("{{{{.Id}}}} {{{{index .Config.Labels \"{LABEL}\"}}}}");
    let listed = docker(&[&["container", "inspect", "--format", &format], &ids[..]].concat());
    for line in listed.lines() {
        let Some((id, label)) = line.split_once(' ') else { continue };
        if !Owner::parse(label).is_some_and(|owner| owner.is_gone(&judge, start_time)) {
            continue;
        }
        // Another test binary may be removing it as well: nothing to report then.
        if docker(&["rm", "--force", "--volumes", id]).contains(id) {
            eprintln!("removed a Kafka container that a killed test left behind: {id}");
        }
    }
}

/// What the engine prints; of containers that are gone meanwhile, nothing.
fn docker(args: &[&str]) -> String {
    let output = engine::command().args(args).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// When a process started, in clock ticks since boot; `None` when there is none, or only what is left of one.
pub(crate) fn start_time(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name, in which blanks and parentheses may stand: count from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    // proc(5): the start time is field 22, the state field 3.
    fields.nth(18).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(machine: &str, boot: &str, namespace: &str, process: u32, started: &str) -> Owner {
        Owner {
            machine: machine.into(),
            boot: boot.into(),
            process_namespace: namespace.into(),
            process,
            started: started.into(),
        }
    }

    #[test]
    fn only_an_owner_that_is_certainly_gone_is_judged_so() {
        let judge = owner("here", "boot-2", "pid:[1]", 7, "70");
        // One process is alive: number 5, started at 50.
        let alive = |process: u32| (process == 5).then(|| "50".to_owned());
        let check =
            |container: Owner, gone: bool| assert_eq!(container.is_gone(&judge, alive), gone, "{container}");
        check(owner("here", "boot-2", "pid:[1]", 5, "50"), false);
        check(owner("here", "boot-2", "pid:[1]", 5, "49"), true);
        check(owner("here", "boot-2", "pid:[1]", 6, "60"), true);
        check(owner("here", "boot-1", "pid:[1]", 5, "50"), true);
        check(owner("here", "boot-2", "pid:[2]", 6, "60"), false);
        check(owner("elsewhere", "boot-1", "pid:[1]", 6, "60"), false);
    }

    #[test]
    fn an_owner_survives_being_a_label() {
        let this = Owner::this_process().unwrap();
        assert_eq!(Owner::parse(&this.to_string()), Some(this.clone()));
        assert!(!this.is_gone(&this, start_time));
        assert_eq!(Owner::parse("here boot pid:[1] no-number 1"), None);
        assert_eq!(Owner::parse(""), None);
    }
}
