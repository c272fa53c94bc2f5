//! Finds which system packages are missing, and on Debian as root installs them.
//!
//! Does not start anything (see `docker`) and does not decide what a task needs: the task says so.
//!
//! # Invariants
//! * What will be installed is said before it is installed; with [`Policy::Forbid`] it is only said.
//! * Nothing is asked of a package registry when nothing is missing.
//! * Elsewhere than on Debian as root nothing is changed: the command to run is printed instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Where a program may be although a user's `PATH` does not name it.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// Something outside this repository that a task cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The C and C++ tools and OpenSSL's headers, for librdkafka.
    CompileKafkaClient,
    /// A Docker engine, or one that answers elsewhere.
    Docker,
    /// What builds a Kafka image where none can be pulled.
    KafkaImage,
    /// What reads a compose file.
    Compose,
    /// A Java machine, which runs Kafka without a container.
    Java,
    /// A browser, for the test of the page.
    Browser,
    /// A PostgreSQL server, which the tests of stored predictions start for themselves.
    PostgreSql,
    /// Python, with what makes virtual environments; their packages come from PyPI.
    Python,
}

/// What may be done about what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Install it, where that is possible.
    Install,
    /// Say how it is installed, and fail.
    Forbid,
}

/// One package, and how its presence is seen.
struct Part {
    package: &'static str,
    seen: Seen,
}

enum Seen {
    /// One of these programs is there.
    Program(&'static [&'static str]),
    /// pkg-config knows this library.
    Library(&'static str),
    /// One of these paths is there.
    Path(&'static [&'static str]),
    /// PostgreSQL's server: Debian keeps each version's programs in a folder of its own.
    PostgreSql,
    /// Python has this module.
    PythonModule(&'static str),
}

/// Where Debian has one folder for each version of PostgreSQL.
const POSTGRESQL_VERSIONS: &str = "/usr/lib/postgresql";

impl Need {
    fn purpose(self) -> &'static str {
        match self {
            Need::CompileKafkaClient => "to compile librdkafka",
            Need::Docker => "to run Kafka in a container",
            Need::KafkaImage => "to build a Kafka image, as none can be pulled",
            Need::Compose => "to check config/compose.yaml",
            Need::Java => "to run Kafka as a process",
            Need::Browser => "to test the page",
            Need::PostgreSql => "to test stored predictions",
            Need::Python => "to run the clients of other languages in tests",
        }
    }

    fn parts(self) -> &'static [Part] {
        const fn program(package: &'static str, names: &'static [&'static str]) -> Part {
            Part { package, seen: Seen::Program(names) }
        }
        match self {
            Need::CompileKafkaClient => {
                const {
                    &[
                        program("gcc", &["gcc"]),
                        program("g++", &["g++"]),
                        program("make", &["make"]),
                        program("pkg-config", &["pkg-config"]),
                        Part { package: "libssl-dev", seen: Seen::Library("openssl") },
                    ]
                }
            }
            Need::Docker => {
                const {
                    &[
                        program("docker.io", &["dockerd"]),
                        // Without systemd somebody has to mount the control groups; only recommended by docker.io.
                        Part {
                            package: "cgroupfs-mount",
                            seen: Seen::Path(&[
                                "/run/systemd/system",
                                "/sys/fs/cgroup/cgroup.controllers",
                                "/sys/fs/cgroup/memory",
                                "/usr/bin/cgroupfs-mount",
                            ]),
                        },
                    ]
                }
            }
            Need::KafkaImage => const { &[program("debootstrap", &["debootstrap"])] },
            Need::Compose => {
                const {
                    &[Part {
                        package: "docker-compose",
                        seen: Seen::Path(&[
                            "/usr/bin/docker-compose",
                            "/usr/local/bin/docker-compose",
                            "/usr/libexec/docker/cli-plugins/docker-compose",
                            "/usr/lib/docker/cli-plugins/docker-compose",
                            "/usr/local/lib/docker/cli-plugins/docker-compose",
                        ]),
                    }]
                }
            }
            Need::Python => {
                const {
                    &[
                        program("python3", &["python3"]),
                        Part { package: "python3-venv", seen: Seen::PythonModule("ensurepip") },
                    ]
                }
            }
            Need::Java => const { &[program("default-jre-headless", &["java"])] },
            Need::PostgreSql => const { &[Part { package: "postgresql", seen: Seen::PostgreSql }] },
            Need::Browser => {
                const {
                    &[
                        program("chromium", &["chromium", "chromium-browser", "google-chrome"]),
                        // Without any font a page has no text to look at.
                        Part {
                            package: "fonts-liberation",
                            seen: Seen::Path(&["/usr/share/fonts/truetype"]),
                        },
                    ]
                }
            }
        }
    }

    fn missing(self) -> Vec<&'static str> {
        // An engine that is named elsewhere is not replaced by one here; `docker` reports it when it is silent.
        if self == Need::Docker && (std::env::var_os("DOCKER_HOST").is_some() || crate::docker::answers()) {
            return Vec::new();
        }
        self.parts().iter().filter(|part| !part.seen.is_there()).map(|part| part.package).collect()
    }
}

