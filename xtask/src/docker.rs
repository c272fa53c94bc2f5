//! The Docker engine and the Kafka image that the tests use.
//!
//! Starts an engine where none answers, and has the image built where none can be pulled.
//! Does not install anything (see `install`) and does not choose the image: `testcontainers/image/image.sh` does,
//! for the tests as well as for this.
//!
//! # Invariants
//! * An engine named in `DOCKER_HOST` is used or reported, never replaced by one of ours.
//! * An engine started here is left running, and that is said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use crate::broker::{cargo, root};
use crate::install::{self, Need, Policy, find_program};
use crate::log;

/// A started engine needs 2 s here; a loaded machine some more.
const ENGINE_DEADLINE: Duration = Duration::from_secs(60);
/// dockerd gives up where its containerd takes more than 15 s to start, as it can from a cold disk.
const DOCKERD_STARTS: u32 = 2;
/// `image.sh choose`: there is no image yet, and it can be built.
const NEEDS_BUILD: i32 = 3;

/// Whether a Docker engine answers, here or where `DOCKER_HOST` says.
pub(crate) fn answers() -> bool {
    let mut engine = if find_program("docker").is_none() && find_program("podman").is_some() {
        // Podman needs no service for this; where the tests' own client looks for one is said by the tests.
        let mut podman = Command::new("podman");
        podman.arg("info").envs(std::env::var_os("DOCKER_HOST").map(|host| ("CONTAINER_HOST", host)));
        podman
    } else {
        let mut docker = Command::new("docker");
        docker.args(["version", "--format", "{{.Server.Version}}"]);
        docker
    };
    engine
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Starts an engine when none answers.
///
/// # Errors
/// When `DOCKER_HOST` names one that does not answer, when starting needs root, or when it does not come up.
pub(crate) fn ensure_running() -> anyhow::Result<()> {
    if answers() {
        return Ok(());
    }
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        bail!("no Docker answers at DOCKER_HOST={}", host.display());
    }
    if !install::is_root() {
        eprintln!(
            "no Docker answers, and starting it needs root; run this:\n\n    sudo systemctl start docker\n"
        );
        bail!("no Docker answers");
    }
    if Path::new("/run/systemd/system").exists() {
        eprintln!("no Docker answers: starting it with systemctl; it is left running");
        let status =
            Command::new("systemctl").args(["start", "docker"]).status().context("cannot run systemctl")?;
        return if status.success() {
            wait_until(answers, || Ok(()))
        } else {
            bail!("systemctl start docker: {status}")
        };
    }
    mount_control_groups()?;
    start_dockerd()
}

fn start_dockerd() -> anyhow::Result<()> {
    let log = target()?.join("dockerd.log");
    start_until(answers, || spawn_dockerd(&log)).map_err(|error| anyhow!("{error:#}{}", log::tail(&log)))
}

/// Starts dockerd until it answers, as often as is of use.
fn start_until(answers: impl Fn() -> bool, start: impl Fn() -> anyhow::Result<Child>) -> anyhow::Result<()> {
    let mut dockerd = start()?;
    let mut starts = 1;
    wait_until(answers, || {
        if let Some(status) = dockerd.try_wait().context("cannot wait for dockerd")? {
            if starts == DOCKERD_STARTS {
                bail!("dockerd was started {starts} times and ended each time, the last with {status}");
            }
            dockerd = start()?;
            starts += 1;
        }
        Ok(())
    })
}

fn spawn_dockerd(log: &Path) -> anyhow::Result<Child> {
    let program = find_program("dockerd").context("dockerd is not installed")?;
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    // A session of its own: neither Ctrl-C nor the end of this terminal reaches it.
    let dockerd = Command::new("setsid")
        .arg(program)
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("cannot share the log")?)
        .stderr(output)
        .spawn()
        .context("cannot start dockerd")?;
    eprintln!(
        "no Docker answers: started dockerd, process {}, log {}; it is left running, `kill {}` stops it",
        dockerd.id(),
        log.display(),
        dockerd.id()
    );
    Ok(dockerd)
}

/// Makes sure that there is a Kafka image, and names it.
///
/// # Errors
/// When none can be pulled, and none can be built or what builds it may not be installed.
pub(crate) fn ensure_image(policy: Policy) -> anyhow::Result<String> {
    let (code, image) = image_script(&["choose".as_ref()])?;
    match code {
        Some(0) => Ok(image),
        Some(NEEDS_BUILD) => {
            install::ensure(&[Need::KafkaImage], policy)?;
            let jars = kafka_jars()?;
            match image_script(&["build".as_ref(), jars.as_os_str()])? {
                (Some(0), image) => Ok(image),
                _ => bail!("the Kafka image could not be built"),
            }
        }
        _ => bail!("no Kafka image could be chosen"),
    }
}

/// The folder of Kafka's jars. The test kit fetches them: it has the lock file, and what it takes to speak TLS.
fn kafka_jars() -> anyhow::Result<PathBuf> {
    let output = cargo()
        .args(["run", "--quiet", "-p", "modelcast-testcontainers", "--bin", "kafka-jars"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("Kafka's jars could not be fetched");
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn image_script(args: &[&OsStr]) -> anyhow::Result<(Option<i32>, String)> {
    let script = root().join("testcontainers/image/image.sh");
    let output = Command::new(&script)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

/// Waits until an engine answers, and does `look` whenever none does yet; its error ends the wait.
fn wait_until(
    answers: impl Fn() -> bool,
    mut look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + ENGINE_DEADLINE;
    while Instant::now() < deadline {
        if answers() {
            return Ok(());
        }
        look()?;
        std::thread::park_timeout(Duration::from_millis(200));
    }
    bail!("Docker did not answer within {} s", ENGINE_DEADLINE.as_secs())
}

fn mount_control_groups() -> anyhow::Result<()> {
    let mounted =
        ["cgroup.controllers", "memory"].iter().any(|name| Path::new("/sys/fs/cgroup").join(name).exists());
    if mounted {
        return Ok(());
    }
    let Some(program) = find_program("cgroupfs-mount") else { return Ok(()) };
    eprintln!("mounting the control groups, without which Docker runs nothing");
    let status = Command::new(program).status().context("cannot run cgroupfs-mount")?;
    if status.success() { Ok(()) } else { bail!("cgroupfs-mount ended with {status}") }
}

fn target() -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_dockerd_that_ends_is_started_again_and_not_for_ever() {
        let starts = Cell::new(0);
        let start = || {
            starts.set(starts.get() + 1);
            Command::new("false").spawn().context("cannot run false")
        };
        start_until(|| starts.get() == 2, start).unwrap();
        starts.set(0);
        let error = start_until(|| false, start).unwrap_err().to_string();
        assert_eq!(starts.get(), DOCKERD_STARTS);
        assert!(error.contains("started 2 times") && error.contains("exit status: 1"), "{error}");
    }
}
