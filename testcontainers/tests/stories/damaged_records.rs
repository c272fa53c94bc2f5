//! Damaged records: every action on every kind of record, while an application serves and a client asks all the time.
//!
//! What must come of each is data, in the kit's `damage` module. One app has a model for each of the 24 cells; the ways
//! of a cell follow each other on its model, each after the last undamaged version went live.

mod bench;
mod reports;
mod row;

use std::collections::BTreeMap;

use modelcast_testcontainers::damage::{Damage, Outcome, Said, matrix};
use modelcast_testcontainers::hostile::{Kind, Package, Record};

use self::bench::Bench;
use self::row::Row;
use crate::support::linear;
use crate::support::scene::model;

/// Fixed, so that a failure is repeatable; another one hits other bytes of the same parts.
const SEED: u64 = 4;

/// A word for what must come of it.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Refused(_) => "refused",
        Outcome::Ignored(_) => "ignored and reported",
        Outcome::Unseen => "as if never written",
        Outcome::Harmless => "harmless",
        Outcome::EarlierOnly => "the earlier in force",
        Outcome::Shown(_) => "shown, and deciding nothing",
    }
}

#[test]
fn damaged_records_are_refused_or_ignored_or_harmless_and_the_old_version_serves_throughout() {
    let mut cells: BTreeMap<String, Vec<Damage>> = BTreeMap::new();
    for damage in matrix(SEED) {
        cells.entry(damage.cell()).or_default().push(damage);
    }
    assert_eq!(cells.len(), 24);
    let names: Vec<_> = cells.keys().cloned().collect();
    let answers = Bench::new("damaged", &names).under_load(|bench| {
        std::thread::scope(|scope| {
            for (name, damages) in &cells {
                scope.spawn(move || {
                    let mut row = Row::new(bench, name);
                    for damage in damages {
                        println!("{name}: {:?} {:?}: {}", damage.which, damage.action, damage.reason());
                        match damage.kind {
                            Kind::Status => row.strike_status(damage),
                            _ => row.strike(damage),
                        }
                    }
                });
            }
        });
    });
    println!("{answers} answers, each of an undamaged version; 0 panics");
    // Each was struck, or this had panicked.
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for damage in cells.values().flatten() {
        *outcomes.entry(word(damage.outcome())).or_default() += 1;
    }
    outcomes.iter().for_each(|(word, count)| println!("{count} {word}"));
}

/// A copy of a record for each of its bytes, with one bit of that byte flipped.
fn each_byte_flipped(record: &Record) -> Vec<Record> {
    let value = record.value.as_ref().unwrap();
    let flipped = |place: usize| {
        let mut value = value.clone();
        value[place] ^= 1 << (place % 8);
        Record { value: Some(value), ..record.clone() }
    };
    (0..value.len()).map(flipped).collect()
}

#[test]
fn a_flip_of_any_byte_of_a_chunk_a_manifest_or_an_announcement_does_not_get_through() {
    let names = ["chunk", "manifest", "announcement"].map(str::to_owned);
    Bench::new("every-byte", &names).under_load(|bench| {
        for (name, kind) in names.iter().zip([Kind::Chunk, Kind::Manifest, Kind::Announcement]) {
            let mut row = Row::new(bench, name);
            let own = bench.draft(name);
            let mut draft = own.clone();
            let package = Package::of(
                &model(name),
                "glm",
                &[&linear::artifact(11.0)],
                linear::schema(),
                linear::golden(22.0),
                &bench.scene.signing(),
            );
            let good = draft.version(&package).unwrap();
            let damage = |record: &Record| match record.kind == kind {
                true => each_byte_flipped(record),
                false => vec![record.clone()],
            };
            let damaged: Vec<_> = good.iter().flat_map(damage).collect();
            let offsets = bench.write(&damaged);
            match kind {
                Kind::Chunk => row.must_refuse("digest", draft.generation()),
                Kind::Manifest => row.must_refuse("signature", draft.generation()),
                _ => {
                    let last = *offsets.last().unwrap();
                    row.must_ignore(Said::Everywhere, last, own.generation());
                }
            }
            row.must_answer();
            row.publish_undamaged();
            let flips = damaged.iter().filter(|record| record.kind == kind).count();
            println!("{flips} flips of a byte ({name}): none got through");
        }
    });
}
