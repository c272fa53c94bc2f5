//! A child process of a test: started, frozen, killed, and never left behind.
//!
//! # Invariants
//! * It ends with its handle; one made by [`bound_command`] also with the thread that started it, so with a test that
//!   is killed.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use crate::wait::{NotYet, wait_until_blocking};

/// A running program, killed when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

/// A command for a program that the kernel ends when the thread that starts it is gone: on Linux with the `setpriv` of
/// util-linux, elsewhere it is a plain command. It reads nothing.
#[must_use]
pub fn bound_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = match *BINDS {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(BOUND).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.stdin(Stdio::null());
    command
}

const BOUND: [&str; 3] = ["--pdeathsig", "KILL", "--"];
/// A program that binds another. A busybox has one of that name which does not.
static BINDS: LazyLock<Option<&str>> = LazyLock::new(|| {
    let binds = |setpriv: &&str| {
        let tried = Command::new(setpriv).args(BOUND).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().find(binds)
});

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When the system cannot.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// Its handle in the standard library, for its pipes and its number.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// [`NotYet`] when it still runs at the deadline.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, NotYet> {
        wait_until_blocking("a process to end", within, || match self.0.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Asks it to end in an orderly way (SIGTERM).
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn terminate(&mut self) -> io::Result<()> {
        self.signal("TERM")
    }

    /// Freezes it where it is (SIGSTOP): its connections stay, it does nothing.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn freeze(&mut self) -> io::Result<()> {
        self.signal("STOP")
    }

    /// Ends a [`freeze`](Self::freeze) (SIGCONT).
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn thaw(&mut self) -> io::Result<()> {
        self.signal("CONT")
    }

    /// Ends it at once (SIGKILL), as a crash of the machine would, and waits for that.
    pub fn kill(&mut self) {
        // The one error there is says that it ended before.
        _ = self.0.kill();
        _ = self.0.wait();
    }

    /// One that ended is told nothing: its number may be another's.
    fn signal(&mut self, name: &str) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let kill = format!("kill -{name} {}", self.0.id());
        let told = Command::new("/bin/sh").args(["-c", &kill]).status()?;
        if told.success() { Ok(()) } else { Err(io::Error::other(format!("`{kill}` ended with {told}"))) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;

    use super::*;
    use crate::wait::DEADLINE;

    /// The state letter of proc(5).
    fn state(process: &mut Process) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child().id())).ok()?;
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    }

    #[test]
    fn a_frozen_process_goes_on_when_it_is_thawed() {
        let mut process = Process::start(bound_command("sleep").arg("1000")).unwrap();
        let is = |process: &mut Process, wanted: char| {
            let found = || state(process).filter(|found| *found == wanted).ok_or("another state");
            wait_until_blocking("the state", DEADLINE, found).unwrap()
        };
        process.freeze().unwrap();
        is(&mut process, 'T');
        process.thaw().unwrap();
        is(&mut process, 'S');
        process.terminate().unwrap();
        assert_eq!(process.wait(DEADLINE).unwrap().signal(), Some(15));
        // Told nothing more, whoever has its number now.
        process.freeze().unwrap();
    }

    #[test]
    fn a_process_ends_with_its_handle_and_with_the_thread_that_started_it() {
        let start = || {
            let mut command = bound_command("/bin/sh");
            command.args(["-c", "echo started; exec sleep 1000"]).stdout(Stdio::piped());
            let mut process = Process::start(&mut command).unwrap();
            let mut line = String::new();
            BufReader::new(process.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
            process
        };
        let process = start();
        let path = format!("/proc/{}", process.0.id());
        assert!(Path::new(&path).exists());
        drop(process);
        assert!(!Path::new(&path).exists());

        let mut orphan = std::thread::spawn(start).join().unwrap();
        if Path::new("/usr/bin/setpriv").is_file() {
            assert_eq!(orphan.wait(DEADLINE).unwrap().signal(), Some(9));
        }
    }
}
