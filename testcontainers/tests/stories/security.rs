//! A Kafka that lets in only whom it knows: each role does its part, and nothing else.
//!
//! Told twice, by password (SASL/SCRAM over TLS) and by certificate (mTLS), with the shipped settings. What Kafka
//! allowed is read from its own log: nothing that the programs ask for is missing, and no right is one too many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use modelcast::protocol::topic;
use modelcast_testcontainers::security::{Authority, Resource, Role, Validity};
use modelcast_testcontainers::{Ability, offers};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::app::App;
use crate::support::programs::{Ended, root};
use crate::support::secured::{
    Decision, Entrance, MODEL, Secured, USERS, config, decisions, kafka, must_hide_key, security,
};
use crate::support::{DEADLINE, look_within, runtime, wait_for};

/// A setting that nobody looks at.
const OTHER_DELAY: (&str, &str) = ("file.delete.delay.ms", "60001");
const WRONG_PASSWORD: &str = "guessed-by-eve";
const TOPICS: [&str; 4] = ["announcements", "audit", "blobs.property-value", "fleet"];

#[test]
fn by_password_each_role_does_its_part_and_nothing_else() {
    each_role_does_its_part_and_nothing_else(Entrance::Scram);
}

#[test]
fn by_certificate_each_role_does_its_part_and_nothing_else() {
    each_role_does_its_part_and_nothing_else(Entrance::Mtls);
}

fn each_role_does_its_part_and_nothing_else(entrance: Entrance) {
    if !offers(&[Ability::Security]) {
        return;
    }
    let secured = Secured::new(entrance);
    only_an_administrator_makes_topics(&secured);
    nobody_announces_with_half_the_rights(&secured);
    a_version_goes_the_whole_way(&secured);
    nobody_else_changes_what_runs(&secured);
    nobody_writes_or_reads_beyond_their_role(&secured);
    only_an_administrator_changes_topics(&secured);
    a_wrong_setting_is_seen_by_everybody(&secured);
    recovering_takes_one_right_more(&secured);
    no_secret_is_in_any_log(&secured);
    every_right_was_used_and_none_was_missing(&secured);
}

fn train(secured: &Secured, user: &str, until: &str, more: &[&str]) -> Ended {
    secured.trainer(user, &[&["run", "--dataset", "ames", "--until", until], more].concat())
}

/// Ends so, names the right and the topic, and leaves no trace.
fn must_be_refused(secured: &Secured, right: &str, topic: &str, act: impl FnOnce() -> Ended) {
    let before = secured.logs_but_reports();
    act().must_end_with(1).must_say(&[&format!("Kafka grants this client no {right} on topic {topic};")]);
    assert_eq!(secured.logs_but_reports(), before, "something was sent");
}

fn only_an_administrator_makes_topics(secured: &Secured) {
    let create = ["topics", "create", "--model", MODEL];
    for user in ["publisher", "announcer", "subscriber"] {
        must_be_refused(secured, "Create", &secured.topic("announcements"), || {
            secured.modelcast(user, &create)
        });
    }
    secured.modelcast("administrator", &create).must_end_with(0);
    secured.modelcast("operator", &["topics", "check", "--model", MODEL]).must_end_with(0);
    let topics: Vec<String> = TOPICS.map(|topic| secured.topic(topic)).to_vec();
    assert_eq!(secured.logs().into_keys().collect::<Vec<_>>(), topics);
}

