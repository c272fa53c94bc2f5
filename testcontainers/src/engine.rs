//! The command of the container engine: `docker`, or `podman` where that is the only one.
//!
//! For what the crate testcontainers cannot do: outlive this process, and look for what others left behind. That crate
//! speaks to the socket that `DOCKER_HOST` names, so the command is sent to the same one, and both have to answer.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use testcontainers::core::client::docker_client_instance;

use crate::blocking::on_runtime;

/// The program's name.
pub(crate) fn name() -> &'static str {
    static NAME: OnceLock<&str> = OnceLock::new();
    NAME.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        choose(has)
    })
}

fn choose(has: impl Fn(&str) -> bool) -> &'static str {
    if !has("docker") && has("podman") { "podman" } else { "docker" }
}

/// The program, with nothing to read.
pub(crate) fn command() -> Command {
    let mut command = Command::new(name());
    command.envs(environment()).stdin(Stdio::null());
    command
}

/// What the program needs in its environment to find the engine.
pub(crate) fn environment() -> Option<(&'static str, OsString)> {
    // Podman's own name for the variable.
    std::env::var_os("DOCKER_HOST").filter(|_| name() == "podman").map(|host| ("CONTAINER_HOST", host))
}

/// Whether an engine answers its command and the crate testcontainers, here or where `DOCKER_HOST` says; if not, why.
pub(crate) fn answers() -> Result<(), String> {
    answers_command()?;
    // The command may find its engine by a context, or be one itself, as Podman is: the crate knows but the socket.
    let answer: Result<_, String> = on_runtime(async {
        let docker = docker_client_instance().await.map_err(|error| error.to_string())?;
        docker.ping().await.map_err(|error| error.to_string())
    });
    answer.map(drop).map_err(|error| {
        format!(
            "`{}` finds an engine, but nothing answers at its socket ({error}): say where that is, as in \
             DOCKER_HOST=unix:///run/user/1000/podman/podman.sock after `systemctl --user start podman.socket`",
            name()
        )
    })
}

fn answers_command() -> Result<(), String> {
    // Podman without a service has no server, and `podman info` asks itself.
    let args: &[&str] =
        if name() == "podman" { &["info"] } else { &["version", "--format", "{{.Server.Version}}"] };
    let output = command()
        .args(args)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("`{}` cannot be run: {error}", name()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().lines().last().unwrap_or("no answer").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_used_only_where_it_is_alone() {
        let check = |there: &[&str], expected: &str| {
            assert_eq!(choose(|program| there.contains(&program)), expected, "{there:?}");
        };
        check(&["docker", "podman"], "docker");
        check(&["docker"], "docker");
        check(&["podman"], "podman");
        check(&[], "docker");
    }
}
