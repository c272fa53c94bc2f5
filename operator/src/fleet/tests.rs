//! Claims about the fleet view: who counts as live, who does not, and when the exit code may be 0.

use std::collections::BTreeMap;

use modelcast_protocol::{Digest, Generation, InstanceName, ModelName, Namespace, Version};
use modelcast_protocol::{
    announcement::{self, Frame},
    change::{Change, LeftVersion, NewRole, NewVersion},
    codec::Record as _,
    desired::{Cohort, Labels, PinTarget, Stamp},
    fold::InForce,
    key::{SigningKey, TrustedKeys},
    status::{Phase, Served, Stage, Status, StatusVersion, Traffic},
};

use super::{FleetView, Holders, Report, Standing, table, view};
use crate::table::Look;

const NOW: u64 = 1_000_000_000;

fn model() -> ModelName {
    ModelName::parse("house").unwrap()
}

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn manifest(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn publish(number: u64, role: NewRole) -> Change {
    Change::Publish(NewVersion {
        manifest: manifest(number),
        manifest_offset: 0,
        artifact: manifest(number),
        inline_manifest: None,
        inline_artifact: None,
        role,
    })
}

/// Versions 1 to 3, of which 3 is the champion, then `changes`.
fn announced(changes: &[Change]) -> BTreeMap<ModelName, InForce> {
    let key = SigningKey::from_seed(&[7; 32]);
    let trusted = TrustedKeys::new([key.public()]).unwrap();
    let stamp = Stamp { author: "ada".into(), reason: "test".into(), at_unix_ms: 0 };
    let first = (1..=3).map(|number| publish(number, NewRole::Champion));
    let (mut state, mut recent) = (None, Vec::new());
    let mut in_force = None;
    for (place, change) in first.chain(changes.iter().cloned()).enumerate() {
        let next = change.apply(state.as_ref(), &stamp, [0; 16]).unwrap();
        let frame = Frame {
            namespace: Namespace::parse("test").unwrap(),
            model: model(),
            generation: Generation::new(place as u64 + 1),
            recent: recent.clone(),
        };
        let sealed = frame.seal(&next, &key).unwrap();
        recent.push(sealed.digest);
        state = Some(next);
        let announcement = announcement::open(&sealed.bytes, &trusted).unwrap();
        in_force = Some(InForce { announcement, offset: place as i64, bytes: sealed.bytes });
    }
    BTreeMap::from([(model(), in_force.unwrap())])
}

/// An instance that serves `serves` of the model, heard of one second ago.
fn report(instance: &str, serves: Option<u64>) -> Report {
    let served = serves.map(|number| Served {
        version: version(number),
        manifest: manifest(number),
        generation: Generation::new(1),
        since_unix_ms: 0,
    });
    let status = Status {
        v: Status::VERSION,
        model: model(),
        instance: InstanceName::parse(instance).unwrap(),
        boot_id: "aaaa".into(),
        sequence: 1,
        at_unix_ms: NOW - 1_000,
        labels: Labels::new(),
        phase: Phase::Live,
        wanted: served.map(|served| StatusVersion { version: served.version, manifest: served.manifest }),
        served,
        generation_seen: Generation::ZERO,
        announcement_seen: None,
        warnings: Vec::new(),
        traffic: Traffic::default(),
    };
    Report { status, holders: Holders::One }
}

fn refuses(mut report: Report, number: u64) -> Report {
    report.status.wanted = Some(StatusVersion { version: version(number), manifest: manifest(number) });
    report.status.phase = Phase::Refused { stage: Stage::Golden, cause: "row 2 differs".into() };
    report
}

fn silent(mut report: Report) -> Report {
    report.status.at_unix_ms = NOW - 31_000;
    report
}

fn saw(mut report: Report, generation: u64, digest: Option<Digest>) -> Report {
    report.status.generation_seen = Generation::new(generation);
    report.status.announcement_seen = digest;
    report
}

fn standings(view: &FleetView) -> Vec<Standing> {
    view.models.iter().flat_map(|model| &model.instances).map(|instance| instance.standing).collect()
}

#[test]
fn each_instance_stands_where_its_reports_say() {
    let announced = announced(&[]);
    for (report, standing, ok) in [
        (report("a", Some(3)), Standing::Live, true),
        (report("a", Some(2)), Standing::Lagging, false),
        (report("a", None), Standing::Lagging, false),
        (refuses(report("a", Some(2)), 3), Standing::Refused, false),
        // It refused an older one and has not seen the newest yet.
        (refuses(report("a", Some(1)), 2), Standing::Lagging, false),
        // It refused one that is not wanted any more, and serves what is.
        (refuses(report("a", Some(3)), 2), Standing::Live, true),
        (silent(report("a", Some(3))), Standing::Silent, true),
        (silent(report("a", None)), Standing::Silent, true),
    ] {
        let view = view(&announced, std::slice::from_ref(&report), NOW);
        assert_eq!((standings(&view), view.ok), (vec![standing], ok), "{report:?}");
    }
}

#[test]
fn one_instance_that_is_behind_makes_the_whole_fleet_not_ok() {
    let view = view(&announced(&[]), &[report("a", Some(3)), report("b", Some(2))], NOW);
    assert!(!view.ok);
    let counts = view.models[0].counts;
    assert_eq!((counts.of, counts.live, counts.lagging), (2, 1, 1));
}

#[test]
fn what_an_instance_should_run_comes_from_the_log_not_from_its_own_word() {
    let pin =
        Change::Pin { target: PinTarget::Instance(InstanceName::parse("a").unwrap()), version: version(1) };
    let everybody = Cohort { basis_points: 10_000, labels: Labels::from([("zone".into(), "b".into())]) };
    let announced = announced(&[publish(4, NewRole::Challenger(everybody)), pin]);
    let mut in_zone_b = report("b", Some(4));
    in_zone_b.status.labels = Labels::from([("zone".into(), "b".into())]);
    let view = view(&announced, &[report("a", Some(3)), in_zone_b, report("c", Some(3))], NOW);
    assert_eq!(standings(&view), [Standing::Lagging, Standing::Live, Standing::Live]);
    let roles: Vec<_> = view.models[0].instances.iter().map(|row| row.wants.unwrap().role).collect();
    assert_eq!(roles, ["pinned", "challenger", "champion"]);
}

#[test]
fn after_a_rollback_those_who_went_back_are_live() {
    let announced = announced(&[Change::Rollback { to: None, left: LeftVersion::Quarantine }]);
    let view = view(&announced, &[report("a", Some(2)), report("b", Some(3))], NOW);
    assert_eq!(standings(&view), [Standing::Live, Standing::Lagging]);
}

#[test]
fn the_same_number_with_another_manifest_is_not_live() {
    let mut other = report("a", Some(3));
    other.status.served.as_mut().unwrap().manifest = manifest(99);
    let view = view(&announced(&[]), &[other], NOW);
    assert_eq!((standings(&view), view.ok), (vec![Standing::Lagging], false));
}

#[test]
fn two_processes_under_one_name_are_not_ok_even_when_the_last_one_is_live() {
    let mut contested = report("a", Some(3));
    contested.holders = Holders::TakeTurns;
    let view = view(&announced(&[]), &[contested], NOW);
    assert_eq!((standings(&view), view.ok), (vec![Standing::Live], false));
    assert!(table::render(&view, Look::Plain).contains("several processes take turns under this name"));
}

#[test]
fn a_clock_that_is_ahead_is_mentioned_and_its_instance_not_silent() {
    let mut ahead = report("a", Some(3));
    ahead.status.at_unix_ms = NOW + 60_000;
    let view = view(&announced(&[]), &[ahead], NOW);
    assert!(view.ok);
    assert!(view.models[0].instances[0].notes[0].contains("its clock is 1 min ahead"));
}

#[test]
fn an_instance_that_has_seen_more_than_the_log_says_history_lost() {
    let announced = announced(&[]);
    let digest = announced[&model()].announcement.digest;
    for (report, ok, says) in [
        (saw(report("a", Some(3)), 3, Some(digest)), true, ""),
        (saw(report("a", Some(3)), 2, None), true, ""),
        (
            saw(report("a", Some(3)), 4, None),
            false,
            "history lost: it has seen generation 4, the log ends at 3",
        ),
        (saw(report("a", Some(3)), 3, Some(manifest(9))), false, "history forked: at generation 3"),
        (saw(report("a", Some(3)), 2, Some(manifest(9))), false, "history forked: at generation 2"),
    ] {
        let view = view(&announced, &[report], NOW);
        let notes = view.models[0].instances[0].notes.join("; ");
        assert_eq!(view.ok, ok, "{notes}");
        assert!(notes.contains(says) && notes.is_empty() == says.is_empty(), "{notes:?} and {says:?}");
    }
}

#[test]
fn a_model_without_instances_is_ok_and_says_so() {
    let view = view(&announced(&[]), &[], NOW);
    assert!(view.ok);
    assert!(table::render(&view, Look::Plain).contains("0 of 0 live; no instance reports"));
}

#[test]
fn an_instance_of_a_model_that_nobody_announced_waits() {
    let view = view(&BTreeMap::new(), &[report("a", None)], NOW);
    assert_eq!((standings(&view), view.ok), (vec![Standing::Waiting], true));
    let text = table::render(&view, Look::Plain);
    assert!(text.contains("nothing is announced for this model"), "{text}");
}

#[test]
fn an_instance_that_saw_a_model_whose_log_is_empty_now_is_not_ok() {
    let view = view(&BTreeMap::new(), &[saw(report("a", Some(3)), 3, None)], NOW);
    assert!(!view.ok);
    assert!(view.models[0].problems.iter().any(|problem| problem.starts_with("history lost")));
}

#[test]
fn an_announcement_that_is_not_understood_is_no_reason_to_say_all_is_well() {
    let mut announced = announced(&[]);
    let unknown = modelcast_protocol::codec::CodecError::Invalid { noun: "body", cause: "newer".into() };
    announced.get_mut(&model()).unwrap().announcement.body = Err(unknown);
    let view = view(&announced, &[report("a", Some(3))], NOW);
    assert_eq!((standings(&view), view.ok), (vec![Standing::Unclear], false));
}

#[test]
fn a_pin_for_an_instance_that_never_reported_is_mentioned() {
    let target = PinTarget::Instance(InstanceName::parse("ap-1").unwrap());
    let view =
        view(&announced(&[Change::Pin { target, version: version(2) }]), &[report("app-1", Some(3))], NOW);
    assert!(view.models[0].problems.iter().any(|problem| problem.ends_with("not heard of: ap-1")));
}

#[test]
fn the_table_shows_every_column_and_no_escape_of_an_instance() {
    let mut refused = refuses(report("app-1", Some(2)), 3);
    refused.status.traffic = Traffic { predictions: 12, errors: 3, ..Traffic::default() };
    refused.status.warnings = vec!["\x1b[2Jno news".into()];
    let text = table::render(&view(&announced(&[]), &[refused], NOW), Look::Plain);
    let header = text.lines().next().unwrap();
    for column in
        ["model", "instance", "phase", "serves", "wants", "generation", "news", "predictions", "note"]
    {
        assert!(header.contains(column), "{header}");
    }
    for part in ["app-1", "refused at golden", "1 s", "12 (3 errors)", "row 2 differs", "no news"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn the_json_has_the_fields_that_scripts_read() {
    let view = view(&announced(&[]), &[refuses(report("app-1", Some(2)), 3)], NOW);
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["ok"], false);
    let model = &json["models"][0];
    assert_eq!((model["model"].as_str(), model["generation"].as_u64()), (Some("house"), Some(3)));
    assert_eq!((model["champion"].as_u64(), model["counts"]["refused"].as_u64()), (Some(3), Some(1)));
    let row = &model["instances"][0];
    assert_eq!((row["standing"].as_str(), row["instance"].as_str()), (Some("refused"), Some("app-1")));
    assert_eq!((row["serves"]["version"].as_u64(), row["wants"]["version"].as_u64()), (Some(2), Some(3)));
    assert_eq!(row["phase"]["refused"]["stage"], "golden");
    assert_eq!(row["heard_ms_ago"], 1_000);
}
