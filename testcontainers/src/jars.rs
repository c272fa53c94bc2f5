//! Apache Kafka's jars: fetched once from a Maven repository, by coordinates and checksum.
//!
//! `jars.lock` beside this crate's manifest names each jar, its size and its SHA-256; `image/lock.sh` makes it.
//! Serves the Kafka that runs as a process here and the image that is built here. Does not start anything.
//!
//! # Invariants
//! * A file under a jar's own name is whole and has the locked checksum: it was written elsewhere, checked, synced
//!   and renamed.
//! * No more is read from the network than the locked size.
//! * Two processes at once fetch each jar once: the second waits for the first, however that ends.
//! * The folder holds the jars of one lock file and nothing else that ends in `.jar`: it can be a class path.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const LOCK: &str = include_str!("../jars.lock");
const MAVEN_CENTRAL: &str = "https://repo1.maven.org/maven2";
/// A mirror of Maven Central, `http://` or `https://`, in its layout.
const REPOSITORY_VARIABLE: &str = "MODELCAST_MAVEN_REPOSITORY";
/// Where fetched files are kept; without it `modelcast` in the user's cache folder.
const CACHE_VARIABLE: &str = "MODELCAST_CACHE";

/// The largest jar has 11 MB.
const JAR_DEADLINE: Duration = Duration::from_secs(120);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;
/// So that a slow line is seen to be alive.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// Why there are no jars.
#[derive(Debug, thiserror::Error)]
pub enum JarsError {
    /// None of `MODELCAST_CACHE`, `XDG_CACHE_HOME` and `HOME` is set. Set the first.
    #[error("no cache folder: set {CACHE_VARIABLE}")]
    NoCacheFolder,
    /// A line of `jars.lock` is not of its form.
    #[error(
        "jars.lock, line {line}: not `GROUP:ARTIFACT:VERSION SIZE SHA256`; image/lock.sh makes the file anew"
    )]
    Lock {
        /// Counted from 1.
        line: usize,
    },
    /// The cache folder cannot be used.
    #[error("cannot use {}; {CACHE_VARIABLE} names another folder", path.display())]
    Folder {
        /// What was read or written.
        path: PathBuf,
        /// Why it could not be.
        #[source]
        source: io::Error,
    },
    /// The repository did not give a jar.
    #[error("cannot fetch {jar} from {url}; try again, or name a mirror in {REPOSITORY_VARIABLE}")]
    Fetch {
        /// Its coordinates.
        jar: String,
        /// Where it was asked for.
        url: String,
        /// What went wrong in the last attempt.
        #[source]
        source: Box<ureq::Error>,
    },
    /// What the repository gave is not what was locked; nothing of it was kept.
    #[error(
        "{jar} from {url} is not the locked one: SHA-256 {found} of {bytes} bytes, expected {expected}; \
         use another repository, named in {REPOSITORY_VARIABLE}"
    )]
    Checksum {
        /// Its coordinates.
        jar: String,
        /// Where it came from.
        url: String,
        /// Of `jars.lock`.
        expected: String,
        /// Of what came.
        found: String,
        /// How many bytes were read; one more than locked where there were too many.
        bytes: u64,
    },
}

/// One line of the lock file.
#[derive(Debug, PartialEq, Eq)]
struct Jar {
    group: String,
    artifact: String,
    version: String,
    size_bytes: u64,
    sha256: String,
}

/// The folder with all of Kafka's jars, fetched first where they are missing: 56 MB, some seconds.
///
/// Progress is on standard error. Costs 93 looks at the file system where all are there.
///
/// # Errors
/// Each of [`JarsError`]; what was fetched before stays, and is not fetched again.
pub fn ensure() -> Result<PathBuf, JarsError> {
    let jars = parse(LOCK)?;
    let folder = cache_folder()?.join(format!("kafka-jars-{}", name_of(LOCK)));
    let repository = std::env::var(REPOSITORY_VARIABLE).ok().filter(|url| !url.is_empty());
    fill(&folder, &jars, repository.as_deref().unwrap_or(MAVEN_CENTRAL))?;
    Ok(folder)
}

fn cache_folder() -> Result<PathBuf, JarsError> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder(CACHE_VARIABLE)
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("modelcast")))
        .or_else(|| Some(folder("HOME")?.join(".cache/modelcast")))
        .ok_or(JarsError::NoCacheFolder)
}

/// Another lock file is another folder, so that no class path has two versions of a jar.
fn name_of(lock: &str) -> String {
    let mut name = hex::encode(Sha256::digest(lock));
    name.truncate(16);
    name
}

fn parse(lock: &str) -> Result<Vec<Jar>, JarsError> {
    let lines = lock.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    lines.map(|(number, line)| Jar::parse(line).ok_or(JarsError::Lock { line: number + 1 })).collect()
}

