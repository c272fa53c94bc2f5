//! What a Kafka needs to let in only whom it knows: certificates, passwords, broker settings, and rights by role.
//!
//! [`Security`] is made for some users, each with a password (SASL/SCRAM-SHA-512 over TLS) and a certificate (mTLS) of
//! their own; the same name is the same user, whichever way they come in. The broker's settings are the shipped
//! `config/security/broker.properties` with paths of this machine, so that what an operator copies is what is tested.
//! Does not start anything (see [`KafkaBuilder::security`]), and knows no topics beyond the rights on them.
//!
//! # Invariants
//! * Every key and password is new, and goes with the folder it lies in.
//! * No user but the broker is a super user.

mod certificates;
mod rights;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::error::Error;
use crate::kafka::{Kafka, KafkaBuilder};

pub use certificates::{Authority, Certificate, Validity};
pub use rights::{Grant, Resource, Role};

/// The listener for users with a password.
pub const SCRAM: &str = "SCRAM";
/// The listener for users with a certificate.
pub const MTLS: &str = "MTLS";
/// The user that brokers are: it may do everything.
const BROKER: &str = "broker";
const BROKER_SETTINGS: &str = include_str!("../../../config/security/broker.properties");
/// Where the shipped settings have the broker's files.
const SHIPPED_FOLDER: &str = "/etc/kafka/secrets/";
/// Settings that say where the broker listens: those are the kit's own.
const ADDRESSES: [&str; 4] =
    ["listeners", "advertised.listeners", "controller.listener.names", "inter.broker.listener.name"];
const PROTOCOLS: &str = "listener.security.protocol.map";
/// The kit looks by this whether the broker is there; who comes in by it is nobody, and has no rights.
const KIT_LISTENERS: &str = "CLIENT:PLAINTEXT,FAULTY:PLAINTEXT";
const AUTHORITY_FILE: &str = "ca.pem";
const BROKER_FILE: &str = "broker.pem";
/// What Kafka's tools take to be the super user.
const ADMIN_FILE: &str = "admin.properties";

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// None could be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// They cannot be kept.
    #[error("cannot keep certificates; TMPDIR names another place for them")]
    Folder(#[from] io::Error),
}

/// Certificates, passwords and broker settings for one Kafka.
pub struct Security {
    folder: TempDir,
    authority: Authority,
    passwords: BTreeMap<String, String>,
    broker: Certificate,
}

impl Security {
    /// For these users, and for brokers that clients know by one of these names or addresses.
    ///
    /// # Errors
    /// [`SecurityError`].
    pub fn new(users: &[&str], hosts: &[&str]) -> Result<Self, SecurityError> {
        let (folder, authority) = (TempDir::new()?, Authority::generate("modelcast tests")?);
        let broker = authority.issue(BROKER, hosts, Validity::Lasting)?;
        let mut security = Self { folder, authority, passwords: BTreeMap::new(), broker };
        security.write(AUTHORITY_FILE, security.authority.certificate())?;
        security.keep(BROKER, &security.broker)?;
        for &user in users {
            let certificate = security.authority.issue(user, &[], Validity::Lasting)?;
            security.keep(user, &certificate)?;
            // As random as the key that it is made from.
            let password = hex::encode(blake3::hash(certificate.key.as_bytes()).as_bytes());
            security.write(&format!("{user}.password"), &format!("{password}\n"))?;
            security.passwords.insert(user.to_owned(), password);
        }
        Ok(security)
    }

    /// Whose signature the brokers believe.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Each user with their password. `USER.password` has it too.
    pub fn passwords(&self) -> &BTreeMap<String, String> {
        &self.passwords
    }

