//! A PostgreSQL of the tests' own: made in a temporary folder, on a port of its own, with TLS and a password.
//!
//! One server for all tests of the process, a database for each. A shell holds it by its process id and ends it when
//! the pipe from this process closes, so that it goes even where this process is killed.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use consumer_app::settings::StoreSettings;
use postgres::{Client, NoTls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::fixture::until;

/// Starts what follows the folder, waits for the pipe to close, ends it and removes the folder: after a signal to the
/// whole process group too.
const HOLD: &str = "trap : INT TERM HUP; \"$@\" & pid=$!; cat > \"$0/input\"; kill -QUIT $pid; wait $pid; \
    rm -rf \"$0\"";
const PASSWORD: &str = "correct horse";

/// A running server.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    /// The authority that vouches for its certificate.
    pub(crate) ca: PathBuf,
    folder: PathBuf,
    _holder: Child,
    _alive: ChildStdin,
}

impl Postgres {
    /// The server that all tests share; `None` where PostgreSQL is not installed, except in CI, where it must be.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// A server of a test's own, for what others would not live through.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!ci, "there is no PostgreSQL, and in CI there must be: `cargo xtask test` installs it");
            eprintln!("skipped on PostgreSQL: it is not installed; `cargo xtask test` installs it");
            return None;
        };
        let owner = is_root().then(unprivileged);
        let folder = tempfile::Builder::new().prefix("modelcast-postgres-").tempdir().unwrap().keep();
        let ca = certificates(&folder);
        fs::write(folder.join("password"), PASSWORD).unwrap();
        for file in ["", "password", "server.pem", "server.key.pem"] {
            give(&folder.join(file), owner);
        }
        let data = folder.join("data");
        let made = as_owner(&programs.join("initdb"), owner)
            .args([
                "--username=tester",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .arg(format!("--pwfile={}", folder.join("password").display()))
            .arg("-D")
            .arg(&data)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Somebody may take the port before the server does: then with another one.
        let server = (0..5).find_map(|_| Self::run(&programs, &folder, owner, &ca));
        Some(server.expect("PostgreSQL starts"))
    }

    fn run(programs: &Path, folder: &Path, owner: Option<(u32, u32)>, ca: &Path) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut holder = as_owner(Path::new("sh"), owner)
            .arg("-c")
            .arg(HOLD)
            .arg(folder)
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "ssl=on"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", folder.display()))
            .arg("-c")
            .arg(format!("ssl_cert_file={}", folder.join("server.pem").display()))
            .arg("-c")
            .arg(format!("ssl_key_file={}", folder.join("server.key.pem").display()))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let alive = holder.stdin.take().unwrap();
        let (folder, ca) = (folder.to_owned(), ca.to_owned());
        let server = Self { port, ca, folder, _holder: holder, _alive: alive };
        let came_up = until("PostgreSQL answers, or says why not", || {
            let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
            if log.contains("could not create any TCP/IP sockets") {
                return Some(false);
            }
            server.client("postgres").ok().map(|_| true)
        });
        came_up.then_some(server)
    }

    /// A new database on it, as settings.
    pub(crate) fn store(&self) -> StoreSettings {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.client("postgres").unwrap().batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        self.settings(&name)
    }

    pub(crate) fn settings(&self, database: &str) -> StoreSettings {
        StoreSettings {
            store: format!("postgresql://tester@127.0.0.1:{}/{database}?sslmode=require", self.port),
            password: Some(PASSWORD.into()),
            ca: Some(self.ca.clone()),
            ..StoreSettings::default()
        }
    }

    /// A connection of the test's own, beside the store.
    pub(crate) fn client(&self, database: &str) -> Result<Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("tester").password(PASSWORD).dbname(database);
        config.connect(NoTls)
    }
}

/// The folder of initdb and postgres: on the path, or where Debian has them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    debian
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .find(|folder| ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file()))
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

/// PostgreSQL does not run as root: its own user does, or nobody.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    user("postgres").or_else(|| user("nobody")).expect("a user without rights")
}

fn as_owner(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn give(path: &Path, owner: Option<(u32, u32)>) {
    if let Some((user, group)) = owner {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// An authority, and a certificate of the server by it.
fn certificates(folder: &Path) -> PathBuf {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    let ca = folder.join("ca.pem");
    fs::write(&ca, authority_certificate.pem()).unwrap();
    fs::write(folder.join("server.pem"), server.pem()).unwrap();
    let file = folder.join("server.key.pem");
    fs::write(&file, key.serialize_pem()).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    ca
}
