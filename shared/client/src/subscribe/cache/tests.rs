//! What a folder gives back after crashes at any instant, and after damage.

use super::*;

fn mark() -> DecodeMark {
    DecodeMark { version: Version::FIRST, manifest: Digest::of(b"manifest") }
}

#[test]
fn a_folder_has_one_user() {
    let folder = tempfile::tempdir().unwrap();
    let first = Cache::open(folder.path()).unwrap();
    assert!(matches!(Cache::open(folder.path()), Err(CacheError::InUse { .. })));
    drop(first);
    assert!(Cache::open(folder.path()).is_ok());
}

#[test]
fn a_mark_that_was_left_is_a_crash_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    cache.begin_decode(mark()).unwrap();
    cache.end_decode().unwrap();
    drop(cache);
    let cache = Cache::open(folder.path()).unwrap();
    assert!(cache.crashes().is_empty(), "a decoder that came back is no crash");
    cache.begin_decode(mark()).unwrap();
    drop(cache);
    for _ in 0..2 {
        let cache = Cache::open(folder.path()).unwrap();
        let crashed: Vec<_> = cache.crashes().iter().map(|mark| mark.manifest).collect();
        assert_eq!(crashed, [mark().manifest]);
    }
    let cache = Cache::open(folder.path()).unwrap();
    cache.forgive().unwrap();
    assert!(cache.crashes().is_empty());
}

#[test]
fn the_highest_generation_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held { generation: Generation::new(7), digest: Digest::of(b"announcement") };
    let cache = Cache::open(folder.path()).unwrap();
    assert_eq!(cache.seen(), None);
    cache.remember(held).unwrap();
    drop(cache);
    assert_eq!(Cache::open(folder.path()).unwrap().seen(), Some(held));
}

#[test]
fn a_damaged_state_file_is_as_if_it_were_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    fs::write(folder.path().join("seen.json"), b"{\"generation\":").unwrap();
    assert_eq!(cache.seen(), None);
}
