//! A Kafka that lets in only whom it knows, and the programs as its users.
//!
//! The programs' settings are the shipped ones: a program's file, and for its credentials `config/security/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use modelcast::protocol::topic;
use modelcast_testcontainers::Kafka;
use modelcast_testcontainers::security::{MTLS, Role, SCRAM, Security};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::app::App;
use super::programs::{self, Ended, root};
use super::scene::{Scene, model};
use super::{DEADLINE, runtime};

/// The model that all is about.
pub(crate) const MODEL: &str = "property-value";
/// Who there is. Those with the name of a role try what they may not; the others never do.
pub(crate) const USERS: [(&str, &[Role]); 7] = [
    ("publisher", &[Role::Publisher]),
    ("announcer", &[Role::Announcer]),
    ("subscriber", &[Role::Subscriber]),
    ("administrator", &[Role::Administrator]),
    ("trainer", &[Role::Publisher, Role::Announcer]),
    ("operator", &[Role::Announcer]),
    ("app", &[Role::Subscriber]),
];

/// How a client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    Scram,
    Mtls,
}

impl Entrance {
    pub(crate) const ALL: [Self; 2] = [Self::Scram, Self::Mtls];

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Scram => "by-password",
            Self::Mtls => "by-certificate",
        }
    }

    pub(crate) fn servers(self) -> String {
        let listener = match self {
            Self::Scram => SCRAM,
            Self::Mtls => MTLS,
        };
        kafka().listener_servers(listener).unwrap()
    }

    /// librdkafka's properties for a user.
    pub(crate) fn properties(self, user: &str) -> BTreeMap<String, String> {
        match self {
            Self::Scram => security().scram(user),
            Self::Mtls => security().mtls(user),
        }
    }

    /// The shipped `[kafka.properties]` as this user's.
    pub(crate) fn section(self, user: &str) -> String {
        let file = match self {
            Self::Scram => "config/security/scram.toml",
            Self::Mtls => "config/security/mtls.toml",
        };
        let mut text = fs::read_to_string(root().join(file)).unwrap();
        let ours = [("ca.", "ca."), ("kafka.", &format!("{user}."))];
        for (shipped, file) in ours {
            let (shipped, path) = (format!("/etc/modelcast/{shipped}"), security().path(file));
            assert!(text.contains(&shipped), "{shipped} is not in: {text}");
            text = text.replace(&shipped, &path.display().to_string());
        }
        text.replace("\"sasl.username\" = \"trainer\"", &format!("\"sasl.username\" = \"{user}\""))
    }
}

pub(crate) fn kafka() -> &'static Kafka {
    &house().0
}

pub(crate) fn security() -> &'static Security {
    &house().1
}

/// A Kafka that lets in these users, grants nobody anything yet, and says in its log what it allowed too.
pub(crate) fn start(users: &[&str]) -> (Kafka, Security) {
    let security = Security::new(users, &["127.0.0.1", "localhost"]).unwrap();
    let kafka = Kafka::builder().security(&security).start().unwrap();
    let more = "kafka.authorizer.logger=DEBUG";
    let alter = ["--alter", "--entity-type", "broker-loggers", "--entity-name", "1", "--add-config", more];
    security.run_tool(&kafka, "kafka.admin.ConfigCommand", &alter).unwrap();
    (kafka, security)
}

/// The secured Kafka of this binary, with the rights of everybody on both namespaces.
fn house() -> &'static (Kafka, Security) {
    static HOUSE: OnceLock<(Kafka, Security)> = OnceLock::new();
    HOUSE.get_or_init(|| {
        let (kafka, security) = start(&USERS.map(|(user, _)| user));
        let namespaces = Entrance::ALL.map(Entrance::namespace);
        for role in Role::ALL {
            let has_it = USERS.iter().filter(|(_, roles)| roles.contains(&role));
            let users: Vec<&str> = has_it.map(|(user, _)| *user).collect();
            security.grant(&kafka, role, &namespaces, &users).unwrap();
        }
        (kafka, security)
    })
}

/// What Kafka's log says about one request: user, operation, resource.
pub(crate) type Decision = (String, String, String);

/// What was `Allowed` or `Denied`.
pub(crate) fn decisions(log: &str, verdict: &str) -> BTreeSet<Decision> {
    let between = |line: &str, start: &str, end: &str| -> Option<String> {
        Some(line.split_once(start)?.1.split_once(end)?.0.to_owned())
    };
    let decision = |line: &str| {
        let user = between(line, "Principal = User:", &format!(" is {verdict} operation = "))?;
        let operation = between(line, " operation = ", " from host")?;
        let resource = between(line, " on resource = ", " for request")?;
        Some((user, operation, resource))
    };
    log.lines().filter_map(decision).collect()
}

