//! A process that removes a container when the process that started it is gone.
//!
//! A static is never dropped and SIGKILL runs no code, so the removal has to happen in somebody else: a shell that
//! waits on a pipe. The pipe's other end is ours alone (it is closed on exec), so the kernel closes it when we die,
//! however we die.
//!
//! # Invariants
//! * It is started before the container is created, and goes on trying for a while: a creation that was under way
//!   when we died is caught too.
//! * It holds nothing of ours: not the output (a pipe behind `cargo test` would wait for it), not the folder, not
//!   the process group (Ctrl-C would end it with us).

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::engine;

/// Removes the container `$1` by the engine `$2` at the end of its input, unless it was told that this is done. 40 tries in 20 s.
///
/// What `docker rm --force` prints tells a removal from nothing to remove; its exit code depends on the version.
const SCRIPT: &str = r#"
trap '' INT HUP
read -r word
if [ "$word" = removed ]; then exit 0; fi
tries=40
while [ "$tries" -gt 0 ]; do
  if [ -n "$("$2" rm --force --volumes "$1" 2>/dev/null)" ]; then exit 0; fi
  tries=$((tries - 1))
  sleep 0.5
done
"#;

/// Our end of the pipe. Dropping it has the container removed.
#[derive(Debug)]
pub(crate) struct Watchdog {
    process: Child,
    /// `None` once it was closed.
    line: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts to watch over a container that need not exist yet.
    pub(crate) fn start(container: &str) -> io::Result<Self> {
        let mut process = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "modelcast-watchdog", container, engine::name()])
            .current_dir("/")
            .process_group(0)
            .envs(engine::environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let line = process.stdin.take();
        Ok(Self { process, line })
    }

    /// Says that the container is removed already.
    pub(crate) fn dismiss(mut self) {
        if let Some(line) = self.line.as_mut() {
            // A watchdog that is gone needs no telling.
            let _ = line.write_all(b"removed\n");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.line.take());
        // Either it was dismissed and ends at once, or what follows must find the container gone.
        let _ = self.process.wait();
    }
}
