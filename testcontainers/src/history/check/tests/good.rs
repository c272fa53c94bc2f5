//! A small history in which everything is right: fifteen generations with every action, two publishers, two instances,
//! one restart.
//!
//! What an action makes of a state, and what that wants of an instance, are the product's own words here: where the
//! checker states a rule otherwise, this history is no good one any more.

use modelcast::protocol::change::{Change, LeftVersion, NewRole, NewVersion};
use modelcast::protocol::desired::{Cohort, DesiredState, Labels, PinTarget, Stamp};
use modelcast::protocol::resolve::{Identity, resolve};
use modelcast::protocol::status::{Phase, Served, Status, StatusVersion, Traffic};
use modelcast::protocol::{Digest, Generation, InstanceName, ModelName, Version};

use crate::history::event::{
    Action, Announced, Answer, Ended, Event, Line, Lost, Outcome, Refusal, Reported, Seen, Settlement,
    Started,
};
use crate::history::read::{History, Process};
use crate::history::table::Table;

pub(super) const PATIENCE_MS: u64 = 60_000;
/// The generation at which everything ends.
pub(super) const LAST: u64 = 15;
/// The cohort of everybody.
const ALL: u16 = 10_000;

pub(super) fn model() -> ModelName {
    "price".parse().unwrap()
}

pub(super) fn instance(number: u64) -> InstanceName {
    format!("app-{number}").parse().unwrap()
}

pub(super) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// The table of a publish.
pub(super) fn table(seed: u64) -> Table {
    Table { seed, places: 100 }
}

fn artifact(seed: u64) -> Digest {
    Digest::of(&table(seed).artifact())
}

fn manifest(seed: u64) -> Digest {
    Digest::of(&[u8::try_from(seed).unwrap(), 77])
}

pub(super) fn publish(seed: u64) -> Action {
    Action::Publish { table: table(seed), artifact: artifact(seed), cohort: None }
}

/// Publishes for everybody to try.
fn challenge(seed: u64) -> Action {
    Action::Publish { table: table(seed), artifact: artifact(seed), cohort: Some(ALL) }
}

pub(super) fn pin(target: PinTarget, number: u64) -> Action {
    Action::Pin { target, version: version(number) }
}

pub(super) fn unpin(target: PinTarget) -> Action {
    Action::Unpin { target }
}

pub(super) fn quarantine(number: u64, instead: Option<u64>) -> Action {
    Action::Quarantine { version: version(number), instead: instead.map(version) }
}

/// One instance.
pub(super) fn only(number: u64) -> PinTarget {
    PinTarget::Instance(instance(number))
}

/// The first instance, by its label.
fn zone_a() -> PinTarget {
    PinTarget::Label("zone".into(), "a".into())
}

fn labels(number: u64, boot: &str) -> Labels {
    let zone = if number == 1 { "a" } else { "b" };
    [("boot".to_owned(), boot.to_owned()), ("zone".to_owned(), zone.to_owned())].into()
}

fn change(action: &Action) -> Change {
    match action.clone() {
        Action::Publish { table, artifact, cohort } => Change::Publish(NewVersion {
            manifest: manifest(table.seed),
            manifest_offset: 0,
            artifact,
            inline_manifest: None,
            inline_artifact: None,
            role: cohort.map_or(NewRole::Champion, |basis_points| {
                NewRole::Challenger(Cohort { basis_points, labels: Labels::new() })
            }),
        }),
        Action::Rollback => Change::Rollback { to: None, left: LeftVersion::Quarantine },
        Action::Pin { target, version } => Change::Pin { target, version },
        Action::Unpin { target } => Change::Unpin { target },
        Action::Quarantine { version, instead } => Change::Quarantine { version, instead },
        Action::Release { version } => Change::Release { version },
    }
}

/// Writes the history.
struct Scribe {
    history: History,
    now_ms: u64,
    log: Vec<Announced>,
}

pub(super) fn good() -> History {
    let mut scribe = Scribe { history: History::default(), now_ms: 1_000, log: Vec::new() };
    scribe.publishers();
    scribe.subscribers();
    scribe.reader();
    scribe.history.processes.iter_mut().find(|process| process.name == "pub-2.1").unwrap().torn = true;
    scribe.history
}

impl Scribe {
    fn write(&mut self, process: &str, event: Event) {
        self.now_ms += 10;
        let place = self.history.processes.iter().position(|of| of.name == process).unwrap_or_else(|| {
            self.history.processes.push(Process { name: process.to_owned(), ..Process::default() });
            self.history.processes.len() - 1
        });
        let lines = &mut self.history.processes[place].lines;
        let sequence = u64::try_from(lines.len()).unwrap() + 1;
        let (wall_ms, mono_us, process) = (self.now_ms, self.now_ms * 1_000, process.to_owned());
        lines.push(Line { process, sequence, mono_us, wall_ms, event });
    }

