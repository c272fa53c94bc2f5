//! A shell where the processes of a Kafka run: in its container, or in its folder on this machine.
//!
//! Looks past the kit under test.

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether it is a container.
fn is_container(machine: &str) -> bool {
    !machine.is_empty() && !Path::new(machine).is_absolute()
}

/// What a script prints in the folder that holds `node-NUMBER` and `data-NUMBER`; its exit code does not matter.
pub(crate) fn shell(machine: &str, script: &str) -> String {
    let mut command = if is_container(machine) {
        let mut command = Command::new("docker");
        command.args(["exec", "--workdir", "/tmp", machine, "sh"]);
        command
    } else {
        let mut command = Command::new("sh");
        command.current_dir(machine);
        command
    };
    let output = command.args(["-c", script]).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether a node's process is there, frozen or not.
pub(crate) fn runs(machine: &str, node: i32) -> bool {
    // What is left of one that ended has no command line.
    !shell(machine, &format!("tr '\\0' ' ' </proc/$(cat node-{node}/pid)/cmdline")).is_empty()
}
