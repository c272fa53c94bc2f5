//! The built programs, as child processes.
//!
//! # Invariants
//! * A child ends with its handle, and with the test when the test is killed: see the kit's `bound_command`.
//! * The environment of whoever runs the tests does not reach the programs' settings.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use modelcast_testcontainers::{Process, bound_command};
use serde_json::Value;

use super::DEADLINE;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

/// A child process; killed when this is dropped.
pub(crate) struct Running(Process);

impl Ended {
    /// What it printed, when it ended well.
    pub(crate) fn json(&self) -> Value {
        self.must_end_with(0);
        self.any_json()
    }

    /// What it printed, however it ended.
    pub(crate) fn any_json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn must_end_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Each of the words is somewhere in what it said on standard error.
    pub(crate) fn must_say(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        self
    }
}

/// The root of the repository, in which the programs run: the shipped settings name files from there.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A command that starts a built program.
pub(crate) fn command(program: &str) -> Command {
    // target/debug/deps/stories-0123 and target/debug/trainer
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join(program);
    assert!(path.is_file(), "{} is not built: run `cargo xtask test`, which builds it", path.display());
    bound(&path)
}

/// This test binary again, running one of its tests as a process of its own.
pub(crate) fn this_binary_again(test: &str) -> Command {
    let mut command = bound(&std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// A program that the kernel ends when the thread that started it is gone.
fn bound(program: &Path) -> Command {
    let mut command = bound_command(program);
    let ours = |name: &str| name.starts_with("MODELCAST_") || name == "RUST_LOG";
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.current_dir(root());
    command
}

/// Runs a program to its end; output goes through files in `folder`, so that nothing blocks on a full pipe.
pub(crate) fn run(program: &str, args: &[&str], folder: &Path) -> Ended {
    let (out, err) = (tempfile::tempfile_in(folder).unwrap(), tempfile::tempfile_in(folder).unwrap());
    let started = Instant::now();
    let mut command = command(program);
    command.args(args).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let ended = Process::start(&mut command).unwrap().wait(2 * DEADLINE);
    let words = args.join(" ");
    let status = ended.unwrap_or_else(|error| panic!("`{program} {words}`: {error}; it says {}", text(&err)));
    Ended { code: status.code(), stdout: text(&out), stderr: text(&err), took: started.elapsed() }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Process::start(command).unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.child()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.0.ended().unwrap().is_none()
    }

    /// Asks it to end in an orderly way.
    pub(crate) fn terminate(&mut self) {
        self.0.terminate().unwrap();
    }

    /// Stops it where it stands, as a machine that hangs.
    pub(crate) fn freeze(&mut self) {
        self.0.freeze().unwrap();
    }

    /// Whether it is stopped, as the kernel says.
    pub(crate) fn is_frozen(&mut self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child().id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// Lets it go on.
    pub(crate) fn thaw(&mut self) {
        self.0.thaw().unwrap();
    }

    /// Ends it at once, as a crash of the machine would.
    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }
}

fn text(mut file: &File) -> String {
    use std::io::Seek as _;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
