//! Versions are swapped while records come: each prediction names the version that made it, and no batch mixes two.

use std::collections::BTreeMap;

use modelcast_testcontainers::{Ability, TinyModel, offers};

use crate::support::flow::{Flow, Got, Sent};
use crate::support::{linear, runtime, wait_for};

const MODEL: &str = "price";
const VERSIONS: u32 = 4;
const EACH: usize = 3_000;

fn weight(version: u64) -> f64 {
    f64::from(u32::try_from(version).unwrap()) * 0.3
}

#[test]
fn a_swap_shows_between_two_batches_never_within_one() {
    if !offers(&[Ability::Transactions]) {
        return;
    }
    let flow = Flow::new("swapped", MODEL, 1);
    let runtime = runtime();
    let publisher = runtime.block_on(flow.scene.publisher());
    let mut member = flow.member("member-1", "batch_records_max = 100\nbatch_linger_ms = 20");
    let (mut out, mut sent) = (flow.reader("out"), 0);
    for version in 1..=VERSIONS {
        // Records are under way while the version comes.
        runtime.block_on(linear::publish(&publisher, linear::request(MODEL, weight(version.into()))));
        let served = format!("modelcast_served_version{{model=\"{MODEL}\"}}");
        wait_for("the version to be live", || {
            let records = (sent..sent + 100).map(|number| Sent {
                key: Some(number.to_string()),
                value: Some(format!("{{\"area\": {number}}}").into_bytes()),
                ..Sent::default()
            });
            flow.send(&records.collect::<Vec<_>>());
            sent += 100;
            let is_live = member.metric(&served) == Some(f64::from(version));
            (is_live && sent >= EACH * usize::try_from(version).unwrap()).then_some(())
        });
    }
    wait_for("all predictions", || (out.look() >= sent).then_some(()));
    member.stop();

    let got = flow.reader("out").into_all();
    assert_eq!(got.len(), sent);
    let mut of_version: BTreeMap<u64, usize> = BTreeMap::new();
    for one in &got {
        let version: u64 = one.header("modelcast-version").parse().unwrap();
        let area: f64 = one.key.as_ref().unwrap().parse().unwrap();
        let price = TinyModel { weight: weight(version) }.price(area);
        assert_eq!(one.json()["outputs"]["price"].as_f64(), Some(price), "{one:?}");
        assert_eq!(one.header("modelcast-model"), MODEL);
        *of_version.entry(version).or_default() += 1;
    }
    assert_eq!(of_version.len(), 4, "{of_version:?}");
    for batch in batches(got) {
        let versions: Vec<&str> = batch.iter().map(|one| one.header("modelcast-version")).collect();
        assert!(versions.iter().all(|version| *version == versions[0]), "a batch of {versions:?}");
    }
}

/// The records of each transaction: its marker takes an offset after them.
fn batches(mut got: Vec<Got>) -> Vec<Vec<Got>> {
    got.sort_by_key(|one| one.offset);
    let mut batches: Vec<Vec<Got>> = Vec::new();
    for one in got {
        match batches.last_mut() {
            Some(batch) if batch.last().is_some_and(|last| last.offset + 1 == one.offset) => batch.push(one),
            _ => batches.push(vec![one]),
        }
    }
    assert!(batches.len() > 10, "{} batches", batches.len());
    batches
}
