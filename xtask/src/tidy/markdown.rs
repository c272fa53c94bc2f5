//! Markdown as the checks want it: code spans, links and the lines of fenced blocks.
//!
//! Reads what our documents use, not all of CommonMark.

/// A piece of a document and its line, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) line: usize,
    pub(super) text: String,
}

/// What a document names.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// What stands between backticks, outside fenced blocks.
    pub(super) spans: Vec<Piece>,
    /// Where links and images point.
    pub(super) links: Vec<Piece>,
    /// Lines of fenced blocks of shell commands; one that a backslash continues is one line.
    pub(super) commands: Vec<Piece>,
}

/// Reads a document.
pub(super) fn read(text: &str) -> Document {
    let mut document = Document::default();
    let mut fence: Option<String> = None;
    let mut continued = false;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let trimmed = line.trim_start();
        if let Some(language) = trimmed.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.trim().to_owned()) };
            continued = false;
            continue;
        }
        match fence.as_deref() {
            None => read_prose(line, line_number, &mut document),
            Some(language) => {
                let Some(command) = command_in(language, trimmed) else { continue };
                let text = command.trim_end_matches('\\').to_owned();
                match document.commands.last_mut() {
                    Some(last) if continued => last.text.push_str(&text),
                    _ => document.commands.push(Piece { line: line_number, text }),
                }
                continued = command.ends_with('\\');
            }
        }
    }
    document
}

/// In a shell block every line is one; in a transcript, or a block without a language, those after a prompt.
fn command_in<'a>(language: &str, line: &'a str) -> Option<&'a str> {
    match language {
        "sh" | "bash" | "shell" => Some(line.strip_prefix("$ ").unwrap_or(line)),
        "" | "console" | "text" => line.strip_prefix("$ "),
        _ => None,
    }
}

fn read_prose(line: &str, line_number: usize, document: &mut Document) {
    let piece = |text: &str| Piece { line: line_number, text: text.to_owned() };
    let mut prose = String::new();
    for (index, part) in line.split('`').enumerate() {
        if index % 2 == 1 {
            document.spans.push(piece(part));
        } else {
            prose.push_str(part);
        }
    }
    for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
        for rest in prose.split(opening).skip(1) {
            let target = rest.split(closing).next().unwrap_or(rest);
            document.links.push(piece(target.split(' ').next().unwrap_or(target)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_links_and_commands_come_with_their_lines() {
        let text = "See `a/b.rs` and [c](d.md#e \"t\").\n```sh\ntrainer run \\\n  --x\nls\n```\n`f`\n\
                    ```rust\nlet x = `1`;\n```\n```console\n$ cargo xtask demo\nup\n```\n<img src=\"g.png\">\n";
        let document = read(text);
        let of = |pieces: &[Piece]| pieces.iter().map(|p| (p.line, p.text.clone())).collect::<Vec<_>>();
        assert_eq!(of(&document.spans), [(1, "a/b.rs".to_owned()), (7, "f".to_owned())]);
        assert_eq!(of(&document.links), [(1, "d.md#e".to_owned()), (15, "g.png".to_owned())]);
        let commands = [(3, "trainer run --x"), (5, "ls"), (12, "cargo xtask demo")];
        assert_eq!(of(&document.commands), commands.map(|(line, text)| (line, text.to_owned())));
    }
}
