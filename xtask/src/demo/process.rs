//! The programs that the demo runs, as child processes that cannot outlive it.
//!
//! Output goes to files, so that nothing blocks on a full pipe and the logs are there afterwards.
//!
//! # Invariants
//! * A child has a process group of its own: Ctrl-C reaches the demo, and the demo ends its children in order.
//! * A child is sent SIGTERM by the kernel when the demo is killed (where `setpriv` exists: Debian has it), and by
//!   the demo when its handle is dropped; SIGKILL follows if it does not end.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::install::find_program;
use crate::log;

use super::interrupt::Interrupt;

/// How long an orderly shutdown may take.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running program.
pub(super) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    log: PathBuf,
}

/// How a program is started.
pub(super) struct Start<'a> {
    /// What messages and log files call it.
    pub(super) name: &'a str,
    pub(super) program: &'a Path,
    pub(super) args: Vec<&'a OsStr>,
    /// Standard output goes to `NAME.out` here, standard error to `NAME.log`.
    pub(super) logs: &'a Path,
}

impl Process {
    /// Starts a program in the root of the repository.
    pub(super) fn start(start: &Start<'_>) -> anyhow::Result<Self> {
        let Start { name, program, args, logs } = start;
        let output = logs.join(format!("{name}.out"));
        let log = logs.join(format!("{name}.log"));
        let create =
            |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
        let mut command = bound_to_us(program);
        // What the user's own programs are told by the environment would go over the demo's configuration.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MODELCAST_"))
        {
            command.env_remove(name);
        }
        let child = command
            .args(args)
            .current_dir(crate::broker::root())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(create(&output)?)
            .stderr(create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: (*name).to_owned(), child, output, log })
    }

    /// Waits until the program has printed `prefix` and the rest of that line, which is returned.
    pub(super) fn wait_for_line(
        &mut self,
        prefix: &str,
        within: Duration,
        interrupt: &Interrupt,
    ) -> anyhow::Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let printed = std::fs::read_to_string(&self.output).unwrap_or_default();
            let complete = printed.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            if let Some(rest) = complete.into_iter().find_map(|line| line.strip_prefix(prefix)) {
                return Ok(rest.trim().to_owned());
            }
            self.check_alive()?;
            if Instant::now() >= deadline {
                bail!("{} did not print `{prefix}…` within {} s{}", self.name, within.as_secs(), self.tail());
            }
            if interrupt.wait(LOOK_EVERY) {
                bail!("interrupted");
            }
        }
    }

    /// Waits until the program ends, and returns how and what it printed.
    pub(super) fn finish(&mut self, interrupt: &Interrupt) -> anyhow::Result<(ExitStatus, String)> {
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for a child")? {
                let printed = std::fs::read_to_string(&self.output)
                    .with_context(|| format!("cannot read {}", self.output.display()))?;
                return Ok((status, printed));
            }
            if interrupt.wait(LOOK_EVERY) {
                bail!("interrupted");
            }
        }
    }

    /// The number by which it can be killed.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error if a program that is to stay up has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("cannot wait for a child")? {
            Some(status) => bail!("{} ended with {status}{}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    /// The end of its log, to be appended to a message.
    pub(super) fn tail(&self) -> String {
        log::tail(&self.log)
    }

    /// Asks it to end, waits, and forces it after [`PATIENCE`].
    pub(super) fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = self.child.id();
        // The shell's own `kill`: std sends SIGKILL only, and procps may be missing. An error means it is gone.
        _ = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).stderr(Stdio::null()).status();
        let deadline = Instant::now() + PATIENCE;
        let pause = Interrupt::default();
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause.wait(LOOK_EVERY);
        }
        eprintln!("{} did not end within {} s of SIGTERM: killed", self.name, PATIENCE.as_secs());
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program, which the kernel ends when the demo's main thread, its parent, is gone.
fn bound_to_us(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, name: &str) -> (Process, PathBuf) {
        let logs = std::env::temp_dir().join(format!("xtask-process-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&logs).unwrap();
        let args = vec![OsStr::new("-c"), OsStr::new(script)];
        let start = Start { name, program: Path::new("/bin/sh"), args, logs: &logs };
        (Process::start(&start).unwrap(), logs)
    }

    #[test]
    fn a_line_is_waited_for_and_a_dropped_handle_ends_its_program() {
        let (mut process, logs) = shell("echo listening on 1.2.3.4:5; exec sleep 600", "up");
        let interrupt = Interrupt::default();
        let line = process.wait_for_line("listening on ", Duration::from_secs(10), &interrupt).unwrap();
        assert_eq!(line, "1.2.3.4:5");
        process.check_alive().unwrap();
        let pid = process.child.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        std::fs::remove_dir_all(logs).unwrap();
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_its_log() {
        let (mut process, logs) = shell("echo no such folder >&2; exit 3", "down");
        let interrupt = Interrupt::default();
        let error = process.wait_for_line("listening on ", Duration::from_secs(10), &interrupt).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("no such folder"), "{text}");
        assert_eq!(process.finish(&interrupt).unwrap().0.code(), Some(3));
        std::fs::remove_dir_all(logs).unwrap();
    }
}