fn nobody_announces_with_half_the_rights(secured: &Secured) {
    // A publisher uploads, which nobody follows, and cannot announce.
    let before = secured.logs();
    let announcements = secured.topic("announcements");
    let words = [&*format!("Kafka grants this client no Write on topic {announcements};")];
    train(secured, "publisher", "2006", &[]).must_end_with(1).must_say(&words);
    let after = secured.logs();
    let changed: Vec<&String> = after.keys().filter(|topic| after[*topic] != before[*topic]).collect();
    assert_eq!(changed, [&secured.blobs()], "{before:?} {after:?}");

    must_be_refused(secured, "Write", &secured.blobs(), || train(secured, "announcer", "2006", &[]));
    must_be_refused(secured, "Describe", &secured.topic("audit"), || {
        train(secured, "subscriber", "2006", &[])
    });
    let before = secured.logs();
    train(secured, "administrator", "2006", &[]).must_end_with(1).must_say(&["Kafka grants this client no "]);
    assert_eq!(secured.logs(), before);
}

fn a_version_goes_the_whole_way(secured: &Secured) {
    let app = secured.app("app", "app-1", "info");
    for (until, version) in [("2006", 1), ("2007", 2)] {
        let waiting = ["--wait", "100%", "--timeout", "60s"];
        train(secured, "trainer", until, &waiting).must_end_with(0);
        app.wait_until_live(MODEL, version, version);
    }
    train(secured, "publisher", "2008", &["--dry-run"]).must_end_with(0);
    let as_operator = |args: &[&str]| secured.modelcast("operator", args).must_end_with(0).stdout.clone();
    as_operator(&["rollback", MODEL, "--reason", "a story"]);
    app.wait_until_live(MODEL, 1, 3);
    wait_for("the fleet to be as it should", || {
        (secured.modelcast("operator", &["status", MODEL]).code == Some(0)).then_some(())
    });
    as_operator(&["verify", MODEL]);
    let versions = as_operator(&["versions", MODEL]);
    assert!(versions.contains("quarantined") && !versions.contains('?'), "{versions}");
    app.stop();
}

fn nobody_else_changes_what_runs(secured: &Secured) {
    let pin = ["pin", MODEL, "1", "--all", "--reason", "a story"];
    must_be_refused(secured, "Write", &secured.topic("announcements"), || {
        secured.modelcast("publisher", &pin)
    });
    must_be_refused(secured, "Describe", &secured.topic("audit"), || secured.modelcast("subscriber", &pin));
    let before = secured.logs();
    let ended = secured.modelcast("administrator", &pin);
    ended.must_end_with(1).must_say(&["Kafka grants this client no "]);
    assert_eq!(secured.logs(), before);
}

/// Not by the programs, which look before they write: by clients that do not.
fn nobody_writes_or_reads_beyond_their_role(secured: &Secured) {
    let may = |user| match user {
        "publisher" => {
            (&["blobs.property-value"][..], &["announcements", "blobs.property-value", "fleet"][..])
        }
        "announcer" => {
            (&["announcements", "audit"][..], &["announcements", "blobs.property-value", "fleet"][..])
        }
        "subscriber" => (&["fleet"][..], &["announcements", "blobs.property-value"][..]),
        _ => (&[][..], &[][..]),
    };
    let before = secured.logs_but_reports();
    std::thread::scope(|scope| {
        for user in Role::ALL.map(Role::name) {
            scope.spawn(move || {
                let (writes, reads) = may(user);
                for topic in TOPICS.iter().filter(|topic| !writes.contains(topic)) {
                    assert_eq!(
                        write(secured, user, &secured.topic(topic)),
                        Some(Code::TopicAuthorizationFailed)
                    );
                }
                for topic in TOPICS.iter().filter(|topic| !reads.contains(topic)) {
                    assert_eq!(read(secured, user, &secured.topic(topic)), Code::TopicAuthorizationFailed);
                }
            });
        }
    });
    assert_eq!(secured.logs_but_reports(), before, "something was written");
}

/// Why a record was not taken.
fn write(secured: &Secured, user: &str, topic: &str) -> Option<Code> {
    let producer: FutureProducer = secured.client(user).set("message.timeout.ms", "30000").create().unwrap();
    let record = FutureRecord::to(topic).partition(0).key("key").payload("a forbidden record");
    let sent = runtime().block_on(producer.send(record, DEADLINE));
    sent.err().and_then(|(error, _)| error.rdkafka_error_code())
}

