//! The model of one cell: damage to what is published, and what the app must make of it.
//!
//! # Invariants
//! * After each damage an undamaged version goes live at the next generation: nothing is left behind.

use std::collections::BTreeMap;

use modelcast::PublishError;
use modelcast::protocol::Generation;
use modelcast::protocol::change::{Change, LeftVersion};
use modelcast::protocol::key::SigningKey;
use modelcast_testcontainers::damage::{Action, Damage, Order, Outcome, Said, Spares};
use modelcast_testcontainers::hostile::{Draft, Record};
use serde_json::Value;

use super::bench::Bench;
use crate::support::scene::model;
use crate::support::{linear, wait_for, zones};

/// The model of one cell.
pub(super) struct Row<'a> {
    pub(super) bench: &'a Bench,
    pub(super) name: String,
    /// The weight that answers.
    weight: f64,
    /// The records of the last undamaged version.
    last: Vec<Record>,
    /// Each refusal that the app must count.
    refusals: BTreeMap<String, u64>,
}

impl<'a> Row<'a> {
    pub(super) fn new(bench: &'a Bench, name: &str) -> Self {
        let mut row =
            Self { bench, name: name.to_owned(), weight: 0.0, last: vec![], refusals: BTreeMap::new() };
        row.publish_undamaged();
        row
    }

    pub(super) fn app(&self) -> Value {
        self.bench.model(&self.name)
    }

    /// The next version on top of a draft.
    pub(super) fn version(&self, draft: &mut Draft, weight: f64) -> Vec<Record> {
        draft.version(&zones::package(&self.name, weight, &self.bench.scene.signing())).unwrap()
    }

    /// Publishes an undamaged version, which must go live at the very next generation.
    pub(super) fn publish_undamaged(&mut self) {
        let mut draft = self.bench.draft(&self.name);
        let weight = self.weight + 10.0;
        let records = self.version(&mut draft, weight);
        if self.weight > 0.0 {
            self.bench.allow(&self.name, &[self.weight, weight]);
        }
        self.bench.write(&records);
        self.wait_until_answers(weight, draft.generation());
        self.last = records;
    }

    fn wait_until_answers(&mut self, weight: f64, generation: Generation) {
        let what = format!("{} to serve generation {generation}", self.name);
        wait_for(&what, || (self.app()["served"]["generation"] == generation.get()).then_some(()));
        self.weight = weight;
        self.must_answer();
        self.bench.allow(&self.name, &[weight]);
    }