impl Jar {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (coordinates, size, sha256) = (words.next()?, words.next()?, words.next()?);
        let mut parts = coordinates.split(':').map(ToOwned::to_owned);
        let (group, artifact, version) = (parts.next()?, parts.next()?, parts.next()?);
        // They become parts of a path.
        let is_name = |part: &String| {
            part.starts_with(|first: char| first.is_ascii_alphanumeric())
                && part
                    .chars()
                    .all(|character| character.is_ascii_alphanumeric() || "._-".contains(character))
        };
        let is_digest = hex::decode(sha256).is_ok_and(|bytes| bytes.len() == Sha256::output_size());
        let ends = words.next().is_none() && parts.next().is_none();
        (ends && is_digest && [&group, &artifact, &version].into_iter().all(is_name)).then_some(())?;
        Some(Self { group, artifact, version, size_bytes: size.parse().ok()?, sha256: sha256.to_owned() })
    }

    fn coordinates(&self) -> String {
        format!("{}:{}:{}", self.group, self.artifact, self.version)
    }

    fn file_name(&self) -> String {
        format!("{}-{}.jar", self.artifact, self.version)
    }

    /// Where a repository has it, as Maven lays it out.
    fn url(&self, repository: &str) -> String {
        let (group, artifact, version) = (self.group.replace('.', "/"), &self.artifact, &self.version);
        format!("{}/{group}/{artifact}/{version}/{}", repository.trim_end_matches('/'), self.file_name())
    }

    /// The size tells a file that a crash of the machine left behind empty.
    fn is_in(&self, folder: &Path) -> bool {
        fs::metadata(folder.join(self.file_name())).is_ok_and(|found| found.len() == self.size_bytes)
    }
}