/// Why there is no record.
fn read(secured: &Secured, user: &str, topic: &str) -> Code {
    let consumer: BaseConsumer = secured.client(user).create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).unwrap();
    if let Some(error) = metadata.topics().first().and_then(|topic| topic.error()) {
        return Code::from(error);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    wait_for("an answer to a read", || match consumer.poll(Duration::from_millis(500))? {
        Ok(_) | Err(KafkaError::PartitionEOF(_)) => panic!("{user} read {topic}"),
        Err(error) => error.rdkafka_error_code().filter(|code| *code != Code::GroupAuthorizationFailed),
    })
}

fn only_an_administrator_changes_topics(secured: &Secured) {
    let before = secured.logs();
    for user in ["publisher", "announcer", "subscriber"] {
        for (act, code) in change_topics(secured, user) {
            assert_eq!(code, Err(Code::TopicAuthorizationFailed), "{user}: {act}");
        }
    }
    assert_eq!(secured.logs(), before);
    for (act, code) in change_topics(secured, "administrator") {
        assert_eq!(code, Ok(()), "{act}");
    }
    let (start, end) = secured.logs()[&secured.topic("audit")];
    assert_eq!((start, end - start), (1, 2), "the first copy was cut");
}

/// All that changes topics, and what became of it.
fn change_topics(secured: &Secured, user: &str) -> Vec<(&'static str, Result<(), Code>)> {
    let admin: AdminClient<DefaultClientContext> = secured.client(user).create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE));
    let (spare, announcements) = (secured.topic("blobs.spare"), secured.topic("announcements"));
    let mut cut = TopicPartitionList::new();
    // The others cut what they can see: of what they cannot, librdkafka finds no leader to ask.
    let cuts = if user == "administrator" { secured.topic("audit") } else { announcements.clone() };
    cut.add_partition_offset(&cuts, 0, Offset::Offset(1)).unwrap();
    let mut changes: Vec<_> = runtime().block_on(async {
        let new = [NewTopic::new(&spare, 1, TopicReplication::Fixed(1))];
        let created = admin.create_topics(&new, &options).await.unwrap();
        let created = created.into_iter().map(|one| one.map(drop).map_err(|(_, code)| code));
        // Who may not create it gets no partitions of a topic that is there.
        let grows = if user == "administrator" { &spare } else { &announcements };
        let grown = admin.create_partitions(&[NewPartitions::new(grows, 2)], &options).await.unwrap();
        let grown = grown.into_iter().map(|one| one.map(drop).map_err(|(_, code)| code));
        alter(&admin, secured, &[OTHER_DELAY]).await;
        let deleted = admin.delete_records(&cut, &options).await.unwrap();
        let deleted = deleted.elements().into_iter().map(|one| match one.error() {
            Ok(()) => Ok(()),
            Err(error) => Err(error.rdkafka_error_code().unwrap()),
        });
        let gone = admin.delete_topics(&[grows], &options).await.unwrap();
        let gone = gone.into_iter().map(|one| one.map(drop).map_err(|(_, code)| code));
        let named = |act: &'static str| move |code| (act, code);
        created
            .map(named("create a topic"))
            .chain(grown.map(named("add partitions")))
            .chain(deleted.map(named("delete records")))
            .chain(gone.map(named("delete a topic")))
            .collect()
    });
    changes.push(("alter settings", what_became_of_the_delay(secured, user)));
    changes
}

/// Asks for the announcements to have their settings, but for these. rdkafka does not tell what Kafka said to it.
async fn alter(
    admin: &AdminClient<DefaultClientContext>,
    secured: &Secured,
    other: &[(&'static str, &'static str)],
) {
    let spec = topic::announcements(&secured.scene.kafka.namespace);
    let mut settings: BTreeMap<&str, &str> =
        spec.settings.iter().map(|(key, value)| (&**key, &**value)).collect();
    settings.extend(other.iter().copied());
    let new = AlterConfig::new(ResourceSpecifier::Topic(&spec.name));
    let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
    admin.alter_configs(&[new], &AdminOptions::new().request_timeout(Some(DEADLINE))).await.unwrap();
}

