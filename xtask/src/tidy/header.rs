//! Every Rust file says first what it is for.

use super::Violation;
use super::tree::Tree;

/// Every Rust file that does not start with a `//!` sentence.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.with_extension("rs")
        .filter(|file| !has_header(&file.text))
        .map(|file| {
            Violation::new(&file.path, 1, "does not start with a `//!` header that says what it is for")
        })
        .collect()
}

/// A word or two is no sentence.
fn has_header(text: &str) -> bool {
    let sentence = text.lines().next().and_then(|line| line.strip_prefix("//! "));
    sentence.is_some_and(|sentence| sentence.split_whitespace().count() >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_header_is_refused() {
        for (text, violations) in [
            ("use a;\n", 1),
            ("", 1),
            ("//! Slot.\n", 1),
            ("// Where the model lives.\n", 1),
            ("//! Where the model lives.\n", 0),
        ] {
            assert_eq!(check(&Tree::of(&[("a.rs", text)])).len(), violations, "{text}");
        }
    }
}
