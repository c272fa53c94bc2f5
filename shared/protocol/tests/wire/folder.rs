//! The folder of vectors: reading it, comparing it, writing it when asked to.

use std::{collections::BTreeMap, fs, path::PathBuf};

use modelcast_protocol::Digest;
use serde_json::{Value, json};

const INDEX: &str = "INDEX.json";

/// A file of the folder.
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Vector {
    pub(crate) fn binary(name: &str, bytes: &[u8]) -> Self {
        Self { name: format!("{name}.bin"), bytes: bytes.to_vec() }
    }

    pub(crate) fn json(name: &str, value: &Value) -> Self {
        let text = serde_json::to_string_pretty(value).unwrap() + "\n";
        Self { name: format!("{name}.json"), bytes: text.into_bytes() }
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

/// The bytes of a file of the folder.
pub(crate) fn read(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}; see the header of tests/wire"))
}

/// The descriptions of one kind.
pub(crate) fn of_kind(kind: &str) -> Vec<Value> {
    let names = present().into_iter().filter(|name| name.ends_with(".json") && name != INDEX);
    let values = names.map(|name| serde_json::from_slice::<Value>(&read(&name)).unwrap());
    values.filter(|value| value["kind"] == kind).collect()
}

/// Writes the folder when blessing; else checks that it holds exactly this and that the index lists it.
pub(crate) fn settle(made: &[Vector]) {
    let listed = made.iter().map(|vector| {
        json!({
            "file": vector.name,
            "bytes": vector.bytes.len(),
            "digest": Digest::of(&vector.bytes).to_string(),
        })
    });
    let index = json!({ "format": "modelcast vectors", "v": 1, "files": listed.collect::<Vec<_>>() });
    let index = Vector::json("INDEX", &index);
    let wanted: BTreeMap<_, _> =
        made.iter().chain([&index]).map(|vector| (vector.name.clone(), &vector.bytes)).collect();
    assert_eq!(wanted.len(), made.len() + 1, "two vectors have one name");
    if blessing() && !holds(&wanted) {
        present().iter().for_each(|name| fs::remove_file(path(name)).unwrap());
        wanted.iter().for_each(|(name, bytes)| fs::write(path(name), bytes).unwrap());
    }
    assert_eq!(present(), wanted.keys().cloned().collect::<Vec<_>>(), "other files than the index lists");
    for (name, bytes) in wanted {
        assert!(read(&name) == *bytes, "{name} is not what the scene makes: the wire changed");
    }
}

/// Written once in a run: its other tests are reading.
fn holds(wanted: &BTreeMap<String, &Vec<u8>>) -> bool {
    present().iter().eq(wanted.keys()) && wanted.iter().all(|(name, bytes)| read(name) == **bytes)
}

fn present() -> Vec<String> {
    let names = fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether this run is to write the folder anew.
pub(crate) fn blessing() -> bool {
    std::env::var_os("MODELCAST_BLESS").is_some_and(|value| value == "1")
}
