//! Damage to the reports of an instance: what `modelcast status` shows, and whom it keeps from publishing.

use modelcast::PublishError;
use modelcast::protocol::change::Change;
use modelcast::protocol::codec::Record as _;
use modelcast::protocol::desired::PinTarget;
use modelcast::protocol::status::{Phase, Status, Traffic};
use modelcast::protocol::{Generation, Version};
use modelcast_testcontainers::damage::{Damage, Outcome, Report, Spares};
use modelcast_testcontainers::hostile::Record;
use serde_json::Value;

use super::bench::APP;
use super::row::Row;
use crate::support::linear;
use crate::support::scene::model;

/// An instance that only reports.
const GHOST: &str = "ghost";
/// What its reports say that it predicted: tells them apart.
const BEFORE: u64 = 1_000;
const ITSELF: u64 = 2_000;
const OF_ANOTHER: u64 = 3_000;
const FORGED: u64 = 4_000;

impl Row<'_> {
    /// Does one damage to the reports of an instance that is not there.
    pub(super) fn strike_status(&mut self, damage: &Damage) {
        let draft = self.bench.draft(&self.name);
        let own = draft.generation();
        let report = |sequence, instance: &str, generation: u64| {
            draft.status(&report(&self.name, instance, sequence, generation)).unwrap()
        };
        let good = [report(BEFORE, GHOST, own.get() - 1), report(ITSELF, GHOST, own.get())];
        let value = |record: Record| record.value.unwrap();
        let spares = Spares {
            another: value(report(OF_ANOTHER, "other", own.get())),
            forged: value(report(FORGED, GHOST, own.get() + 1_000)),
        };
        let Outcome::Shown(shown) = damage.outcome() else { unreachable!("{damage:?}") };
        let records = damage.apply(&good, &spares);
        self.bench.write(&records);
        let reads = reads(records.last().unwrap());
        let found = self.ghost();
        let predictions = found.as_ref().map(|ghost| ghost["predictions"].as_u64().unwrap());
        let expected = match shown {
            Report::Itself => Some(ITSELF),
            Report::Before => Some(BEFORE),
            Report::Nobody => None,
            Report::AsItReads => Some(reads.as_ref().map_or(BEFORE, |status| status.traffic.predictions)),
        };
        assert_eq!(predictions, expected, "{damage:?}: {found:#?}");
        let claimed = reads.map_or(Generation::ZERO, |status| status.generation_seen);
        let claimed = if shown == Report::AsItReads { claimed } else { Generation::ZERO };
        self.change_must_end(own, claimed);

        let withdrawal = Record { value: None, ..good[0].clone() };
        self.bench.write(&[withdrawal]);
        assert!(self.ghost().is_none());
        self.publish_undamaged();
    }

    /// A report blocks an operator exactly when it claims more than the log has; then the refusal names the instance.
    fn change_must_end(&self, own: Generation, claimed: Generation) {
        let nobody = PinTarget::Instance(format!("nobody-{own}").parse().unwrap());
        let pin = Change::Pin { target: nobody, version: Version::FIRST };
        let (publisher, name) = (&self.bench.publisher, model(&self.name));
        let done = self.bench.runtime.block_on(publisher.change(&name, &pin, &linear::stamp("operator")));
        match done {
            Ok(done) if claimed <= own => assert_eq!(Some(done.generation), own.next()),
            Err(PublishError::HistoryLost { instance, reported, found, .. }) if claimed > own => {
                assert_eq!((instance.as_str(), reported, found), (GHOST, claimed, own));
            }
            done => panic!("{own}, {claimed} claimed: {done:?}"),
        }
    }

    /// The ghost as `modelcast status` shows it; the app is shown too, whatever the ghost reports.
    fn ghost(&self) -> Option<Value> {
        let (found, _) = self.bench.scene.status(&self.name);
        let instances = found["instances"].as_array().unwrap();
        assert!(instances.iter().any(|one| one["instance"] == APP), "{found:#}");
        instances.iter().find(|one| one["instance"] == GHOST).cloned()
    }
}

/// What a reader takes a status record for.
fn reads(record: &Record) -> Option<Status> {
    let status = Status::decode(record.value.as_ref()?).ok()?;
    (status.key().as_bytes() == record.key).then_some(status)
}

fn report(name: &str, instance: &str, sequence: u64, generation: u64) -> Status {
    Status {
        v: Status::VERSION,
        model: model(name),
        instance: instance.parse().unwrap(),
        boot_id: "0011223344556677".into(),
        sequence,
        at_unix_ms: modelcast::clock::unix_ms(),
        labels: [].into(),
        phase: Phase::Live,
        wanted: None,
        served: None,
        generation_seen: Generation::new(generation),
        announcement_seen: None,
        warnings: vec![],
        traffic: Traffic { predictions: sequence, ..Traffic::default() },
    }
}
