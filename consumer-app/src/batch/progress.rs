//! How far a run is: a bar where standard error is a terminal, else a line in the log now and then.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use super::chunk::Chunk;

/// Between two lines of the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How far one run is.
pub struct Progress {
    bar: ProgressBar,
    total: u64,
    started: Instant,
    logged: Instant,
}

impl Progress {
    /// Nothing is read of an input that ends at `total`; see `Input::total`.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let bar = ProgressBar::new(total); // draws on stderr, and nowhere when that is no terminal
        let style = "{percent:>3} % [{bar:30}] {msg}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, total, started: Instant::now(), logged: Instant::now() }
    }

    /// A chunk was written.
    pub fn wrote(&mut self, chunk: &Chunk) {
        let rows_per_second = rate(chunk.end, self.started.elapsed());
        self.bar.set_message(format!("{} rows, {rows_per_second:.0} rows/s", chunk.end));
        self.bar.set_position(chunk.read);
        if self.bar.is_hidden() && self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            let percent = chunk.read.saturating_mul(100) / self.total.max(1);
            let seconds_left = self.bar.eta().as_secs();
            info!(
                rows = chunk.end,
                rows_per_second = rows_per_second.round(),
                percent,
                seconds_left,
                "scoring"
            );
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Rows in a second.
#[must_use]
pub fn rate(rows: u64, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rows = rows as f64;
    rows / elapsed.as_secs_f64().max(1e-3)
}
