//! A folder of this machine in which a test's processes run, gone with the test.
//!
//! What the container and its watchdog are to a broker there: a shell waits on a pipe whose other end is ours alone, so
//! the kernel tells it of our death, however we die. Does not know what runs.
//!
//! # Invariants
//! * When this is dropped or this process is gone, so is every process whose command line names the folder, frozen
//!   ones included, and then the folder. No process numbers are kept: they may be somebody else's by then.
//! * Ctrl-C does not reach the shell: it ends after us, not with us.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// At the end of its input ends what runs in the folder `$1`, and removes it.
///
/// `grep` finds itself and is gone by then, as is a process that has ended: its command line is empty.
const WATCHDOG: &str = r#"
trap '' INT HUP TERM
read -r word
found=yes
while [ -n "$found" ]; do
  found=
  for file in $(grep -lsaF -- "$1/" /proc/[0-9]*/cmdline); do
    process=${file#/proc/}
    process=${process%/cmdline}
    if [ "$process" != $$ ] && kill -KILL "$process" 2>/dev/null; then found=yes; fi
  done
done
rm -rf "$1"
"#;

/// Whether this machine can have one; if not, why.
pub(crate) fn can_be_had() -> Result<(), &'static str> {
    match Path::new("/proc/self/cmdline").exists() {
        true => Ok(()),
        false => Err("processes are watched over through /proc, which is not here"),
    }
}

/// The folder. Dropping it ends what runs in it and removes it.
#[derive(Debug)]
pub(crate) struct Workplace {
    path: String,
    watchdog: Child,
}

impl Workplace {
    /// A new one below the folder for temporary files, which `TMPDIR` names.
    pub(crate) fn create() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        can_be_had().map_err(io::Error::other)?;
        let age = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder: PathBuf =
            std::env::temp_dir().join(format!("modelcast-kafka-{}-{number}-{age:x}", std::process::id()));
        // Scripts are not written for others.
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+@".contains(character);
        let path = folder.to_str().filter(|path| path.starts_with('/') && path.chars().all(is_plain));
        let path =
            path.ok_or_else(|| io::Error::other(format!("blanks or the like in {}", folder.display())))?;
        fs::create_dir(path)?;
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "modelcast-watchdog", path])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .inspect_err(|_| _ = fs::remove_dir(path))?;
        Ok(Self { path: path.to_owned(), watchdog })
    }

    /// Absolute, and of characters that no shell takes for anything else.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Runs a shell script to its end, with `$1`, `$2`, ... as given, and gives what it printed; where its exit code is
    /// not 0, as the error.
    ///
    /// What it leaves running holds none of its outputs, has a session of its own, and names the folder in its command
    /// line.
    pub(crate) fn run(&self, script: &str, args: &[&str]) -> Result<String, String> {
        let output = Command::new("/bin/sh")
            // So that the watchdog finds a script too that is under way when we die.
            .args(["-c", script, &format!("{}/", self.path)])
            .args(args)
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("/bin/sh: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr)))
        }
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // Its end of the pipe is closed by this first.
        _ = self.watchdog.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::start_time;

    /// A process that names the folder, as a broker does.
    const SLEEP: &str =
        "setsid sh -c 'while :; do sleep 1; done' \"$1/broker\" </dev/null >/dev/null 2>&1 & echo $!";

    #[test]
    fn what_runs_in_it_and_the_folder_go_with_it_frozen_or_not() {
        let (one, other) = (Workplace::create().unwrap(), Workplace::create().unwrap());
        let start =
            |place: &Workplace| -> u32 { place.run(SLEEP, &[place.path()]).unwrap().trim().parse().unwrap() };
        let (running, frozen, foreign) = (start(&one), start(&one), start(&other));
        one.run("kill -STOP $1", &[&frozen.to_string()]).unwrap();
        let path = one.path().to_owned();
        drop(one);
        assert_eq!((start_time(running), start_time(frozen)), (None, None));
        assert!(!Path::new(&path).exists());
        assert!(start_time(foreign).is_some() && Path::new(other.path()).is_dir());
    }

    #[test]
    fn a_script_that_fails_says_what_it_said() {
        let place = Workplace::create().unwrap();
        assert_eq!(
            place.run("printf '%s' \"$2\"; pwd", &["", "a b "]).unwrap(),
            format!("a b {}\n", place.path())
        );
        let error = place.run("echo out; echo err >&2; exit 3", &[]).unwrap_err();
        assert!(error.contains('3') && error.contains("out\nerr\n"), "{error}");
    }
}
