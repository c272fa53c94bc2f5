//! Python with packages from PyPI, in a virtual environment that the tests make once and find again.
//!
//! # Invariants
//! * An environment is for one list of packages, each with its version: another list is another environment.
//! * One that was not finished is made anew.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use modelcast::protocol::Digest;

/// The Python of an environment that has these packages, as pip names them.
pub(crate) fn with(packages: &[&str]) -> PathBuf {
    let name = Digest::of(packages.join(" ").as_bytes()).short();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{name}"));
    // Two tests at once: the second waits, and finds what the first has made.
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    if !complete.is_file() {
        drop(fs::remove_dir_all(&folder));
        must_run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        must_run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages));
        File::create(complete).unwrap();
    }
    python
}

/// Runs a command that must end well; gives what it printed.
pub(crate) fn must_run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask test` installs Python"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