    fn start(&mut self, process: &str, number: Option<u64>, boot: u64) {
        let labels = number.map(|number| labels(number, &boot.to_string())).unwrap_or_default();
        let instance = number.map(instance);
        self.write(process, Event::Started(Started { instance, labels, boot }));
    }

    fn attempt(&mut self, operation: &str, action: &Action) {
        let (process, _) = operation.split_once('/').unwrap();
        let (operation, model, action) = (operation.to_owned(), model(), action.clone());
        let event = Event::Attempt { operation: operation.clone(), model, action, patience_ms: PATIENCE_MS };
        self.write(process, event);
        if let Some(Event::Attempt { action: Action::Publish { table, .. }, .. }) = self.last(process) {
            let manifest = manifest(table.seed);
            self.write(process, Event::Uploaded { operation, manifest });
        }
    }

    fn last(&self, process: &str) -> Option<Event> {
        let process = self.history.processes.iter().find(|of| of.name == process)?;
        Some(process.lines.last()?.event.clone())
    }

    fn end(&mut self, operation: &str, outcome: Outcome, lost: Vec<Lost>) {
        let (process, _) = operation.split_once('/').unwrap();
        self.write(process, Event::Ended(Ended { operation: operation.to_owned(), outcome, lost }));
    }

    /// Puts into force what the product's own rules make of an action.
    fn take_force(&mut self, operation: &str, action: &Action) -> Outcome {
        let (author, _) = operation.split_once('.').unwrap();
        let stamp = Stamp { author: author.into(), reason: operation.into(), at_unix_ms: 0 };
        let change = change(action);
        let before = self.log.last();
        let generation = before.map_or(Generation::ZERO, |before| before.generation).next().unwrap();
        let state: DesiredState = change.apply(before.map(|before| &before.state), &stamp, [0; 16]).unwrap();
        let announcement = Digest::of(operation.as_bytes());
        let recent = self.log.iter().map(|before| before.digest).collect();
        let offset = i64::try_from(self.log.len()).unwrap();
        let version =
            matches!(action, Action::Publish { .. }).then(|| state.versions.last().unwrap().version);
        self.log.push(Announced { offset, model: model(), generation, digest: announcement, recent, state });
        Outcome::Committed { version, generation, announcement }
    }

    fn commit(&mut self, operation: &str, action: &Action, lost: Vec<Lost>) {
        self.attempt(operation, action);
        let outcome = self.take_force(operation, action);
        self.end(operation, outcome, lost);
    }

    fn publishers(&mut self) {
        self.start("pub-1.1", None, 1);
        self.start("pub-2.1", None, 1);
        self.commit("pub-1.1/1", &publish(1), vec![]);
        self.commit("pub-2.1/1", &publish(2), vec![]);
        let winner = Digest::of(b"pub-2.1/1");
        let lost = Lost { generation: Generation::new(2), announcement: winner, by: "pub-2".into() };
        self.commit("pub-1.1/2", &publish(3), vec![lost]);
        self.commit("pub-2.1/2", &pin(only(1), 2), vec![]);
        self.commit("pub-1.1/3", &Action::Rollback, vec![]);

        self.attempt("pub-1.1/4", &publish(2));
        let generation = Generation::new(5);
        let unchanged = Outcome::Unchanged { version: version(2), generation, manifest: manifest(2) };
        self.end("pub-1.1/4", unchanged, vec![]);
        self.attempt("pub-2.1/3", &pin(only(1), 2));
        self.end("pub-2.1/3", Outcome::Refused { rule: Refusal::Change, cause: "so".into() }, vec![]);
        self.attempt("pub-2.1/4", &publish(7));
        self.end("pub-2.1/4", Outcome::Unavailable { cause: "no broker".into() }, vec![]);
        self.operators();
        self.attempt("pub-2.1/5", &publish(5));
        // Killed before it was told.
        self.take_force("pub-2.1/5", &publish(5));
        self.attempt("pub-2.1/6", &Action::Rollback);

        self.attempt("pub-1.1/14", &publish(6));
        self.now_ms += PATIENCE_MS;
        let (generation, announcement) = (Generation::new(LAST + 1), Digest::of(b"nobody saw it"));
        let unknown = Outcome::Unknown { generation, announcement, cause: "cut off".into() };
        self.end("pub-1.1/14", unknown, vec![]);
        let (operation, settlement) = ("pub-1.1/14".to_owned(), Settlement::Undecided);
        let settled = Event::Settled { operation, model: model(), generation, announcement, settlement };
        self.write("pub-1.1", settled);
    }

