//! Progress on stderr, when that is a terminal: which stage is under way, and how much is sent.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use modelcast::publish::PublishEvent;
use tracing::info;
use trainer::wait::Waited;

/// One line that says what is going on; invisible where stderr is no terminal. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A line that says nothing yet.
    pub(crate) fn start() -> Self {
        let bar = ProgressBar::new_spinner(); // draws on stderr, and nowhere when that is no terminal
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Says what goes on now.
    pub(crate) fn say(&self, stage: impl Into<String>) {
        self.0.set_message(stage.into());
    }

    /// Says what a publish does.
    pub(crate) fn publish(&self, event: &PublishEvent) {
        match event {
            PublishEvent::Read(generation) => {
                let generation = generation.map(modelcast_protocol::number::Generation::get);
                info!(generation, "announcement in force read");
                self.say("asking the gates");
            }
            PublishEvent::Gates(gates) => {
                for gate in gates {
                    info!(gate = gate.gate, verdict = ?gate.verdict, detail = gate.detail, "gate asked");
                }
                self.say("sending chunks");
            }
            PublishEvent::Sent { done_bytes, total_bytes } => self.bytes(*done_bytes, *total_bytes),
            PublishEvent::Uploaded { manifest, bytes_sent } => {
                info!(%manifest, bytes_sent, "version uploaded");
                self.say("reading back");
            }
            PublishEvent::ReadBack(_) => self.say("reading back"),
            PublishEvent::Conflict(conflict) => {
                info!(generation = %conflict.generation, by = conflict.by, "somebody else announced first; deciding again");
                self.say("somebody else announced first; deciding again");
            }
        }
    }

    /// Says how far the fleet is.
    pub(crate) fn fleet(&self, waited: &Waited) {
        info!(live = waited.live, of = waited.of, refused = waited.refused.len(), "fleet looked at");
        self.say(format!("waiting for the fleet: {}", waited.finding()));
    }

    /// Takes the line away, before a result is written.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }

    fn bytes(&self, done: u64, total: u64) {
        if self.0.length() != Some(total) {
            let style = ProgressStyle::with_template(
                "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
            );
            self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }
}
