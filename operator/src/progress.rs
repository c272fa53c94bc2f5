//! How far a version is: the phases that it passed through, and a bar on a terminal while its bytes come in.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use modelcast::catalog::OnPhase;
use modelcast_protocol::status::Phase;

/// One version on its way.
pub(crate) struct Progress {
    phases: Arc<Mutex<Vec<Phase>>>,
    bar: ProgressBar,
}

impl Progress {
    /// Begins; the bar is drawn on standard error, where that is a terminal.
    pub(crate) fn start(total_bytes: u64) -> Self {
        let form = "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(form).expect("the template is valid");
        Self { phases: Arc::default(), bar: ProgressBar::new(total_bytes).with_style(style) }
    }

    /// What is to hear the phases.
    pub(crate) fn listener(&self) -> OnPhase {
        let (phases, bar) = (Arc::clone(&self.phases), self.bar.clone());
        Arc::new(move |phase| match phase {
            Phase::Fetching { done_bytes, .. } => bar.set_position(done_bytes),
            phase => phases.lock().unwrap_or_else(PoisonError::into_inner).push(phase),
        })
    }

    /// Takes the bar away; gives the phases that were reached.
    pub(crate) fn end(self) -> Vec<Phase> {
        self.bar.finish_and_clear();
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