    pub(super) fn must_answer(&self) {
        let (status, answer) = self.bench.app.infer(&self.name, &zones::request());
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["outputs"][0]["data"][0], self.weight, "{}", self.name);
    }

    /// Does one damage; afterwards an undamaged version must go live.
    pub(super) fn strike(&mut self, damage: &Damage) {
        let before = self.app();
        let mut draft = self.bench.draft(&self.name);
        let own = draft.generation();
        let spares = self.spares(damage, &draft);
        let weight = self.weight + 1.0;
        let mut good = self.version(&mut draft, weight);
        let generation = draft.generation();
        if damage.outcome() == Outcome::EarlierOnly {
            good.extend(self.version(&mut draft, weight + 1.0));
        }
        let goes_live = matches!(damage.outcome(), Outcome::Harmless | Outcome::EarlierOnly);
        if goes_live {
            self.bench.allow(&self.name, &[self.weight, weight]);
        }
        let records = damage.apply(&good, &spares);
        let offsets = self.bench.write(&records);
        match damage.outcome() {
            Outcome::Harmless | Outcome::EarlierOnly => self.wait_until_answers(weight, generation),
            Outcome::Refused(stage) => self.must_refuse(&stage.to_string(), generation),
            Outcome::Ignored(said) => self.must_ignore(said, *offsets.last().unwrap(), own),
            Outcome::Unseen => {}
            Outcome::Shown(_) => unreachable!("of reports only"),
        }
        if !goes_live {
            assert_eq!(self.app()["served"], before["served"]);
            self.must_answer();
        }
        if damage.action == Action::Reorder(Order::BeforeItsBlobs) {
            // An announcement that comes before its blobs may find nothing at the first look.
            self.refusals.extend(self.counted().into_iter().filter(|(stage, _)| stage == "fetch"));
        }
        self.publish_undamaged();
        // What went live was the undamaged version, and the damaged one where that does no harm.
        let swaps = before["swaps"].as_u64().unwrap() + 1 + u64::from(goes_live);
        assert_eq!(self.app()["swaps"], swaps);
        self.must_have_counted();
    }

    fn spares(&self, damage: &Damage, before: &Draft) -> Spares {
        let stranger = SigningKey::from_seed(&[9; 32]);
        let package = zones::package(&self.name, self.weight + 1.0, &stranger);
        let forged = before.signed_by(&stranger).version(&package).unwrap();
        let of = |records: &[Record]| {
            records.iter().find(|record| record.kind == damage.kind).unwrap().value.clone().unwrap()
        };
        Spares { another: of(&self.last), forged: of(&forged) }
    }

    /// The version is wanted at this generation, and refused by this check.
    pub(super) fn must_refuse(&mut self, stage: &str, generation: Generation) {
        *self.refusals.entry(stage.to_owned()).or_default() += 1;
        let found = wait_for(&format!("{} to refuse generation {generation}", self.name), || {
            let found = self.app();
            let refused = found["phase"] == "refused" && found["wanted"]["generation"] == generation.get();
            refused.then_some(found)
        });
        let last = found["rejections"].as_array().unwrap().iter().max_by_key(|one| one["version"].as_u64());
        let last = last.unwrap();
        assert_eq!(
            (&last["stage"], &last["version"]),
            (&stage.into(), &found["wanted"]["version"]),
            "{found:#}"
        );
        self.must_have_counted();
    }

    /// The app has counted these refusals and no others, and says so to whoever scrapes it.
    fn must_have_counted(&self) {
        assert_eq!(self.counted(), self.refusals, "{}", self.name);
        for (stage, count) in &self.refusals {
            let metric = format!("modelcast_rejections_total{{model=\"{}\",stage=\"{stage}\"}}", self.name);
            assert_eq!(
                self.bench.app.metric(&metric).map(|value| value.to_string()),
                Some(count.to_string())
            );
        }
    }

    fn counted(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.app()["rejections_total"].clone()).unwrap()
    }

    /// The record at this offset takes no force, and whoever should know is told.
    pub(super) fn must_ignore(&self, said: Said, offset: i64, own: Generation) {
        let field = format!("offset={offset} ");
        let told = |line: &&str| line.contains(&field) && line.contains("WARN");
        let line = wait_for(&format!("{} to say something of offset {offset}", self.name), || {
            self.bench.app.log().lines().find(told).map(str::to_owned)
        });
        assert_eq!(self.app()["generation_seen"], own.get());
        match said {
            Said::Log => assert!(line.contains("record of the announcements topic ignored"), "{line}"),
            Said::Everywhere => {
                assert!(line.contains("announcement not verified"), "{line}");
                let text = format!("generation {} at offset {offset} is not verified", own.next().unwrap());
                wait_for(&text, || self.app()["warnings"].to_string().contains(&text).then_some(()));
                self.publishers_must_refuse(offset);
            }
            Said::WhereLegible => assert!(
                line.contains("announcement not verified") || line.contains("announcements topic ignored"),
                "{line}"
            ),
        }
    }

    fn publishers_must_refuse(&self, refused_for: i64) {
        let back = Change::Rollback { to: None, left: LeftVersion::Keep };
        let (publisher, name) = (&self.bench.publisher, model(&self.name));
        let done = self.bench.runtime.block_on(publisher.change(&name, &back, &linear::stamp("operator")));
        match done {
            Err(PublishError::UnverifiedRecord { offset, .. }) => assert_eq!(offset, refused_for),
            done => panic!("{done:?}"),
        }
    }
}
