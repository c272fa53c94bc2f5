//! Numbers and choices that two implementations must come to independently.

use modelcast_protocol::{
    InstanceName, announcement,
    desired::{Cohort, Labels},
    golden::GoldenRows,
    resolve::{Identity, Role, picks, resolve},
};
use serde_json::{Value, json};

use crate::{
    folder::{Vector, read},
    scene::{Scene, model, trusted},
};

const FILES: [&str; 4] =
    ["announcement-inline", "announcement-challenger", "announcement-label", "announcement-all"];
const IDENTITIES: [(&str, &[(&str, &str)]); 5] = [
    ("app-1", &[]),
    ("app-2", &[("tier", "canary")]),
    ("app-3", &[("zone", "eu-west")]),
    ("app-9", &[("zone", "eu-west"), ("tier", "stable")]),
    ("app-31", &[("zone", "eu-west")]),
];
const AGREEMENTS: [(f64, f64, f64); 10] = [
    (1.0, 1.0, 0.0),
    (1e6, 1e6 + 1e-4, 1e-9),
    (1e6, 1e6 + 1e-2, 1e-9),
    (0.0, 5e-10, 1e-9),
    (0.0, 2e-9, 1e-9),
    (-1e6, -1e6 - 1e-4, 1e-9),
    (0.5, 0.500_000_000_9, 1e-9),
    (2.0, 2.03, 0.01),
    (2.0, 2.01, 0.01),
    (1.0, -1.0, 0.01),
];

pub(crate) fn make(scene: &Scene) -> Vec<Vector> {
    let states = FILES.map(|name| (name, scene.told(name).sealed.bytes.clone()));
    vec![Vector::json("agreement", &description(&states))]
}

fn description(states: &[(&str, Vec<u8>)]) -> Value {
    json!({
        "kind": "agreement",
        "places": places(),
        "wanted": states.iter().flat_map(|(name, bytes)| wanted(name, bytes)).collect::<Vec<_>>(),
        "golden": golden(),
    })
}

fn identity(name: &str, labels: &[(&str, &str)]) -> Identity {
    let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Identity { instance: InstanceName::parse(name).unwrap(), labels }
}

/// The place of an instance among 10,000: the smallest cohort that picks it, less one.
fn places() -> Value {
    let place = |model_name: &str, instance: &str| {
        let identity = identity(instance, &[]);
        let picked = |basis_points: u16| {
            picks(&Cohort { basis_points, labels: Labels::new() }, &model(model_name), &identity)
        };
        let place = (0..10_000).find(|&place| picked(place + 1)).unwrap();
        json!({ "model": model_name, "instance": instance, "place": place })
    };
    let models = ["price", "tumour"];
    let all = models.iter().flat_map(|model| IDENTITIES.iter().map(|(name, _)| place(model, name)));
    all.collect()
}

fn wanted(name: &str, bytes: &[u8]) -> Vec<Value> {
    let state = announcement::open(bytes, &trusted()).unwrap().body.unwrap();
    let one = |&(instance, labels): &(&str, &[(&str, &str)])| {
        let identity = identity(instance, labels);
        let wanted = resolve(&model("price"), &state, &identity).unwrap();
        let role = match wanted.role {
            Role::Pinned => "pinned",
            Role::Challenger => "challenger",
            Role::Champion => "champion",
        };
        json!({
            "file": format!("{name}.bin"),
            "instance": instance,
            "labels": identity.labels,
            "version": wanted.entry.version,
            "role": role,
        })
    };
    IDENTITIES.iter().map(one).collect()
}

fn golden() -> Value {
    let one = |&(expected, computed, relative_tolerance): &(f64, f64, f64)| {
        let rows = GoldenRows { inputs: Vec::new(), outputs: Vec::new(), relative_tolerance };
        json!({
            "expected": expected,
            "computed": computed,
            "relative_tolerance": relative_tolerance,
            "agrees": rows.agrees(expected, computed),
        })
    };
    AGREEMENTS.iter().map(one).collect()
}

/// Computes everything anew from the files of the folder.
pub(crate) fn check(stated: &Value) {
    let states = FILES.map(|name| (name, read(&format!("{name}.bin"))));
    assert_eq!(*stated, description(&states));
    let roles =
        |role: &str| stated["wanted"].as_array().unwrap().iter().filter(|one| one["role"] == role).count();
    assert!(["pinned", "challenger", "champion"].iter().all(|role| roles(role) > 0), "a role is not shown");
}
