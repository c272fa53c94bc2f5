//! What a folder gives back after crashes at any instant, and after damage.

use super::*;
use crate::fixture::{noisy, version};

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

/// The three files of a version, as they are put together.
fn files(behaviour: &str, weight: u64) -> (SignedManifest, [(&'static str, Vec<u8>); 3]) {
    let (manifest, artifact) = version(behaviour, weight);
    let artifact = artifact.small(4096).unwrap().unwrap();
    let files = [
        ("manifest", manifest.bytes().to_vec()),
        ("artifact", artifact),
        ("announcement", format!("announcement of {weight}").into_bytes()),
    ];
    (manifest, files)
}

fn kept_announcements(cache: &Cache) -> Vec<String> {
    let mut kept: Vec<_> =
        cache.kept().into_iter().map(|kept| String::from_utf8(kept.announcement).unwrap()).collect();
    kept.sort();
    kept
}

fn folders(cache: &Cache) -> usize {
    fs::read_dir(cache.folder.join("versions")).unwrap().count()
}

#[test]
fn a_crash_at_any_file_of_a_version_leaves_the_others_and_no_rubbish() {
    for written in 0..=3 {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let (old, _) = files("fine", 1);
        cache.keep(&old, &Artifact::Memory(b"fine 1".to_vec()), b"announcement of 1").unwrap();
        let (new, files) = files("fine", 2);
        let path = cache.version_folder(new.digest()).with_extension("new");
        fs::create_dir(&path).unwrap();
        for (name, bytes) in &files[..written] {
            fs::write(path.join(name), bytes).unwrap();
        }
        assert_eq!(kept_announcements(&cache), ["announcement of 1"], "not in place, not kept");
        drop(cache);
        let cache = Cache::open(folder.path()).unwrap();
        let whole = written == 3;
        let wanted: &[&str] =
            if whole { &["announcement of 1", "announcement of 2"] } else { &["announcement of 1"] };
        assert_eq!(kept_announcements(&cache), wanted, "{written} files were written");
        assert_eq!((folders(&cache), cache.find(new.digest()).is_some()), (wanted.len(), whole));
        cache.keep(&new, &Artifact::Memory(b"fine 2".to_vec()), b"announcement of 2").unwrap();
        assert_eq!((folders(&cache), kept_announcements(&cache).len()), (2, 2));
    }
}

#[test]
fn a_crash_while_a_damaged_version_is_replaced_leaves_the_new_one() {
    for left in ["manifest", "artifact"] {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let (manifest, files) = files("fine", 1);
        let place = cache.version_folder(manifest.digest());
        let new = place.with_extension("new");
        fs::create_dir(&new).unwrap();
        for (name, bytes) in &files {
            fs::write(new.join(name), bytes).unwrap();
        }
        fs::create_dir(&place).unwrap();
        fs::write(place.join(left), b"what was not removed yet").unwrap();
        drop(cache);
        let cache = Cache::open(folder.path()).unwrap();
        let kept = cache.find(manifest.digest()).unwrap();
        assert_eq!(kept.artifact.small(100).unwrap().unwrap(), files[1].1);
    }
}

#[test]
fn a_damaged_version_is_replaced_by_what_came_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let (manifest, _) = files("fine", 1);
    cache.keep(&manifest, &Artifact::Memory(b"fine 1".to_vec()), b"first").unwrap();
    fs::remove_file(cache.version_folder(manifest.digest()).join("artifact")).unwrap();
    assert!(cache.find(manifest.digest()).is_none());
    let (path, mut file, _) = cache.incoming(&manifest).unwrap();
    file.write_all(b"fine 1").unwrap();
    cache.keep(&manifest, &Artifact::File(path.clone()), b"second").unwrap();
    let kept = cache.find(manifest.digest()).unwrap();
    assert_eq!(kept.artifact.small(100).unwrap().unwrap(), b"fine 1");
    assert_eq!((kept.announcement.as_slice(), path.exists()), (&b"second"[..], false));
    cache.keep(&manifest, &kept.artifact, b"third").unwrap();
    let kept = cache.find(manifest.digest()).unwrap();
    assert_eq!(kept.announcement, b"third");
    assert_eq!(kept.artifact.small(100).unwrap().unwrap(), b"fine 1", "moved nowhere");
}

#[test]
fn pruning_leaves_what_it_is_told_to_keep() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let manifests: Vec<_> = (1..=4).map(|weight| files("fine", weight).0).collect();
    for manifest in &manifests {
        cache.keep(manifest, &Artifact::Memory(b"bytes".to_vec()), b"announcement").unwrap();
    }
    cache.prune(&[manifests[1].digest(), manifests[3].digest()]);
    let left: Vec<_> = manifests.iter().map(|manifest| cache.find(manifest.digest()).is_some()).collect();
    assert_eq!(left, [false, true, false, true]);
    cache.drop_version(manifests[1].digest()).unwrap();
    cache.drop_version(manifests[1].digest()).unwrap();
    assert_eq!(folders(&cache), 1);
}

#[test]
fn what_came_in_before_a_crash_is_resumed_at_a_whole_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let manifest = noisy(1).1;
    let entries = &manifest.manifest().chunks.entries;
    assert!(entries.len() > 2, "the test needs several chunks");
    let (first, second) = (u64::from(entries[0].raw_bytes), u64::from(entries[1].raw_bytes));
    let all = manifest.manifest().size_bytes;
    for (there, chunks, bytes) in [
        (0, 0, 0),
        (first - 1, 0, 0),
        (first, 1, first),
        (first + second - 1, 1, first),
        (first + second, 2, first + second),
        (all + 5, entries.len(), all),
    ] {
        let path = cache.folder.join("incoming").join(manifest.digest().to_hex());
        fs::write(&path, vec![0; usize::try_from(there).unwrap()]).unwrap();
        let (_, file, found) = cache.incoming(&manifest).unwrap();
        assert_eq!((found, file.metadata().unwrap().len()), (chunks, bytes), "{there} bytes were there");
    }
    cache.drop_incoming(None);
    assert_eq!(fs::read_dir(cache.folder.join("incoming")).unwrap().count(), 0);
}

#[test]
fn a_piece_that_is_damaged_on_disk_is_not_taken_for_a_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let (bytes, manifest) = noisy(1);
    cache.keep(&manifest, &Artifact::Memory(bytes.clone()), b"announcement").unwrap();
    let artifact = cache.find(manifest.digest()).unwrap().artifact;
    let mut chunks = LocalChunks::default();
    chunks.add(&manifest, &artifact);
    let entry = manifest.manifest().chunks.entries[0];
    assert_eq!(chunks.load(&entry).unwrap(), bytes[..usize::try_from(entry.raw_bytes).unwrap()]);
    let Artifact::File(path) = &artifact else { unreachable!() };
    let mut damaged = bytes;
    damaged[100] ^= 1;
    fs::write(path, damaged).unwrap();
    assert_eq!(chunks.load(&entry), None);
}
