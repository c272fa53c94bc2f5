//! A history, arranged for looking things up. Judges nothing.

use std::collections::BTreeMap;

use modelcast::protocol::desired::Labels;
use modelcast::protocol::status::Status;
use modelcast::protocol::{Digest, Generation, InstanceName, ModelName, Version};

use crate::history::event::{Action, Announced, Ended, Event, Line, Settlement};
use crate::history::read::{At, History, Process};
use crate::history::table::Table;

/// A history, arranged.
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    pub(super) logs: BTreeMap<&'a ModelName, Log<'a>>,
    pub(super) operations: BTreeMap<&'a str, Operation<'a>>,
    /// What publishers were about to send, by the artifact's digest.
    pub(super) artifacts: BTreeMap<Digest, (At<'a>, Table)>,
    /// All processes, in the order in which they began, by the name that they have one after the other.
    processes: BTreeMap<&'a str, Vec<&'a Process>>,
    /// The processes of each instance, in the order in which they began.
    pub(super) instances: BTreeMap<&'a InstanceName, Vec<Boot<'a>>>,
    /// The status records of each instance of each model, in log order.
    pub(super) statuses: BTreeMap<(&'a ModelName, &'a InstanceName), Vec<(At<'a>, &'a Status)>>,
}

/// The announcements of one model: those that took force, by the rule of the protocol stated once more.
#[derive(Default)]
pub(super) struct Log<'a> {
    pub(super) entries: Vec<(At<'a>, &'a Announced)>,
    /// Records that skip a generation: what they follow was there when they were made, and is not there now.
    pub(super) skips: Vec<(At<'a>, &'a Announced)>,
    /// The versions that some announcement in force names, by manifest: number, artifact, and where it is named first.
    pub(super) versions: BTreeMap<Digest, (Version, Digest, At<'a>)>,
}

/// Something that a publisher did.
pub(super) struct Operation<'a> {
    pub(super) at: At<'a>,
    pub(super) process: &'a str,
    /// From when it may have tried to announce: its begin, or the last version it uploaded.
    pub(super) tries_from: (At<'a>, u64),
    pub(super) model: &'a ModelName,
    pub(super) action: &'a Action,
    pub(super) patience_ms: u64,
    pub(super) uploaded: Vec<Digest>,
    pub(super) ended: Option<(At<'a>, &'a Ended)>,
    pub(super) ended_us: u64,
    pub(super) settled: Vec<(At<'a>, Generation, Digest, Settlement)>,
}

/// One process of an instance.
pub(super) struct Boot<'a> {
    pub(super) boot: u64,
    pub(super) labels: &'a Labels,
    pub(super) process: &'a Process,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let mut index = Self {
            history,
            logs: BTreeMap::new(),
            operations: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            processes: BTreeMap::new(),
            instances: BTreeMap::new(),
            statuses: BTreeMap::new(),
        };
        for process in &history.processes {
            index.processes.entry(name(&process.name)).or_default().push(process);
            let Some(started) = process.started() else { continue };
            let Some(instance) = &started.instance else { continue };
            let boot = Boot { boot: started.boot, labels: &started.labels, process };
            index.instances.entry(instance).or_default().push(boot);
        }
        let boot = |process: &&Process| process.started().map(|started| started.boot);
        index.processes.values_mut().for_each(|processes| processes.sort_by_key(boot));
        index.instances.values_mut().for_each(|boots| boots.sort_by_key(|boot| boot.boot));
        for (at, line) in history.events() {
            index.take(at, line);
        }
        index
    }

    fn take(&mut self, at: At<'a>, line: &'a Line) {
        match &line.event {
            Event::Attempt { operation, model, action, patience_ms } => {
                if let Action::Publish { table, artifact, .. } = action {
                    self.artifacts.insert(*artifact, (at, *table));
                }
                let operation_of = Operation {
                    at,
                    process: &line.process,
                    tries_from: (at, line.mono_us),
                    model,
                    action,
                    patience_ms: *patience_ms,
                    uploaded: Vec::new(),
                    ended: None,
                    ended_us: 0,
                    settled: Vec::new(),
                };
                self.operations.insert(operation, operation_of);
            }
            // Always after its attempt: a process writes both.
            Event::Uploaded { operation, manifest } => {
                if let Some(of) = self.operations.get_mut(operation.as_str()) {
                    of.uploaded.push(*manifest);
                    of.tries_from = (at, line.mono_us);
                }
            }
            Event::Ended(ended) => {
                if let Some(of) = self.operations.get_mut(ended.operation.as_str()) {
                    (of.ended, of.ended_us) = (Some((at, ended)), line.mono_us);
                }
            }
            Event::Settled { operation, generation, announcement, settlement, .. } => {
                if let Some(of) = self.operations.get_mut(operation.as_str()) {
                    of.settled.push((at, *generation, *announcement, *settlement));
                }
            }
            Event::Announced(record) => self.logs.entry(&record.model).or_default().take(at, record),
            Event::Reported(reported) => {
                let key = (&reported.status.model, &reported.status.instance);
                self.statuses.entry(key).or_default().push((at, &reported.status));
            }
            _ => {}
        }
    }

    /// What was in force at a generation.
    pub(super) fn in_force(
        &self,
        model: &ModelName,
        generation: Generation,
    ) -> Option<(At<'a>, &'a Announced)> {
        self.logs.get(model)?.at(generation)
    }

    /// The processes of the name that a process has, in the order in which they began.
    pub(super) fn processes_of(&self, process: &str) -> &[&'a Process] {
        self.processes.get(name(process)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The process that a status record is of.
    pub(super) fn boot_of(&self, status: &Status) -> Option<&Boot<'a>> {
        let boot: u64 = status.labels.get("boot")?.parse().ok()?;
        self.instances.get(&status.instance)?.iter().find(|of| of.boot == boot)
    }
}

/// The name that a process has in common with those before and after it.
fn name(process: &str) -> &str {
    process.rsplit_once('.').map_or(process, |(name, _)| name)
}

impl<'a> Log<'a> {
    /// The first record founds; after that the first of the next generation takes force.
    fn take(&mut self, at: At<'a>, record: &'a Announced) {
        let next = self.entries.last().map_or(Some(record.generation), |(_, last)| last.generation.next());
        if Some(record.generation) == next {
            self.entries.push((at, record));
            for entry in &record.state.versions {
                self.versions.entry(entry.manifest).or_insert((entry.version, entry.artifact, at));
            }
        } else if Some(record.generation) > next {
            self.skips.push((at, record));
        }
    }

    pub(super) fn at(&self, generation: Generation) -> Option<(At<'a>, &'a Announced)> {
        let (_, first) = self.entries.first()?;
        let place = generation.get().checked_sub(first.generation.get())?;
        self.entries.get(usize::try_from(place).ok()?).copied()
    }
}
