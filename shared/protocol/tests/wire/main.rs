//! The test vectors: bytes that every reader and publisher, in whatever language, must agree about.
//!
//! They stand in the folder `vectors` beside this one: a record's value in a `.bin` file and what it says in a
//! `.json` file of the same name; `INDEX.json` lists all files with their digests. Released vectors are never edited:
//! whoever changes the wire adds new ones. To write the files anew from [`scene`]:
//!
//! ```text
//! MODELCAST_BLESS=1 cargo test -p modelcast-protocol --test wire
//! ```
//! That run writes the files and checks what it wrote.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test says no")]

mod agreement;
mod describe;
mod folder;
mod negative;
mod records;
mod refusals;
mod replay;
mod scene;

use std::sync::OnceLock;

use serde_json::Value;

/// Compares the folder with what the scene makes; writes it when asked to.
fn settle() {
    let scene = scene::Scene::new();
    let made = [records::make(&scene), refusals::make(&scene), replay::make(&scene), agreement::make(&scene)]
        .concat();
    folder::settle(&made);
}

/// Runs a check on every description of one kind, and says how many there were.
fn each(kind: &str, check: fn(&Value)) -> usize {
    static WRITTEN: OnceLock<()> = OnceLock::new();
    if folder::blessing() {
        WRITTEN.get_or_init(settle);
    }
    folder::of_kind(kind).iter().map(check).count()
}

#[test]
fn the_folder_holds_what_the_scene_makes_and_the_index_lists_it() {
    each("none", |_| ());
    settle();
}

#[test]
fn every_record_decodes_to_its_description_and_encodes_to_its_bytes() {
    assert!(each("record", records::check) > 15);
}

#[test]
fn every_negative_record_is_refused_for_the_reason_it_states() {
    assert!(each("refusal", negative::check) > 15);
}

#[test]
fn the_log_folds_to_what_its_description_states() {
    assert_eq!(each("log", replay::check), 1);
}

#[test]
fn cohorts_wanted_versions_and_golden_rows_come_out_as_described() {
    assert_eq!(each("agreement", agreement::check), 1);
}