/// By the setting, or by Kafka's log.
fn what_became_of_the_delay(secured: &Secured, user: &str) -> Result<(), Code> {
    let (key, value) = OTHER_DELAY;
    let topic = secured.topic("announcements");
    let denied = (user.to_owned(), "ALTER_CONFIGS".to_owned(), format!("Topic:LITERAL:{topic}"));
    wait_for("a word on the settings", || {
        if secured.setting(&topic, key) == value {
            return Some(Ok(()));
        }
        let is_denied = decisions(&kafka().log().unwrap(), "Denied").contains(&denied);
        is_denied.then_some(Err(Code::TopicAuthorizationFailed))
    })
}

/// A right to see settings that is missing would hide what is wrong.
fn a_wrong_setting_is_seen_by_everybody(secured: &Secured) {
    let admin: AdminClient<DefaultClientContext> = secured.client("administrator").create().unwrap();
    let runtime = runtime();
    runtime.block_on(alter(&admin, secured, &[("retention.ms", "3600000")]));
    wait_for("the setting", || {
        (secured.setting(&secured.topic("announcements"), "retention.ms") == "3600000").then_some(())
    });
    let words = [&*secured.topic("announcements"), "retention.ms=3600000"];
    let pin = ["pin", MODEL, "1", "--all", "--reason", "a story"];
    train(secured, "publisher", "2008", &[]).must_end_with(1).must_say(&words);
    secured.modelcast("announcer", &pin).must_end_with(1).must_say(&words);
    let app = secured.app("subscriber", "app-2", "info");
    wait_for("the app to see it", || words.iter().all(|word| app.log().contains(word)).then_some(()));
    runtime.block_on(alter(&admin, secured, &[]));
    app.wait_until_live(MODEL, 1, 3);
    app.stop();
}

/// The documentation's command grants it.
fn recovering_takes_one_right_more(secured: &Secured) {
    let (audit, recover) = (secured.topic("audit"), ["recover", MODEL, "--reason", "a story"]);
    must_be_refused(secured, "Read", &audit, || secured.modelcast("announcer", &recover));
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let command = text.lines().find(|line| line.starts_with("kafka-acls.sh ") && line.contains(".audit"));
    let (_, words) = command.unwrap().split_once(" --add ").unwrap();
    let words: Vec<String> = words.split(' ').map(|word| word.replace("modelcast.audit", &audit)).collect();
    security().allow(kafka(), &words).unwrap();
    secured.modelcast("announcer", &recover).must_end_with(0);
}

