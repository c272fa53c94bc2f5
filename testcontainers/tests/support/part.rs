//! Further processes of this test binary: each plays a part, a test marked `#[ignore]`, and reports in lines.
//!
//! # Invariants
//! * A part that somebody runs by hand finds no stage, and does nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use modelcast::settings::{KafkaSettings, KeySettings};

use super::DEADLINE;
use super::programs::{Running, this_binary_again};
use super::scene::Scene;

const ADDRESS: &str = "STORY_ADDRESS";
const NAMESPACE: &str = "STORY_NAMESPACE";
const FOLDER: &str = "STORY_FOLDER";
/// Before each line that is meant for the test: the test harness prints too.
const MARK: &str = "story: ";

/// A process that plays a part, as the test sees it.
pub(crate) struct Actor {
    pub(crate) running: Running,
    lines: Receiver<String>,
}

impl Actor {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let printed = BufReader::new(running.child().stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let ours = printed.lines().map_while(Result::ok);
            let ours = ours.filter_map(|line| Some(line.split_once(MARK)?.1.to_owned()));
            ours.map_while(|line| sender.send(line).ok()).for_each(drop);
        });
        Self { running, lines }
    }

    /// Its next line.
    pub(crate) fn line(&self) -> String {
        self.line_within(DEADLINE)
    }

    pub(crate) fn line_within(&self, within: Duration) -> String {
        self.lines.recv_timeout(within).unwrap()
    }

    /// Its next line, where there is one already.
    pub(crate) fn next_line(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.running.child().stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

/// The command that plays a part on this scene.
pub(crate) fn command(scene: &Scene, part: &str) -> Command {
    let mut command = this_binary_again(part);
    command.env(ADDRESS, &scene.kafka.bootstrap_servers).env(NAMESPACE, scene.kafka.namespace.as_str());
    command.env(FOLDER, scene.folder());
    command
}

/// Where a part is played: the scene, as its process knows it.
pub(crate) struct Place {
    pub(crate) kafka: KafkaSettings,
    pub(crate) keys: KeySettings,
    pub(crate) folder: PathBuf,
}

impl Place {
    pub(crate) fn of_this_process() -> Option<Self> {
        let [Ok(bootstrap_servers), Ok(namespace), Ok(folder)] =
            [ADDRESS, NAMESPACE, FOLDER].map(std::env::var)
        else {
            return None;
        };
        let (folder, namespace) = (PathBuf::from(folder), namespace.parse().unwrap());
        let kafka = KafkaSettings { bootstrap_servers, namespace, ..KafkaSettings::default() };
        let keys = folder.join("keys");
        let keys = KeySettings { signing: Some(keys.join("team.key.pem")), trusted: vec![keys] };
        Some(Self { kafka, keys, folder })
    }
}

/// Says a line to the test.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").and_then(|()| out.flush()).unwrap();
}
