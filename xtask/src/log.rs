//! The logs of programs that are started here.

use std::path::Path;

const TAIL_LINES: usize = 15;

/// The end of a log, to be appended to a message; nothing where there is none.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    if tail.is_empty() {
        return String::new();
    }
    let shown: String = tail.iter().map(|line| format!("\n    {line}")).collect();
    format!("; {} says:{shown}", log.display())
}
