//! One broker process: its start, its signals, what it says.
//!
//! Does not know what clients see of it (see `topology`), nor where its machine is.
//!
//! # Invariants
//! * A node's operations follow one another, whoever asks for them.
//! * Its data and its ports stay whatever is done to the process.

mod settings;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use settings::{CLIENT, Common, FAULTY, Listener, Ports};

use serde_json::Value;

use crate::error::Error;
use crate::machine::Machine;

const LOG_SETTINGS: &str = include_str!("log4j2.properties");
const CLUSTER_ID: &str = "bW9kZWxjYXN0LXRlc3RzLQ";
/// Of the log, in an error.
const LOG_LINES: &str = "20";

/// Our image has what Java found out about Kafka's classes in a first start: measured 0.5 s instead of 1.0 s for a tool.
const CLASSES: &str = r#"
# Whether that is kept of this class path.
find_classes() { classes=${1%/*}.jsa && [ -e "$classes" ] || classes=; }
"#;

/// Writes files (name, text; up to `--`) and formats the data folders. Java starts once for all nodes: what the tool
/// makes differs between them by the node's number and the folder's random identity only.
const PREPARE: &str = r#"
umask 077
cd "$1" && java=$2 class_path=$3 nodes=$4 cluster=$5 && shift 5 || exit
while [ "$1" != -- ]; do
  printf '%s' "$2" >"$1" || exit
  shift 2
done
shift
find_classes "$class_path"
cd node-1 && "$java" -Xmx128m -XX:TieredStopAtLevel=1 ${classes:+"-XX:SharedArchiveFile=$classes"} \
  "-Dlog4j2.configurationFile=$PWD/log4j2.properties" -cp "$class_path" kafka.tools.StorageTool format --cluster-id "$cluster" \
  --config server.properties "$@" 2>&1 || exit
mv ../data-1/kafka/meta.properties ../data-1/kafka/bootstrap.checkpoint . || exit
node=1
while [ "$node" -le "$nodes" ]; do
  data=../data-$node/kafka
  mkdir -p "$data" && cp bootstrap.checkpoint "$data/" || exit
  sed "s/^node.id=.*/node.id=$node/; s/^directory.id=./directory.id=$node/" meta.properties >"$data/meta.properties" ||
    exit
  node=$((node + 1))
done
"#;

/// Tests live too short for the optimising compiler to pay: measured 0.4 s of 3.9 s. On few processors a collector
/// without threads of its own leaves more of them: a broker of three came up with 1.97 instead of 3.01 s of processor.
const START: &str = r#"
cd "$1" || exit
find_classes "$3"
setsid "$2" -Xms256m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 ${classes:+"-XX:SharedArchiveFile=$classes"} \
  "-Dlog4j2.configurationFile=$1/log4j2.properties" -cp "$3" kafka.Kafka server.properties >>log 2>&1 </dev/null &
echo $! >pid
cat pid
"#;

const TOOL: &str = r#"
cd "$1" && java=$2 class_path=$3 && shift 3 || exit
find_classes "$class_path"
exec "$java" -Xmx128m -XX:TieredStopAtLevel=1 ${classes:+"-XX:SharedArchiveFile=$classes"} \
  "-Dlog4j2.configurationFile=$PWD/log4j2.properties" -cp "$class_path" "$@"
"#;

/// The embedded broker: no settings, and a data folder that it makes.
const START_EMBEDDED: &str = r#"
cd "$1" || exit
setsid "$2" --data "$3" --port "$4" >>log 2>&1 </dev/null &
echo $! >pid
cat pid
"#;

/// A process that has ended stays in the list until somebody asks how.
const RUNS: &str = r#"
runs() { kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
"#;
/// An orderly end takes a second; one that cannot hand over its leaderships waits for minutes, and is killed after
/// half of one.
const TERMINATE: &str = r#"
kill -TERM "$1" && kill -CONT "$1"
looks=600
while runs "$1"; do
  looks=$((looks - 1))
  if [ "$looks" = 0 ]; then kill -KILL "$1"; fi
  sleep 0.05
done
"#;
const KILL: &str = r#"
kill -KILL "$1" 2>/dev/null
while runs "$1"; do sleep 0.05; done
"#;

/// A broker of a [`Cluster`](crate::Cluster).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(i32);

impl BrokerId {
    /// Counted from 1.
    pub(crate) fn nth(index: usize) -> Self {
        Self(i32::try_from(index + 1).expect("there are three at most"))
    }

    /// As Kafka numbers it.
    pub(crate) fn from_kafka(number: i32) -> Self {
        Self(number)
    }

    /// Kafka's `node.id`.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a node's process is, as far as we did it: it may have ended by itself since.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Process {
    None,
    Running(String),
    Frozen(String),
}

/// One broker and controller.
pub(crate) struct Node {
    pub(crate) id: BrokerId,
    pub(crate) ports: Ports,
    /// The program of the embedded broker, where it is no Apache Kafka.
    embedded: Option<String>,
    process: Mutex<Process>,
}

/// What is beside `server.properties`, and how the data folder is formatted.
pub(crate) struct Preparation<'a> {
    pub(crate) common: Common<'a>,
    /// Name and text.
    pub(crate) files: &'a [(String, String)],
    /// For the format, after ours.
    pub(crate) format_arguments: &'a [String],
}

impl Node {
    pub(crate) fn new(id: BrokerId, ports: Ports, embedded: Option<String>) -> Self {
        Self { id, ports, embedded, process: Mutex::new(Process::None) }
    }

    /// Writes what the nodes need, and formats their data folders.
    ///
    /// # Errors
    /// [`Error::Script`] where Kafka's tool refuses a setting; [`Error::Docker`].
    pub(crate) fn prepare(
        nodes: &[Self],
        machine: &dyn Machine,
        preparation: &Preparation<'_>,
    ) -> Result<(), Error> {
        let (java, class_path) = machine.java();
        let count = nodes.len().to_string();
        let fixed = [machine.folder(), java, class_path, &count, CLUSTER_ID];
        let mut words: Vec<String> = fixed.map(ToOwned::to_owned).to_vec();
        for node in nodes {
            let settings = preparation.common.server_properties(node.id, &node.ports);
            let ours = [("server.properties", settings.as_str()), ("log4j2.properties", LOG_SETTINGS)];
            let given = preparation.files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            for (name, text) in ours.into_iter().chain(given) {
                words.extend([format!("node-{}/{name}", node.id), text.to_owned()]);
            }
        }
        words.push("--".to_owned());
        words.extend_from_slice(preparation.format_arguments);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        machine.run("format the data folders", &format!("{CLASSES}{PREPARE}"), &words).map(drop)
    }

    /// Starts the process unless it runs; a client is not answered before some seconds.
    ///
    /// # Errors
    /// [`Error::Script`], [`Error::Docker`].
    pub(crate) fn start(&self, machine: &dyn Machine) -> Result<(), Error> {
        let mut process = self.process();
        if let Process::Running(number) | Process::Frozen(number) = &*process
            && runs(machine, number)?
        {
            return Ok(());
        }
        let folder = self.folder(machine);
        let number = match &self.embedded {
            Some(program) => {
                let data = format!("{}/data-{}/broker", machine.folder(), self.id);
                let port = self.ports.listeners.first().map(|listener| listener.port.to_string());
                let args = [&folder, program, &data, &port.unwrap_or_default()];
                machine.run("start the embedded broker", START_EMBEDDED, &args.map(String::as_str))?
            }
            None => {
                let (java, class_path) = machine.java();
                machine.run("start Kafka", &format!("{CLASSES}{START}"), &[&folder, java, class_path])?
            }
        };
        *process = Process::Running(number.trim().to_owned());
        Ok(())
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// [`Error::Docker`].
    pub(crate) fn kill(&self, machine: &dyn Machine) -> Result<(), Error> {
        self.end(machine, "kill Kafka", KILL)
    }

    /// SIGTERM; returns when the process is gone, killed after half a minute.
    ///
    /// # Errors
    /// [`Error::Docker`].
    pub(crate) fn terminate(&self, machine: &dyn Machine) -> Result<(), Error> {
        self.end(machine, "stop Kafka", TERMINATE)
    }

    fn end(&self, machine: &dyn Machine, task: &'static str, script: &str) -> Result<(), Error> {
        let mut process = self.process();
        if let Process::Running(number) | Process::Frozen(number) = &*process {
            machine.run(task, &format!("{RUNS}{script}"), &[number])?;
        }
        *process = Process::None;
        Ok(())
    }

    /// SIGSTOP: connections stay, nothing is answered.
    ///
    /// # Errors
    /// [`Error::Script`] where it does not run; [`Error::Docker`].
    pub(crate) fn freeze(&self, machine: &dyn Machine) -> Result<(), Error> {
        self.signal(machine, "freeze Kafka", "STOP", Process::Frozen)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// [`Error::Script`] where it does not run; [`Error::Docker`].
    pub(crate) fn thaw(&self, machine: &dyn Machine) -> Result<(), Error> {
        self.signal(machine, "thaw Kafka", "CONT", Process::Running)
    }

    fn signal(
        &self,
        machine: &dyn Machine,
        task: &'static str,
        signal: &str,
        becomes: impl FnOnce(String) -> Process,
    ) -> Result<(), Error> {
        let mut process = self.process();
        let (Process::Running(number) | Process::Frozen(number)) = process.clone() else {
            let reason = format!("broker {} does not run: start it first", self.id);
            return Err(Error::Cannot { task, reason });
        };
        machine.run(task, r#"kill "-$1" "$2""#, &[signal, &number])?;
        *process = becomes(number);
        Ok(())
    }

    /// Whether the process is there and was not frozen by us.
    ///
    /// # Errors
    /// [`Error::Docker`].
    pub(crate) fn is_running(&self, machine: &dyn Machine) -> Result<bool, Error> {
        match &*self.process() {
            Process::Running(number) => runs(machine, number),
            Process::None | Process::Frozen(_) => Ok(false),
        }
    }

    /// Whether it was frozen by us.
    pub(crate) fn is_frozen(&self) -> bool {
        matches!(*self.process(), Process::Frozen(_))
    }

    /// The newest epoch of the controllers' quorum that it knows, and who leads in it.
    ///
    /// # Errors
    /// [`Error::Docker`].
    pub(crate) fn quorum(&self, machine: &dyn Machine) -> Result<Option<(i64, BrokerId)>, Error> {
        let file = format!("{}/data-{}/kafka/__cluster_metadata-0/quorum-state", machine.folder(), self.id);
        let state = machine.run("look for the controller", r#"cat "$1" 2>/dev/null || true"#, &[&file])?;
        // It may not be there yet.
        let state: Value = serde_json::from_str(&state).unwrap_or_default();
        let number = |name| state.get(name).and_then(Value::as_i64);
        let leader = number("leaderId").and_then(|leader| i32::try_from(leader).ok());
        let leader = leader.filter(|leader| *leader >= 0).map(BrokerId::from_kafka);
        Ok(number("leaderEpoch").zip(leader))
    }

    /// All that it has said, of each time it ran.
    ///
    /// # Errors
    /// [`Error::Script`], [`Error::Docker`].
    pub(crate) fn log(&self, machine: &dyn Machine) -> Result<String, Error> {
        machine.run("read the log", r#"cat "$1/log""#, &[&self.folder(machine)])
    }

    /// The last of it, indented; or why it cannot be read.
    pub(crate) fn end_of_log(&self, machine: &dyn Machine) -> String {
        let script = r#"tail -n "$2" "$1/log" | sed 's/^/    /'"#;
        machine
            .run("read the log", script, &[&self.folder(machine), LOG_LINES])
            .unwrap_or_else(|error| format!("    ({error})"))
    }

    /// Fills its disk with a file to the last byte.
    ///
    /// # Errors
    /// [`Error::Cannot`] where its disk is the machine's; [`Error::Docker`].
    pub(crate) fn fill_disk(&self, machine: &dyn Machine) -> Result<(), Error> {
        if !machine.disks_are_small() {
            let reason = "its disk is that of the machine; a container has small ones".to_owned();
            return Err(Error::Cannot { task: "fill the disk", reason });
        }
        machine.run(
            "fill the disk",
            r#"cat /dev/zero >"$1" 2>/dev/null; true"#,
            &[&self.ballast(machine)],
        )?;
        Ok(())
    }

    /// Ends [`fill_disk`](Self::fill_disk).
    ///
    /// # Errors
    /// [`Error::Script`], [`Error::Docker`].
    pub(crate) fn free_disk(&self, machine: &dyn Machine) -> Result<(), Error> {
        machine.run("free the disk", r#"rm -f "$1""#, &[&self.ballast(machine)]).map(drop)
    }

    fn ballast(&self, machine: &dyn Machine) -> String {
        format!("{}/data-{}/ballast", machine.folder(), self.id)
    }

    fn folder(&self, machine: &dyn Machine) -> String {
        format!("{}/node-{}", machine.folder(), self.id)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one of Kafka's own tools to its end, and gives what it printed.
///
/// # Errors
/// [`Error::Script`] with what it printed where it failed; [`Error::Docker`].
pub(crate) fn run_tool(machine: &dyn Machine, class: &str, arguments: &[&str]) -> Result<String, Error> {
    let (java, class_path) = machine.java();
    let folder = format!("{}/node-1", machine.folder());
    let fixed = [&folder, java, class_path, class];
    machine.run("run a tool of Kafka", &format!("{CLASSES}{TOOL}"), &[&fixed[..], arguments].concat())
}

fn runs(machine: &dyn Machine, process: &str) -> Result<bool, Error> {
    let script = format!(r#"{RUNS}if runs "$1"; then echo yes; fi"#);
    Ok(machine.run("look for Kafka", &script, &[process])?.trim() == "yes")
}