/// No line of this private key is there.
pub(crate) fn must_hide_key(who: &str, key: &Path, said: &str) {
    let pem = fs::read_to_string(key).unwrap();
    let lines: Vec<_> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line.len() > 4 && !said.contains(line), "{who} says a line of {}", key.display());
    }
}

/// The workplace of one way in: settings files for each user.
pub(crate) struct Secured {
    pub(crate) scene: Scene,
    pub(crate) entrance: Entrance,
}

impl Secured {
    /// With keys, without topics.
    pub(crate) fn new(entrance: Entrance) -> Self {
        let scene = Scene::bare(&entrance.servers(), entrance.namespace());
        for (user, _) in USERS {
            let section = entrance.section(user);
            for program in ["operator", "trainer"] {
                let text = fs::read_to_string(scene.path(&format!("{program}.toml"))).unwrap();
                scene.write(&format!("{program}-{user}.toml"), &format!("{text}\n{section}"));
            }
        }
        // From here on nobody comes in without a credential.
        fs::remove_file(scene.path("operator.toml")).unwrap();
        fs::remove_file(scene.path("trainer.toml")).unwrap();
        Self { scene, entrance }
    }

    pub(crate) fn modelcast(&self, user: &str, args: &[&str]) -> Ended {
        self.run("modelcast", &format!("operator-{user}.toml"), args)
    }

    pub(crate) fn trainer(&self, user: &str, args: &[&str]) -> Ended {
        self.run("trainer", &format!("trainer-{user}.toml"), args)
    }

    /// Runs a program, which says no secret.
    pub(crate) fn run(&self, program: &str, config: &str, args: &[&str]) -> Ended {
        let config = self.scene.shown(config);
        let ended = programs::run(program, &[args, &["--config", &config]].concat(), &self.scene.folder());
        self.must_hide_secrets(program, &format!("{}{}", ended.stdout, ended.stderr));
        ended
    }

    /// What nobody may see is not there: passwords, and each line of each private key.
    pub(crate) fn must_hide_secrets(&self, who: &str, said: &str) {
        for (user, password) in security().passwords() {
            assert!(password.len() > 4 && !said.contains(password), "{who} says the password of {user}");
        }
        let users = USERS.map(|(user, _)| user).into_iter().chain(["broker"]);
        let keys = users.map(|user| security().path(&format!("{user}.key.pem")));
        for path in keys.chain([self.scene.path("keys/team.key.pem")]) {
            must_hide_key(who, &path, said);
        }
    }

    /// Starts an app as this user.
    pub(crate) fn app(&self, user: &str, name: &str, log: &str) -> App {
        let config = self.scene.configure_app(name, &[MODEL], &self.entrance.section(user));
        App::start_logging(name, &config, log)
    }

    /// A client of the test's own, as this user.
    pub(crate) fn client(&self, user: &str) -> ClientConfig {
        config(&self.entrance.servers(), self.entrance.properties(user))
    }

    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.entrance.namespace())
    }

    /// First offset and end of each topic there is, as the super user sees them; the fleet's first partition only.
    pub(crate) fn logs(&self) -> BTreeMap<String, (i64, i64)> {
        let config = config(&Entrance::Mtls.servers(), security().super_user());
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer.fetch_metadata(None, DEADLINE).unwrap();
        let ours = format!("{}.", self.entrance.namespace());
        let topics = metadata.topics().iter().map(|topic| topic.name().to_owned());
        topics
            .filter(|topic| topic.starts_with(&ours))
            .map(|topic| (topic.clone(), consumer.fetch_watermarks(&topic, 0, DEADLINE).unwrap()))
            .collect()
    }

    /// A setting of a topic, as the super user sees it.
    pub(crate) fn setting(&self, topic: &str, key: &str) -> String {
        let config = config(&Entrance::Mtls.servers(), security().super_user());
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let options = AdminOptions::new().request_timeout(Some(DEADLINE));
        let topics = [ResourceSpecifier::Topic(topic)];
        let described = admin.describe_configs(&topics, &options);
        let described = runtime().block_on(described).unwrap().remove(0).unwrap();
        described.get(key).unwrap().value.clone().unwrap()
    }

    /// The same without reports, which running apps send all the time.
    pub(crate) fn logs_but_reports(&self) -> BTreeMap<String, (i64, i64)> {
        let fleet = topic::fleet(&self.scene.kafka.namespace).name;
        self.logs().into_iter().filter(|(topic, _)| *topic != fleet).collect()
    }

    /// The blobs topic of the model.
    pub(crate) fn blobs(&self) -> String {
        topic::blobs(&self.scene.kafka.namespace, &model(MODEL)).name
    }
}

pub(crate) fn config(servers: &str, properties: BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("allow.auto.create.topics", "false");
    config.set("group.id", "modelcast").set("enable.partition.eof", "true");
    for (key, value) in properties {
        config.set(key, value);
    }
    config
}
