//! Where Kafka's processes run: a container, or this machine.
//!
//! A machine has a shell, a Java, Kafka's jars and a folder; what is done there is a shell script, the same
//! everywhere, so that all that is known about running a broker is in `node` once. Does not know Kafka's settings.
//!
//! # Invariants
//! * A machine and all that runs on it go with the handle, or with the process that held it, whichever way that ends.
//! * Scripts are for a plain POSIX shell with the usual small programs (`kill`, `setsid`, `cat`, `tail`, `rm`): a
//!   container's may be busybox.

mod container;
mod local;
pub(crate) mod workplace;

pub(crate) use container::Container;
pub(crate) use local::Local;

use crate::error::Error;

/// What a machine is made for.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    /// Free ports, at which what listens there is reached from here.
    pub(crate) ports: Vec<u16>,
    /// The nodes' numbers are 1 to this.
    pub(crate) nodes: usize,
}

/// Where broker processes run. Dropping it ends them and removes their files.
pub(crate) trait Machine: Send + Sync {
    /// For people: the container's name, or the folder.
    fn name(&self) -> &str;

    /// The host part of the addresses at which its ports are reached from here.
    fn host(&self) -> &str;

    /// On which address what is to be reached from here listens: loopback, but within a container.
    fn listens_on(&self) -> &'static str;

    /// An absolute path without blanks: a folder in which scripts may make files and folders. For each node number it
    /// has `node-NUMBER` (what Kafka is told and what it says) and `data-NUMBER` (what it keeps), empty at first.
    fn folder(&self) -> &str;

    /// The Java to call, and the class path with all of Kafka.
    fn java(&self) -> (&str, &str);

    /// Whether each `data-NUMBER` is a small disk of its own, which may be filled up.
    fn disks_are_small(&self) -> bool;

    /// Runs a shell script to its end, with `$1`, `$2`, ... as given, and gives what it printed. What it leaves
    /// running holds none of its outputs, has a session of its own (`setsid`), and has written its process number to
    /// `node-NUMBER/pid` before the script ends: that is how a machine without containers finds it.
    ///
    /// # Errors
    /// [`Error::Docker`] or [`Error::Script`], the latter with what it printed where its exit code is not 0.
    fn run(&self, task: &'static str, script: &str, args: &[&str]) -> Result<String, Error>;
}