/// Fetches into `folder` what it lacks.
fn fill(folder: &Path, jars: &[Jar], repository: &str) -> Result<(), JarsError> {
    let lacks = |jar: &&Jar| !jar.is_in(folder);
    if !jars.iter().any(|jar| lacks(&jar)) {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).map_err(|source| failed(&lock_path, source))?;
    // Released by the kernel when the file is closed, or the process gone.
    lock.lock().map_err(|source| failed(&lock_path, source))?;
    let missing: Vec<&Jar> = jars.iter().filter(lacks).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (count, started) = (missing.len(), Instant::now());
    let megabytes = missing.iter().map(|jar| jar.size_bytes).sum::<u64>() / 1_000_000;
    say(&format!("fetching {count} jars ({megabytes} MB) from {repository} into {}", folder.display()));
    let agent = agent();
    let mut reported = started;
    for (done, jar) in missing.into_iter().enumerate() {
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            say(&format!("{done} of {count} jars, {} s", started.elapsed().as_secs()));
        }
        fetch(&agent, jar, repository, folder)?;
    }
    say(&format!("{count} jars fetched in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

fn agent() -> Agent {
    // This machine's own roots: a company's mirror is signed by the company.
    let roots = rustls_native_certs::load_native_certs();
    let roots = roots.certs.iter().map(|root| Certificate::from_der(root).to_owned());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(CONNECT_DEADLINE))
        .timeout_global(Some(JAR_DEADLINE))
        .build()
        .into()
}

/// Fetches one jar, and keeps it when it is the locked one.
fn fetch(agent: &Agent, jar: &Jar, repository: &str, folder: &Path) -> Result<(), JarsError> {
    let url = jar.url(repository);
    let mut attempt = 1;
    let bytes = loop {
        match download(agent, &url, jar.size_bytes) {
            Ok(bytes) => break bytes,
            // What the server said is its answer; what the network did may not happen twice.
            Err(error) if attempt < ATTEMPTS && !matches!(error, ureq::Error::StatusCode(400..500)) => {
                attempt += 1
            }
            Err(source) => {
                return Err(JarsError::Fetch { jar: jar.coordinates(), url, source: Box::new(source) });
            }
        }
    };
    let found = hex::encode(Sha256::digest(&bytes));
    if found != jar.sha256 {
        let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        return Err(JarsError::Checksum {
            jar: jar.coordinates(),
            url,
            expected: jar.sha256.clone(),
            found,
            bytes,
        });
    }
    // Only one process writes, and what a killed one left behind is written over.
    let partial = folder.join("partial");
    write_synced(&partial, &bytes).map_err(|source| failed(&partial, source))?;
    let path = folder.join(jar.file_name());
    fs::rename(&partial, &path).map_err(|source| failed(&path, source))
}

/// At most one byte more than `size_bytes`, which the checksum then refuses.
fn download(agent: &Agent, url: &str, size_bytes: u64) -> Result<Vec<u8>, ureq::Error> {
    let response = agent.get(url).call()?;
    let mut bytes = Vec::new();
    response.into_body().into_reader().take(size_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn failed(path: &Path, source: io::Error) -> JarsError {
    JarsError::Folder { path: path.to_owned(), source }
}

/// Not through `eprintln!`, which the test harness holds back while somebody waits.
fn say(text: &str) {
    // Nobody listens: no reason not to go on.
    _ = writeln!(io::stderr(), "kafka jars: {text}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::Mutex;

    use tempfile::TempDir;

    use super::*;

    /// A Maven repository on loopback; counts what it was asked for.
    struct Repository {
        url: String,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Repository {
        fn with(files: &[(&str, &[u8])]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/maven2/", listener.local_addr().unwrap());
            let files: BTreeMap<String, Vec<u8>> =
                files.iter().map(|(path, bytes)| (format!("/maven2/{path}"), bytes.to_vec())).collect();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&asked);
            std::thread::spawn(move || {
                for mut stream in listener.incoming().map_while(Result::ok) {
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
                    let found = files.get(&path);
                    seen.lock().unwrap().push(path);
                    let (status, body) = found.map_or(("404 Not Found", &[][..]), |body| ("200 OK", body));
                    let length = body.len();
                    let head =
                        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                    _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
                }
            });
            Self { url, asked }
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    fn jar(artifact: &str, content: &[u8]) -> Jar {
        let sha256 = hex::encode(Sha256::digest(content));
        Jar::parse(&format!("org.example:{artifact}:1.0 {} {sha256}", content.len())).unwrap()
    }

    fn files(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "lock").collect();
        names.sort();
        names
    }

    #[test]
    fn the_shipped_lock_file_holds_kafka_and_a_binding_for_its_log() {
        let jars = parse(LOCK).unwrap();
        let names: Vec<String> = jars.iter().map(Jar::coordinates).collect();
        let pom = include_str!("../image/pom.xml");
        for artifact in ["kafka_2.13", "kafka-tools", "log4j-slf4j-impl"] {
            let (_, version) = pom.split_once(&format!("<artifactId>{artifact}</artifactId>")).unwrap();
            let version = version.split_once("<version>").unwrap().1.split_once('<').unwrap().0;
            let ends = format!(":{artifact}:{version}");
            assert!(names.iter().any(|name| name.ends_with(&ends)), "{ends} is in pom.xml, not in jars.lock");
        }
        let mut files: Vec<String> = jars.iter().map(Jar::file_name).collect();
        files.sort();
        files.dedup();
        assert_eq!(files.len(), jars.len(), "two jars share a file name");
    }

    #[test]
    fn a_line_that_is_not_of_the_form_is_named() {
        let digest = "0".repeat(64);
        assert!(parse(&format!("# comment\na.b:c:1 7 {digest}\n")).is_ok());
        for line in [
            "",
            "a.b:c:1",
            "a.b:c:1 7",
            "a.b:c:1 seven DIGEST",
            "a.b:c 7 DIGEST",
            "a.b:c:1:x 7 DIGEST",
            "a.b:../c:1 7 DIGEST",
            "a.b:.:1 7 DIGEST",
            "a.b:c:1 7 00",
            "a.b:c:1 7 DIGEST more",
        ] {
            let lock = format!("# comment\n{}\n", line.replace("DIGEST", &digest));
            assert!(matches!(parse(&lock), Err(JarsError::Lock { line: 2 })), "{line:?}");
        }
    }

    #[test]
    fn what_is_missing_is_fetched_once() {
        let repository = Repository::with(&[
            ("org/example/one/1.0/one-1.0.jar", b"first"),
            ("org/example/two/1.0/two-1.0.jar", b"second"),
        ]);
        let (folder, jars) = (TempDir::new().unwrap(), [jar("one", b"first"), jar("two", b"second")]);
        // Left by a crash: the name is there, the content is not.
        fs::write(folder.path().join("one-1.0.jar"), "").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| fill(folder.path(), &jars, &repository.url).unwrap());
            }
        });
        assert_eq!(files(folder.path()), ["one-1.0.jar", "two-1.0.jar"]);
        assert_eq!(fs::read(folder.path().join("one-1.0.jar")).unwrap(), b"first");
        assert_eq!(repository.asked().len(), 2, "{:?}", repository.asked());
    }

    #[test]
    fn another_content_is_refused_by_name_and_nothing_of_it_is_kept() {
        for given in [&b"Second"[..], b"secon", b"", b"second and much more"] {
            let repository = Repository::with(&[
                ("org/example/one/1.0/one-1.0.jar", b"first"),
                ("org/example/two/1.0/two-1.0.jar", given),
            ]);
            let (folder, jars) = (TempDir::new().unwrap(), [jar("one", b"first"), jar("two", b"second")]);
            let error = fill(folder.path(), &jars, &repository.url).unwrap_err();
            assert!(error.to_string().contains("org.example:two:1.0"), "{error}");
            assert!(matches!(error, JarsError::Checksum { bytes: ..=7, .. }), "{error}");
            assert_eq!(files(folder.path()), ["one-1.0.jar"]);
        }
    }

    #[test]
    fn a_jar_that_the_repository_has_not_is_named_and_asked_for_once() {
        let repository = Repository::with(&[]);
        let folder = TempDir::new().unwrap();
        let error = fill(folder.path(), &[jar("one", b"first")], &repository.url).unwrap_err();
        assert!(matches!(&error, JarsError::Fetch { jar, .. } if jar == "org.example:one:1.0"), "{error}");
        assert_eq!(repository.asked(), ["/maven2/org/example/one/1.0/one-1.0.jar"]);
    }
}
