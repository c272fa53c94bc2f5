//! Every path that a Markdown file names exists.
//!
//! What is in backticks and looks like a path of this repository, and where links point. What a build or a run
//! makes (`target/`, `state/`) is not in the tree, and the change log may name what is gone.

use super::Violation;
use super::markdown::{Piece, read};
use super::tree::{File, Tree};

/// A span that starts so is meant as a path of ours even when the folder is gone.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    "bench",
    "broker",
    "config",
    "consumer-app",
    "docs",
    "operator",
    "shared",
    "testcontainers",
    "trainer",
    "xtask",
];
const MADE: &[&str] = &["target", "state"];
const ENDINGS: &[&str] =
    &["rs", "toml", "md", "sh", "yml", "yaml", "html", "css", "js", "csv", "png", "json"];
/// A bare name with one of these endings is one of our files.
const NAMES_A_FILE: &[&str] = &["rs", "md"];

/// Every path in a Markdown file that nothing is at.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.with_extension("md").filter(|file| file.name() != "CHANGELOG.md") {
        let document = read(&file.text);
        let spans = document.spans.iter().filter(|span| is_missing_span(tree, file, &span.text));
        let links = document.links.iter().filter(|link| is_missing_link(tree, file, &link.text));
        violations.extend(spans.chain(links).map(|piece| missing(file, piece)));
    }
    violations
}

fn missing(file: &File, piece: &Piece) -> Violation {
    Violation::new(&file.path, piece.line, format!("`{}` does not exist", piece.text))
}

fn is_missing_span(tree: &Tree, file: &File, span: &str) -> bool {
    // `path.rs:12` names a line.
    let path = span.split(':').next().unwrap_or(span);
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/*".contains(c);
    if path.is_empty() || path.starts_with('/') || path.contains("..") || !path.chars().all(is_path) {
        return false;
    }
    let ending =
        path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending);
    let Some((top, _)) = path.split_once('/') else {
        let is_file = NAMES_A_FILE.contains(&ending) && path.len() > ending.len() + 1 && !path.contains('*');
        return is_file && !has_path_end(tree, path);
    };
    if MADE.contains(&top) || !(TOP.contains(&top) || ENDINGS.contains(&ending)) {
        return false;
    }
    !exists(tree, path) && !exists(tree, &join(folder_of(file), path)) && !has_path_end(tree, path)
}

fn is_missing_link(tree: &Tree, file: &File, target: &str) -> bool {
    let path = target.split('#').next().unwrap_or(target);
    let is_elsewhere = path.is_empty() || path.contains(':') || path.starts_with('/');
    !is_elsewhere && !exists(tree, &join(folder_of(file), path))
}

/// With a `*`, the folder before it must be there.
fn exists(tree: &Tree, path: &str) -> bool {
    match path.split_once('*') {
        Some((before, _)) => before.rsplit_once('/').is_some_and(|(folder, _)| tree.contains(folder)),
        None => tree.contains(path),
    }
}

/// A walkthrough of one crate leaves out the crate: `src/kafka/tail.rs`, or `tail.rs`.
fn has_path_end(tree: &Tree, path: &str) -> bool {
    let end = format!("/{path}");
    tree.contains(path) || tree.files().any(|file| file.path.ends_with(&end))
}

fn folder_of(file: &File) -> &str {
    file.path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let files = [
            ("shared/client/src/kafka/tail.rs", ""),
            ("docs/protocol.md", ""),
            ("docs/adr/0001-log.md", ""),
            (path, text),
        ];
        check(&Tree::of(&files)).len()
    }

    #[test]
    fn a_path_that_is_gone_is_refused() {
        for text in [
            "`shared/client/src/gone.rs`",
            "`shared/gone/`",
            "`bench/`",
            "`gone.rs`",
            "`kafka/gone.rs:12`",
            "`shared/gone/*.rs`",
            "[x](docs/gone.md)",
            "[x](gone.md#a)",
            "<img src=\"docs/gone.png\">",
        ] {
            assert_eq!(found("README.md", text), 1, "{text}");
        }
    }

    #[test]
    fn what_exists_or_is_no_path_of_ours_passes() {
        for text in [
            "`shared/client/src/kafka/tail.rs:12`",
            "`src/kafka/tail.rs`, `tail.rs`, `shared/client/`, `shared/client/src/kafka/*.rs`",
            "`application/json` `apache/kafka` `/v2/models/x` `<model>/<instance>` `target/debug/trainer`",
            "`state/demo` `org.apache.kafka` `a/b` `*.rs` `.rs` `~/.cargo/x.toml`",
            "[x](docs/protocol.md#a) [y](https://example.org/gone.md) [z](#here)",
            "```rust\nmod gone; // `shared/gone.rs`\n```",
        ] {
            assert_eq!(found("README.md", text), 0, "{text}");
        }
        assert_eq!(found("docs/operations.md", "`adr/0001-log.md` [x](protocol.md) [y](../README.md)"), 1);
        assert_eq!(found("CHANGELOG.md", "`shared/gone.rs`"), 0);
    }
}
