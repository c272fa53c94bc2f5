//! Tables and texts for a terminal, a pipe or a file.

use std::{borrow::Cow, io::IsTerminal as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A terminal that is narrower shows long lines better than columns of one letter.
const WRAP_MIN_COLUMNS: u16 = 72;

/// The table as text, with a newline at its end: framed on a terminal, one plain line a row everywhere else.
pub(super) fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    if std::io::stdout().is_terminal() {
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        let wraps = table.width().is_some_and(|width| width >= WRAP_MIN_COLUMNS);
        table.set_content_arrangement(if wraps {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
    } else {
        table.load_style(presets::NOTHING).force_no_tty();
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|text| printable(text)));
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// The text with every control character replaced: keys, causes and reasons come from outside, and none of them may
/// steer a terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    // Bidirectional overrides are no control characters, and reorder what a person reads all the same.
    let harmful = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if text.contains(harmful) {
        Cow::Owned(text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// A bar of up to `width` characters for a share of the highest, in eighths of a character.
pub(super) fn bar(share: f64, highest: f64, width: u32) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let filled = (share / highest * f64::from(width) * 8.0).round().clamp(0.0, f64::from(width) * 8.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a few hundred")]
    let eighths = filled as usize;
    // What is there at all is seen.
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS.get(eighths % 8).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_one_plain_line_a_row_and_no_escape_sequence() {
        let text = table(&["key", "cause"], &[], vec![vec!["a".into(), "x\x1b[2J\ny".into()]]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_invisible() {
        let rows = [(0.0, ""), (0.000_1, "▏"), (0.25, "█"), (0.375, "█▌"), (1.0, "████")];
        for (share, expected) in rows {
            assert_eq!(bar(share, 1.0, 4), expected, "{share}");
        }
    }
}