    /// Generations 6 to 14. Version 2 is the champion and the first instance's pin, all others are forbidden or older.
    fn operators(&mut self) {
        let actions = [
            Action::Release { version: version(3) },
            // The second instance tries version 4; the first one keeps its pin,
            challenge(4),
            // also over one that is less exact.
            pin(zone_a(), 3),
            // The second one has version 1 from here on,
            pin(PinTarget::All, 1),
            // the first one version 3,
            unpin(only(1)),
            // then 1 too.
            unpin(zone_a()),
            // Both try version 4,
            unpin(PinTarget::All),
            // then run the champion,
            quarantine(4, None),
            // then another one.
            quarantine(2, Some(3)),
        ];
        for (action, operation) in actions.iter().zip(5..) {
            self.commit(&format!("pub-1.1/{operation}"), action, vec![]);
        }
    }

    fn subscribers(&mut self) {
        for number in [1, 2] {
            self.start(&format!("app-{number}.1"), Some(number), 1);
        }
        self.write(
            "runner",
            Event::Fault { kind: "kill-broker".into(), target: "2".into(), detail: "".into() },
        );
        for generation in 1..=4 {
            self.serve("app-1.1", 1, generation);
            self.serve("app-2.1", 2, generation);
        }
        self.start("app-1.2", Some(1), 2);
        for generation in 4..=LAST {
            self.serve("app-1.2", 1, generation);
            self.serve("app-2.1", 2, generation);
        }
    }

    /// Swaps of a process, when `version` is what it serves next.
    fn swaps(&self, process: &str, version: Version) -> u64 {
        let of = self.history.processes.iter().find(|of| of.name == process).unwrap();
        let seen = of.lines.iter().rev().find_map(|line| match &line.event {
            Event::Seen(seen) => Some((seen.swaps, seen.served?.version)),
            _ => None,
        });
        seen.map_or(1, |(swaps, served)| swaps + u64::from(served != version))
    }

    /// An instance swaps to what a generation wants of it: state, answers, status.
    fn serve(&mut self, process: &str, number: u64, generation: u64) {
        let at = usize::try_from(generation - 1).unwrap();
        let record = self.log[at].clone();
        let (_, boot) = process.rsplit_once('.').unwrap();
        let identity = Identity { instance: instance(number), labels: labels(number, boot) };
        let entry = resolve(&model(), &record.state, &identity).unwrap().entry;
        let swaps = self.swaps(process, entry.version);
        let (version, manifest) = (entry.version, entry.manifest);
        let (generation_seen, announcement_seen) = (record.generation, Some(record.digest));
        let served = Some(Served { version, manifest, generation: generation_seen, since_unix_ms: 0 });
        let wanted = Some(StatusVersion { version, manifest });
        let (model, phase, warnings) = (model(), Phase::Live, vec![]);
        let seen = Seen { model, phase, wanted, served, generation_seen, announcement_seen, swaps, warnings };
        self.write(process, Event::Seen(seen));
        for thread in [1, 2] {
            let seed = version.get();
            let places = vec![3, 99];
            let values = places.iter().map(|&place| table(seed).value(place)).collect();
            let answer = Answer {
                thread,
                asked_ms: self.now_ms,
                model: self::model(),
                version,
                generation: generation_seen,
                manifest,
                artifact: entry.artifact,
                places,
                values,
            };
            self.write(process, Event::Answer(answer));
        }
        let status = Status {
            v: 1,
            model: self::model(),
            instance: instance(number),
            boot_id: format!("{number:08}{boot:08}"),
            sequence: generation,
            at_unix_ms: self.now_ms,
            labels: identity.labels,
            phase: Phase::Live,
            wanted,
            served,
            generation_seen,
            announcement_seen,
            warnings: vec![],
            traffic: Traffic::default(),
        };
        let offset = i64::try_from(generation).unwrap();
        self.write("reader", Event::Reported(Reported { partition: 0, offset, status: Box::new(status) }));
    }

    fn reader(&mut self) {
        self.write("runner", Event::Healed);
        let log = self.log.clone();
        let versions = log.last().unwrap().state.versions.clone();
        log.into_iter().for_each(|record| self.write("reader", Event::Announced(record)));
        for entry in versions {
            let (version, manifest) = (entry.version, entry.manifest);
            self.write("reader", Event::ReadBack { model: model(), version, manifest, error: None });
        }
        for number in [1, 2] {
            self.write("reader", Event::Expected { instance: instance(number), model: model() });
        }
    }
}