impl Seen {
    fn is_there(&self) -> bool {
        match self {
            Seen::Program(names) => names.iter().any(|name| find_program(name).is_some()),
            Seen::Library(name) => Command::new("pkg-config")
                .args(["--exists", name])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
            Seen::PythonModule(name) => Command::new("python3")
                .args(["-c", &format!("import {name}")])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
            Seen::Path(paths) => paths.iter().any(|path| Path::new(path).exists()),
            Seen::PostgreSql => {
                let of_debian = fs::read_dir(POSTGRESQL_VERSIONS).into_iter().flatten().flatten();
                let has_server = |version: fs::DirEntry| version.path().join("bin/postgres").is_file();
                find_program("postgres").is_some() || of_debian.into_iter().any(has_server)
            }
        }
    }
}

/// Makes sure that what is needed is there.
///
/// # Errors
/// When something is missing and may not or cannot be installed here (the command that would do it is printed
/// first), or when installing fails.
pub(crate) fn ensure(needs: &[Need], policy: Policy) -> anyhow::Result<()> {
    let mut packages: Vec<&'static str> = Vec::new();
    for need in needs {
        let missing = need.missing();
        if !missing.is_empty() {
            eprintln!("missing, {}: {}", need.purpose(), missing.join(" "));
            packages.extend(missing);
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    let refusal = match policy {
        Policy::Forbid => Some("--no-install forbids installing"),
        Policy::Install if !is_debian() => Some("only on Debian does this install by itself"),
        Policy::Install if !is_root() => Some("installing needs root"),
        Policy::Install => None,
    };
    if let Some(reason) = refusal {
        eprintln!("{reason}; run this, or what does the same on your system:\n");
        let sudo = if is_root() { "" } else { "sudo " };
        eprintln!(
            "    {sudo}apt-get update && {sudo}apt-get install -y --no-install-recommends {}\n",
            packages.join(" ")
        );
        bail!("not installed: {}", packages.join(" "));
    }
    apt_install(&packages)
}

/// A program on the `PATH` or in the system's own folders.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether this process may change the system.
pub(crate) fn is_root() -> bool {
    // No library: of std, only the owner of a file of ours would say it, and /proc is not everywhere.
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| names_debian(&text))
        && find_program("apt-get").is_some()
}

fn names_debian(os_release: &str) -> bool {
    os_release.lines().any(|line| matches!(line.trim(), "ID=debian" | "ID=\"debian\""))
}

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    eprintln!("installing with apt-get: {}", packages.join(" "));
    let fresh = !has_package_lists(Path::new("/var/lib/apt/lists"));
    if fresh {
        apt(&["update"])?;
    }
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    if let Err(error) = apt(&install) {
        if fresh {
            return Err(error);
        }
        // Old lists name versions that the mirror has since replaced.
        eprintln!("trying again with new package lists");
        apt(&["update"])?;
        apt(&install)?;
    }
    Ok(())
}

fn has_package_lists(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn apt(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .arg("-qq")
        .arg("-o=Dpkg::Use-Pty=0")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        // Standard output is the tests' own: a log of it ends with their result.
        .stdout(std::io::stderr())
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get {} ended with {status}", args.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_is_told_from_its_relatives() {
        assert!(names_debian("PRETTY_NAME=\"Debian\"\nID=debian\n"));
        assert!(!names_debian("NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n"));
        assert!(!names_debian("VERSION_ID=12\n"));
    }

    #[test]
    fn missing_package_lists_are_noticed() {
        let folder = std::env::temp_dir().join(format!("xtask-lists-{}", std::process::id()));
        assert!(!has_package_lists(&folder));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("lock"), "").unwrap();
        assert!(!has_package_lists(&folder));
        fs::write(folder.join("mirror_dists_bookworm_main_binary-amd64_Packages.lz4"), "").unwrap();
        assert!(has_package_lists(&folder));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_program_is_found_and_an_invented_one_is_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
    }
}