/// Of commands each output is looked at, here and above.
fn no_secret_is_in_any_log(secured: &Secured) {
    // All that librdkafka says of itself, its settings included.
    let loud = |user: &str| format!("{}\"debug\" = \"all\"\n", secured.entrance.section(user));
    let append = |name: &str, user: &str| {
        let quiet = secured.entrance.section(user);
        let text = std::fs::read_to_string(secured.scene.path(name)).unwrap();
        secured.scene.write(name, &text.replace(&quiet, &loud(user)));
    };
    append("operator-operator.toml", "operator");
    append("trainer-trainer.toml", "trainer");
    let log = ["--log", "trace,librdkafka=trace,rdkafka=trace"];
    let status = secured.modelcast("operator", &[&["status"], &log[..]].concat());
    let trained = train(secured, "trainer", "2008", &[&["--dry-run"], &log[..]].concat());
    let mut logs: Vec<(&str, String)> = [("modelcast", status), ("trainer", trained)]
        .map(|(program, ended)| {
            ended.must_end_with(0);
            (program, format!("{}{}", ended.stdout, ended.stderr))
        })
        .to_vec();

    let config = secured.scene.configure_app("app-3", &[MODEL], &loud("app"));
    let app = App::start_logging("app-3", &config, log[1]);
    app.wait_until_live(MODEL, 1, 3);
    logs.push(("consumer-app", app.log()));
    app.stop();
    let said = match secured.entrance {
        Entrance::Scram => "sasl.password = [redacted]",
        Entrance::Mtls => "ssl.key.location = ",
    };
    for (program, log) in &logs {
        assert!(log.contains(said), "{program} does not say what librdkafka was told");
    }
    logs.push(("kafka", kafka().log().unwrap()));
    for (program, log) in &logs {
        assert!(log.lines().count() > 100, "{program} says next to nothing");
        secured.must_hide_secrets(program, log);
    }
    for name in ["app-1.log", "app-2.log"] {
        secured.must_hide_secrets(name, &std::fs::read_to_string(secured.scene.path(name)).unwrap());
    }
}

fn every_right_was_used_and_none_was_missing(secured: &Secured) {
    let namespace = secured.entrance.namespace();
    let mut missing = Vec::new();
    // The log may be behind what it tells of.
    look_within(DEADLINE, || {
        let used = decisions(&kafka().log().unwrap(), "Allowed");
        missing = Role::ALL.into_iter().flat_map(|role| unused(role, namespace, &used)).collect();
        missing.is_empty().then_some(())
    });
    assert!(missing.is_empty(), "rights that nobody needs: {missing:#?}");
    let of_ours =
        |resource: &str| resource.contains(&format!(":{namespace}.")) || resource.starts_with("Group");
    let denied: Vec<Decision> = decisions(&kafka().log().unwrap(), "Denied")
        .into_iter()
        .filter(|(user, _, resource)| {
            ["trainer", "operator", "app"].contains(&user.as_str()) && of_ours(resource)
        })
        .collect();
    assert!(denied.is_empty(), "rights that are missing: {denied:#?}");
}

/// The rights of a role that no user of this role alone made use of.
fn unused(role: Role, namespace: &str, used: &BTreeSet<Decision>) -> Vec<String> {
    let alone: Vec<&str> =
        USERS.iter().filter(|(_, roles)| *roles == [role]).map(|(user, _)| *user).collect();
    let mut unused = Vec::new();
    for grant in role.grants() {
        let (kind, name, whole) = match grant.resource {
            Resource::Topic(topic) => ("Topic", format!("{namespace}.{topic}"), true),
            Resource::TopicsFrom(start) => ("Topic", format!("{namespace}.{start}"), false),
            Resource::Group(group) => ("Group", group.to_owned(), true),
        };
        let start = format!("{kind}:LITERAL:{name}");
        for operation in grant.operations {
            let is_it = |(user, what, resource): &Decision| {
                alone.contains(&user.as_str())
                    && what.replace('_', "").eq_ignore_ascii_case(operation)
                    && if whole { *resource == start } else { resource.starts_with(&start) }
            };
            if !used.iter().any(is_it) {
                unused.push(format!("{role:?}: {operation} on {name} ({})", grant.reason));
            }
        }
    }
    unused
}

/// What somebody shows, by which way in, and a word of the error.
type Credential = (&'static str, Entrance, BTreeMap<String, String>, &'static str);