    /// A file that a client needs: `ca.pem`, and for each user `USER.pem`, `USER.key.pem` and `USER.password`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Keeps a certificate as `NAME.pem` and `NAME.key.pem`, where [`path`](Self::path) finds them.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn keep(&self, name: &str, certificate: &Certificate) -> io::Result<()> {
        self.write(&format!("{name}.pem"), &certificate.certificate)?;
        self.write(&format!("{name}.key.pem"), &certificate.key)
    }

    /// librdkafka's properties of a client that comes in by name and password.
    ///
    /// # Panics
    /// When there is no such user: it says who there is.
    pub fn scram(&self, user: &str) -> BTreeMap<String, String> {
        let users = || self.passwords.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let password = self.passwords.get(user);
        let password = password.unwrap_or_else(|| panic!("no user {user}: there are {}", users()));
        self.properties(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", user),
            ("sasl.password", password),
        ])
    }

    /// librdkafka's properties of a client that comes in by certificate.
    ///
    /// # Panics
    /// When there is no certificate of this name.
    pub fn mtls(&self, user: &str) -> BTreeMap<String, String> {
        let certificate = self.path(&format!("{user}.pem"));
        assert!(certificate.is_file(), "no certificate of {user}: {} is missing", certificate.display());
        let path = |end: &str| self.path(&format!("{user}{end}")).display().to_string();
        self.properties(&[
            ("security.protocol", "SSL"),
            ("ssl.certificate.location", &path(".pem")),
            ("ssl.key.location", &path(".key.pem")),
        ])
    }

    fn properties(&self, properties: &[(&str, &str)]) -> BTreeMap<String, String> {
        let authority = ("ssl.ca.location".to_owned(), self.path(AUTHORITY_FILE).display().to_string());
        let own = properties.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        own.chain([authority]).collect()
    }

    /// librdkafka's properties of the super user, who comes in by certificate: for what only a test may look at.
    pub fn super_user(&self) -> BTreeMap<String, String> {
        self.mtls(BROKER)
    }

    /// Gives some users a role on some namespaces, as the commands of `docs/operations.md` do.
    ///
    /// # Errors
    /// As [`Kafka::run_tool`].
    pub fn grant(&self, kafka: &Kafka, role: Role, namespaces: &[&str], users: &[&str]) -> Result<(), Error> {
        role.grants().iter().try_for_each(|grant| self.allow(kafka, &grant.arguments(namespaces, users)))
    }

    /// Gives the rights that `kafka-acls.sh --add` gives with these words.
    ///
    /// # Errors
    /// As [`Kafka::run_tool`].
    pub fn allow(&self, kafka: &Kafka, words: &[String]) -> Result<(), Error> {
        let words: Vec<&str> = ["--add"].into_iter().chain(words.iter().map(String::as_str)).collect();
        self.run_tool(kafka, "org.apache.kafka.tools.AclCommand", &words).map(drop)
    }

    /// Runs one of Kafka's own tools as the super user.
    ///
    /// # Errors
    /// As [`Kafka::run_tool`]; [`Error::Cannot`] where it was started without [`KafkaBuilder::security`].
    pub fn run_tool(&self, kafka: &Kafka, class: &str, words: &[&str]) -> Result<String, Error> {
        let servers = kafka.listener_servers(MTLS).ok_or_else(|| Error::Cannot {
            task: "run a tool as the super user",
            reason: "this Kafka was started without KafkaBuilder::security".to_owned(),
        })?;
        let to = ["--bootstrap-server", &servers, "--command-config", ADMIN_FILE];
        kafka.run_tool(class, &[&to, words].concat())
    }

    fn broker_files(&self) -> [(&'static str, String); 3] {
        let authority = self.authority.certificate().to_owned();
        let key_store = [&*self.broker.key, &self.broker.certificate, &authority].concat();
        let stores = broker_settings().into_iter().filter(|(key, _)| key.contains("store."));
        let stores: String = stores.map(|(key, value)| format!("{key}={value}\n")).collect();
        let admin = format!("security.protocol=SSL\n{stores}");
        [(BROKER_FILE, key_store), (AUTHORITY_FILE, authority), (ADMIN_FILE, admin)]
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.path(name);
        fs::write(&path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    }
}

impl KafkaBuilder {
    /// Lets in only whom `security` knows, by the listeners [`SCRAM`] and [`MTLS`], and lets nobody do what was not
    /// granted. The kit's own listener stays: whoever comes in by it is nobody, and has no rights.
    #[must_use]
    pub fn security(self, security: &Security) -> Self {
        let builder = self.listener(SCRAM, "SASL_SSL").listener(MTLS, "SSL");
        let settings = broker_settings();
        let builder = settings.iter().fold(builder, |builder, (key, value)| builder.setting(key, value));
        let files = security.broker_files();
        let builder = files.iter().fold(builder, |builder, (name, text)| builder.file(name, text));
        // From the first start on, so that nobody has to be let in to make the users.
        security.passwords.iter().fold(builder, |builder, (user, password)| {
            let value = format!("SCRAM-SHA-512=[name={user},password={password}]");
            builder.format_argument("--add-scram").format_argument(&value)
        })
    }
}

/// What stands in server.properties; the files are in the folder that the broker runs in.
fn broker_settings() -> Vec<(String, String)> {
    let lines = BROKER_SETTINGS.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| !ADDRESSES.contains(key))
        .map(|(key, value)| {
            let value = value.replace(SHIPPED_FOLDER, "");
            let value = if key == PROTOCOLS { format!("{value},{KIT_LISTENERS}") } else { value };
            (key.to_owned(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RECIPE: &str = include_str!("../../../docs/operations.md");

    /// One right as Kafka keeps it: user, operation, kind of resource, name, pattern.
    type Right = (String, String, &'static str, String, String);

    /// What a `kafka-acls.sh --add` with these words gives.
    fn rights<'a>(words: impl Iterator<Item = &'a str>) -> BTreeSet<Right> {
        let words: Vec<&str> = words.collect();
        let values = |flag: &str| -> Vec<String> {
            let pairs = words.chunks(2).filter(|pair| pair[0] == flag);
            pairs.map(|pair| pair[1].to_owned()).collect()
        };
        let known = ["--allow-principal", "--operation", "--topic", "--group", "--resource-pattern-type"];
        assert!(words.chunks(2).all(|pair| pair.len() == 2 && known.contains(&pair[0])), "{words:?}");
        let pattern = values("--resource-pattern-type").pop().unwrap_or_else(|| "literal".to_owned());
        let topics = values("--topic").into_iter().map(|name| ("topic", name));
        let groups = values("--group").into_iter().map(|name| ("group", name));
        let mut rights = BTreeSet::new();
        for (kind, name) in topics.chain(groups) {
            for user in values("--allow-principal") {
                for operation in values("--operation") {
                    rights.insert((user.clone(), operation, kind, name.clone(), pattern.clone()));
                }
            }
        }
        rights
    }

    #[test]
    fn the_documented_commands_give_the_rights_of_the_roles_and_no_others() {
        let documented: BTreeSet<Right> = RECIPE
            .lines()
            .filter_map(|line| line.strip_prefix("grant --"))
            .flat_map(|words| rights(format!("--{words}").split(' ')))
            .collect();
        let data: BTreeSet<Right> = Role::ALL
            .into_iter()
            .flat_map(|role| role.grants().iter().map(move |grant| (role, grant)))
            .flat_map(|(role, grant)| {
                let words = grant.arguments(&["modelcast"], &[role.name()]);
                rights(words.iter().map(String::as_str))
            })
            .collect();
        assert_eq!(documented, data);
        assert!(data.len() > 20, "{data:#?}");
    }

    #[test]
    #[should_panic(expected = "no user adam: there are ada, eve")]
    fn a_user_without_a_password_is_nobody() {
        Security::new(&["eve", "ada"], &["localhost"]).unwrap().scram("adam");
    }

    #[test]
    #[should_panic(expected = "no certificate of adam: ")]
    fn a_user_without_a_certificate_is_nobody() {
        Security::new(&["ada"], &["localhost"]).unwrap().mtls("adam");
    }

    #[test]
    fn the_shipped_broker_settings_name_the_files_there_are() {
        let security = Security::new(&["ada"], &["localhost"]).unwrap();
        let text: String = broker_settings().iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        assert!(!text.contains('/') || !text.contains("/etc"), "{text}");
        assert!(!text.contains("example.com"), "{text}");
        for (name, content) in security.broker_files() {
            assert!(name == ADMIN_FILE || text.contains(&format!("={name}\n")), "{name}");
            assert!(!content.is_empty());
        }
        assert!(text.contains("super.users=User:broker\n"));
        assert!(!security.passwords().contains_key(BROKER), "a password would let a super user in");
    }
}
