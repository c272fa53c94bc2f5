//! A small history in which everything is right: six generations, two publishers, two instances, one restart.

use modelcast::protocol::change::{Change, LeftVersion, NewRole, NewVersion};
use modelcast::protocol::desired::{DesiredState, Labels, PinTarget, Stamp};
use modelcast::protocol::status::{Phase, Served, Status, StatusVersion, Traffic};
use modelcast::protocol::{Digest, Generation, InstanceName, ModelName, Version};

use crate::history::check::wanted::wanted;
use crate::history::event::{
    Action, Announced, Answer, Ended, Event, Line, Lost, Outcome, Refusal, Reported, Seen, Settlement,
    Started,
};
use crate::history::read::{History, Process};
use crate::history::table::Table;

pub(super) const PATIENCE_MS: u64 = 60_000;

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

fn publish(seed: u64) -> Action {
    Action::Publish { table: table(seed), artifact: artifact(seed), cohort: None }
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

    fn start(&mut self, process: &str, instance: Option<InstanceName>, boot: u64) {
        let mut labels = Labels::new();
        if instance.is_some() {
            labels.insert("boot".into(), boot.to_string());
        }
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
        let change = match action {
            Action::Publish { table, artifact, .. } => Change::Publish(NewVersion {
                manifest: manifest(table.seed),
                manifest_offset: 0,
                artifact: *artifact,
                inline_manifest: None,
                inline_artifact: None,
                role: NewRole::Champion,
            }),
            Action::Rollback => Change::Rollback { to: None, left: LeftVersion::Quarantine },
            Action::Pin { target, version } => Change::Pin { target: target.clone(), version: *version },
            other => panic!("not in this history: {other:?}"),
        };
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
        let pin = Action::Pin { target: PinTarget::Instance(instance(1)), version: version(2) };
        self.commit("pub-2.1/2", &pin, vec![]);
        self.commit("pub-1.1/3", &Action::Rollback, vec![]);

        self.attempt("pub-1.1/4", &publish(2));
        let generation = Generation::new(5);
        let unchanged = Outcome::Unchanged { version: version(2), generation, manifest: manifest(2) };
        self.end("pub-1.1/4", unchanged, vec![]);
        self.attempt("pub-2.1/3", &pin);
        self.end("pub-2.1/3", Outcome::Refused { rule: Refusal::Change, cause: "so".into() }, vec![]);
        self.attempt("pub-2.1/4", &publish(5));
        self.end("pub-2.1/4", Outcome::Unavailable { cause: "no broker".into() }, vec![]);
        self.attempt("pub-2.1/5", &publish(4));
        // Killed before it was told.
        self.take_force("pub-2.1/5", &publish(4));
        self.attempt("pub-2.1/6", &Action::Rollback);

        self.attempt("pub-1.1/5", &publish(6));
        self.now_ms += PATIENCE_MS;
        let (generation, announcement) = (Generation::new(7), Digest::of(b"nobody saw it"));
        let unknown = Outcome::Unknown { generation, announcement, cause: "cut off".into() };
        self.end("pub-1.1/5", unknown, vec![]);
        let (operation, settlement) = ("pub-1.1/5".to_owned(), Settlement::Undecided);
        let settled = Event::Settled { operation, model: model(), generation, announcement, settlement };
        self.write("pub-1.1", settled);
    }

    fn subscribers(&mut self) {
        for number in [1, 2] {
            self.start(&format!("app-{number}.1"), Some(instance(number)), 1);
        }
        self.write(
            "runner",
            Event::Fault { kind: "kill-broker".into(), target: "2".into(), detail: "".into() },
        );
        for generation in 1..=4 {
            self.serve("app-1.1", 1, generation, generation.min(4));
            self.serve("app-2.1", 2, generation, generation.min(3));
        }
        self.start("app-1.2", Some(instance(1)), 2);
        for generation in 4..=6 {
            self.serve("app-1.2", 1, generation, 1);
            self.serve("app-2.1", 2, generation, generation.min(4));
        }
    }

    /// An instance swaps to what a generation wants of it: state, answers, status.
    fn serve(&mut self, process: &str, number: u64, generation: u64, swaps: u64) {
        let at = usize::try_from(generation - 1).unwrap();
        let record = self.log[at].clone();
        let (entry, _) = wanted(&model(), &record.state, &instance(number), &Labels::new()).unwrap();
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
        let (_, boot) = process.rsplit_once('.').unwrap();
        let status = Status {
            v: 1,
            model: self::model(),
            instance: instance(number),
            boot_id: format!("{number:08}{boot:08}"),
            sequence: generation,
            at_unix_ms: self.now_ms,
            labels: [("boot".to_owned(), boot.to_owned())].into(),
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
