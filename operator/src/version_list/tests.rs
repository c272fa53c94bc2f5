//! Claims about the list of versions: every mark shown, and nobody named who did not publish.

use modelcast_protocol::{
    InstanceName, Namespace,
    announcement::{self, Frame},
    change::{Change, LeftVersion, NewRole, NewVersion},
    desired::{Cohort, Labels, PinTarget},
    key::{SigningKey, TrustedKeys},
};

use super::*;

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn publish(number: u8, role: NewRole) -> Change {
    let digest = Digest::of(&[number]);
    Change::Publish(NewVersion {
        manifest: digest,
        manifest_offset: 0,
        artifact: digest,
        inline_manifest: None,
        inline_artifact: None,
        role,
    })
}

/// The announcements of these changes, one after the other, each by an author named for its place.
fn announced(changes: &[Change]) -> Vec<InForce> {
    let key = SigningKey::from_seed(&[7; 32]);
    let trusted = TrustedKeys::new([key.public()]).unwrap();
    let mut state = None;
    let seal = |(place, change): (usize, &Change)| {
        let stamp = Stamp { author: format!("author-{place}"), reason: "why".into(), at_unix_ms: 1_000 };
        let next = change.apply(state.as_ref(), &stamp, [0; 16]).unwrap();
        let frame = Frame {
            namespace: Namespace::parse("test").unwrap(),
            model: ModelName::parse("house").unwrap(),
            generation: Generation::new(place as u64 + 1),
            recent: Vec::new(),
        };
        let sealed = frame.seal(&next, &key).unwrap();
        state = Some(next);
        let announcement = announcement::open(&sealed.bytes, &trusted).unwrap();
        InForce { announcement, offset: 40, bytes: sealed.bytes }
    };
    changes.iter().enumerate().map(seal).collect()
}

fn listed(log: &[InForce], described: BTreeMap<Version, Described>) -> VersionList {
    let last = log.last().unwrap();
    let publishers = publishers(log.iter().map(|in_force| &in_force.announcement));
    list(last, last.announcement.body.as_ref().unwrap(), &publishers, described)
}

fn row(list: &VersionList, number: u64) -> &VersionRow {
    list.versions.iter().find(|row| row.version == version(number)).unwrap()
}

#[test]
fn every_mark_is_shown_newest_version_first() {
    let cohort = Cohort { basis_points: 1_000, labels: Labels::new() };
    let target = PinTarget::Instance(InstanceName::parse("app-1").unwrap());
    let log = announced(&[
        publish(1, NewRole::Champion),
        publish(2, NewRole::Champion),
        publish(3, NewRole::Champion),
        publish(4, NewRole::Challenger(cohort)),
        Change::Pin { target, version: version(1) },
        Change::Rollback { to: None, left: LeftVersion::Quarantine },
    ]);
    let list = listed(&log, BTreeMap::new());
    let numbers: Vec<_> = list.versions.iter().map(|row| row.version.get()).collect();
    assert_eq!(numbers, [4, 3, 2, 1]);
    let marks = |number| {
        let marks: Vec<_> = row(&list, number).marks.iter().map(ToString::to_string).collect();
        marks.join(", ")
    };
    assert_eq!(marks(4), "challenger 10 %");
    assert_eq!(marks(3), "quarantined by author-5: why");
    assert_eq!(marks(2), "champion");
    assert_eq!(marks(1), "pinned: instance app-1");
    let text = render(&list, Look::Plain);
    for part in [
        "challenger 10 %",
        "quarantined by author-5: why",
        "1970-01-01 00:00:01",
        "generation 6 at offset 40, champion 2",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn many_pins_are_counted_in_the_table_and_spelt_out_in_json() {
    let instance = |number: u32| InstanceName::parse(&format!("app-{number}")).unwrap();
    for (count, says) in [(3, "champion, pinned: instance app-1, "), (4, "champion, pinned: 4 targets")] {
        let pin =
            |number| Change::Pin { target: PinTarget::Instance(instance(number)), version: Version::FIRST };
        let changes: Vec<_> =
            std::iter::once(publish(1, NewRole::Champion)).chain((1..=count).map(pin)).collect();
        let list = listed(&announced(&changes), BTreeMap::new());
        let text = render(&list, Look::Plain);
        assert!(text.contains(says), "{says:?} is not in {text}");
        assert_eq!(row(&list, 1).marks.len(), count as usize + 1);
    }
}

#[test]
fn a_version_is_credited_to_whoever_published_it_and_to_nobody_else() {
    let log = announced(&[
        publish(1, NewRole::Champion),
        publish(2, NewRole::Champion),
        Change::Rollback { to: None, left: LeftVersion::Keep },
        publish(3, NewRole::Champion),
    ]);
    let authors = |log: &[InForce]| -> Vec<_> {
        let list = listed(log, BTreeMap::new());
        list.versions.iter().map(|row| row.author.clone().unwrap_or_default()).collect()
    };
    assert_eq!(authors(&log), ["author-3", "author-1", "author-0"]);
    // The front of the log was cut: who published 1 is not known any more, and the rollback is no publish.
    assert_eq!(authors(&log[1..]), ["author-3", "author-1", ""]);
    assert_eq!(authors(&log[2..]), ["author-3", "", ""]);
}

#[test]
fn a_quarantined_version_is_listed_even_when_it_is_not_kept_any_more() {
    let mut changes = vec![
        publish(1, NewRole::Champion),
        publish(2, NewRole::Champion),
        Change::Quarantine { version: version(1), instead: None },
    ];
    changes.extend((3..=20).map(|number| publish(number, NewRole::Champion)));
    let list = listed(&announced(&changes), BTreeMap::new());
    let first = row(&list, 1);
    assert_eq!((first.manifest, first.published_at_unix_ms), (None, None));
    assert!(matches!(first.marks.as_slice(), [Mark::Quarantined { .. }]));
}

#[test]
fn metrics_are_shown_where_the_manifest_could_be_had_and_the_cause_where_not() {
    let log = announced(&[publish(1, NewRole::Champion), publish(2, NewRole::Champion)]);
    let metrics = BTreeMap::from([("auc".to_owned(), 0.997_5), ("rmse".to_owned(), 24_000.0)]);
    let described = BTreeMap::from([
        (version(1), Described::Manifest { size_bytes: 900, format: "glm".into(), metrics }),
        (version(2), Described::Unavailable { manifest_unavailable: "chunk gone".into() }),
    ]);
    let list = listed(&log, described);
    let text = render(&list, Look::Plain);
    assert!(text.contains("auc 0.9975  rmse 24000") && text.contains("? (chunk gone)"), "{text}");
    let json = serde_json::to_value(&list).unwrap();
    assert_eq!(json["versions"][1]["metrics"]["auc"], 0.997_5);
    assert_eq!(json["versions"][0]["manifest_unavailable"], "chunk gone");
    assert_eq!(json["versions"][0]["marks"][0]["mark"], "champion");
}