/// Each of them is not what it should be in one thing.
fn wrong_credentials() -> Vec<Credential> {
    let stranger = Authority::generate("somebody else").unwrap();
    let keep = |name: &str, certificate| security().keep(name, &certificate).unwrap();
    keep("foreign", stranger.issue("trainer", &[], Validity::Lasting).unwrap());
    keep("expired", security().authority().issue("trainer", &[], Validity::Expired).unwrap());
    let path = |name: &str| security().path(name).display().to_string();
    std::fs::write(path("stranger.pem"), stranger.certificate()).unwrap();

    let with = |entrance: Entrance, key: &str, value: &str| {
        let mut properties = entrance.properties("trainer");
        properties.insert(key.to_owned(), value.to_owned());
        properties
    };
    let tls_alone = || {
        let properties = [("security.protocol", "SSL".to_owned()), ("ssl.ca.location", path("ca.pem"))];
        properties.map(|(key, value)| (key.to_owned(), value)).into()
    };
    let strange = |entrance| with(entrance, "ssl.ca.location", &path("stranger.pem"));
    let (scram, mtls) = (Entrance::Scram, Entrance::Mtls);
    vec![
        ("a wrong password", scram, with(scram, "sasl.password", WRONG_PASSWORD), "invalid credentials"),
        ("an unknown user", scram, with(scram, "sasl.username", "eve"), "invalid credentials"),
        ("no password", scram, tls_alone(), "cannot reach"),
        ("no TLS, by password", scram, BTreeMap::new(), "cannot reach"),
        ("no TLS, by certificate", mtls, BTreeMap::new(), "cannot reach"),
        ("no certificate", mtls, tls_alone(), "alert"),
        ("a certificate of another authority", mtls, security().mtls("foreign"), "alert"),
        ("a certificate that has ended", mtls, security().mtls("expired"), "alert"),
        ("a broker of another authority, by password", scram, strange(scram), "could not be verified"),
        ("a broker of another authority, by certificate", mtls, strange(mtls), "could not be verified"),
    ]
}

#[test]
fn whoever_shows_no_valid_credential_is_not_let_in() {
    if !offers(&[Ability::Security]) {
        return;
    }
    let secured = Secured::new(Entrance::Scram);
    std::thread::scope(|scope| {
        for (number, (case, entrance, properties, word)) in wrong_credentials().into_iter().enumerate() {
            let secured = &secured;
            scope.spawn(move || {
                let (name, servers) = (format!("case-{number}.toml"), entrance.servers());
                let has_password = properties.contains_key("sasl.password");
                let properties: String =
                    properties.iter().map(|(key, value)| format!("\"{key}\" = \"{value}\"\n")).collect();
                let kafka =
                    format!("[kafka]\nbootstrap_servers = \"{servers}\"\n[kafka.properties]\n{properties}");
                secured.scene.write(&name, &kafka);
                let check = ["topics", "check"];
                let ended = secured.run("modelcast", &name, &check);
                assert_eq!(ended.code, Some(69), "{case}: {}", ended.stderr);
                for word in [word, &servers] {
                    assert!(ended.stderr.contains(word), "{case}: {word:?} is not in: {}", ended.stderr);
                }
                // Those that are shown here alone; the others are looked for in each run.
                for key in ["foreign", "expired"] {
                    let key = security().path(&format!("{key}.key.pem"));
                    must_hide_key(case, &key, &format!("{}{}", ended.stdout, ended.stderr));
                }
                if !has_password {
                    return;
                }
                // With all that librdkafka says.
                secured.scene.write(&name, &format!("{kafka}\"debug\" = \"all\"\n"));
                let log = ["--log", "trace,librdkafka=trace,rdkafka=trace"];
                let loud = secured.run("modelcast", &name, &[&check[..], &log].concat());
                assert!(loud.stderr.len() > 10 * ended.stderr.len(), "{case}: {}", loud.stderr);
                assert!(!loud.stderr.contains(WRONG_PASSWORD), "{case}: it is in the log");
            });
        }
    });
    // The same with nothing wrong in it.
    for entrance in Entrance::ALL {
        let client = config(&entrance.servers(), entrance.properties("trainer"));
        let consumer: BaseConsumer = client.create().unwrap();
        assert!(!consumer.fetch_metadata(None, DEADLINE).unwrap().brokers().is_empty(), "{entrance:?}");
    }
}
