//! How tables look: framed and coloured on a terminal, plain and unwrapped everywhere else.
//!
//! Knows nothing of models: a table is a header and rows of [`Field`]s.

use std::io::IsTerminal as _;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use crate::printable::printable;

/// A terminal that is narrower, or does not know its width, shows long lines better than columns of one letter.
const WRAP_MIN_COLUMNS: u16 = 72;

/// Where a table goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A terminal: wrapped to its width.
    Terminal(Paint),
    /// A file or a pipe: one line a row, no colour.
    Plain,
}

/// Whether colours are wanted on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// They are.
    Colour,
    /// `NO_COLOR` is set (<https://no-color.org>).
    NoColour,
}

/// What a cell says about the fleet's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing in particular.
    Neutral,
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// A person must act.
    Bad,
    /// Not heard of.
    Faded,
}

/// One cell's text and tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    text: String,
    tone: Tone,
}

impl Look {
    /// The look that fits this process's stdout.
    pub(crate) fn of_stdout() -> Self {
        let paint = match std::env::var_os("NO_COLOR") {
            Some(value) if !value.is_empty() => Paint::NoColour,
            _ => Paint::Colour,
        };
        if std::io::stdout().is_terminal() { Self::Terminal(paint) } else { Self::Plain }
    }
}

impl Field {
    /// A cell in a tone.
    pub(crate) fn toned(text: &str, tone: Tone) -> Self {
        Self { text: printable(text).into_owned(), tone }
    }
}

impl<T: AsRef<str>> From<T> for Field {
    fn from(text: T) -> Self {
        Self::toned(text.as_ref(), Tone::Neutral)
    }
}

/// The table as text, without a newline at its end.
pub(crate) fn render(look: Look, header: &[&str], rows: Vec<Vec<Field>>) -> String {
    let mut table = Table::new();
    match look {
        Look::Terminal(_) => {
            table.load_style(presets::UTF8_HORIZONTAL_ONLY);
            let wraps = table.width().is_some_and(|width| width >= WRAP_MIN_COLUMNS);
            table.set_content_arrangement(if wraps {
                ContentArrangement::Dynamic
            } else {
                ContentArrangement::Disabled
            });
        }
        Look::Plain => {
            table.load_style(presets::NOTHING).force_no_tty();
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if look == Look::Terminal(Paint::Colour) {
        table.enforce_styling();
    }
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(|field| cell(look, &field)));
    }
    table.trim_fmt()
}

fn cell(look: Look, field: &Field) -> Cell {
    let cell = Cell::new(&field.text);
    match colour(look, field.tone) {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

fn colour(look: Look, tone: Tone) -> Option<Color> {
    match (look, tone) {
        (Look::Plain | Look::Terminal(Paint::NoColour), _) | (_, Tone::Neutral) => None,
        (_, Tone::Good) => Some(Color::Green),
        (_, Tone::Busy) => Some(Color::Yellow),
        (_, Tone::Bad) => Some(Color::Red),
        (_, Tone::Faded) => Some(Color::DarkGrey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(look: Look) -> String {
        let rows = vec![
            vec![Field::from("app-1"), Field::toned("live", Tone::Good)],
            vec![Field::from("app-2"), Field::toned("refused \x1b[2J", Tone::Bad)],
        ];
        render(look, &["instance", "phase"], rows)
    }

    #[test]
    fn a_pipe_gets_one_plain_line_a_row() {
        let text = rendered(Look::Plain);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.is_ascii() || !text.contains('\x1b'), "{text:?}");
        assert!(text.contains("app-1") && text.contains("live"), "{text}");
    }

    #[test]
    fn only_a_terminal_that_wants_colour_gets_it() {
        assert!(rendered(Look::Terminal(Paint::Colour)).contains("\x1b["));
        assert!(!rendered(Look::Terminal(Paint::NoColour)).contains('\x1b'));
        assert!(!rendered(Look::Plain).contains('\x1b'));
        // A table on a real terminal styles its cells whether or not it is told to.
        for look in [Look::Plain, Look::Terminal(Paint::NoColour)] {
            assert_eq!(colour(look, Tone::Bad), None, "{look:?}");
        }
    }

    #[test]
    fn a_cell_cannot_bring_its_own_escape_sequence() {
        assert!(!rendered(Look::Terminal(Paint::Colour)).contains("\x1b[2J"));
    }
}
