//! `docs/protocol.md` was looked at since the wire modules last changed.
//!
//! The document carries a hash of the code that decides what crosses Kafka, without comments and tests. Whoever
//! changes that code reads the document, mends it, and writes the new hash into it.

use super::Violation;
use super::source::shipped;
use super::tree::Tree;

const DOCUMENT: &str = "docs/protocol.md";
const SOURCES: &str = "shared/protocol/src/";
/// The table of contents decides nothing.
const NOT_WIRE: &str = "shared/protocol/src/lib.rs";

/// A document that is missing or carries another hash.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let wanted = format!("<!-- wire: {:016x} -->", hash(tree));
    let Some(document) = tree.file(DOCUMENT) else {
        return vec![Violation::new(DOCUMENT, 1, format!("is missing; it is to carry the line `{wanted}`"))];
    };
    let mut lines = document.text.lines().enumerate();
    let Some((index, line)) = lines.find(|(_, line)| line.trim_start().starts_with("<!-- wire:")) else {
        return vec![Violation::new(DOCUMENT, 1, format!("lacks the line `{wanted}`"))];
    };
    if line.trim() == wanted {
        return Vec::new();
    }
    let message = format!(
        "{SOURCES} changed: read this document against it, mend it, then put `{wanted}` in this line"
    );
    vec![Violation::new(DOCUMENT, index + 1, message)]
}

/// FNV-1a: it guards against forgetting, not against an attacker.
fn hash(tree: &Tree) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: &str| {
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    let is_wire = |path: &str| path.starts_with(SOURCES) && path != NOT_WIRE;
    for file in tree.with_extension("rs").filter(|file| is_wire(&file.path)) {
        add(&file.path);
        // Formatting is no change.
        shipped(&file.text).split_whitespace().for_each(&mut add);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(document: &str, code: &str) -> Vec<Violation> {
        check(&Tree::of(&[(DOCUMENT, document), ("shared/protocol/src/frame.rs", code)]))
    }

    fn current(code: &str) -> String {
        let message = found("", code).remove(0).message;
        format!("# Protocol\n{}\n", message.split('`').nth(1).unwrap())
    }

    #[test]
    fn a_document_that_was_not_looked_at_since_the_code_changed_is_refused() {
        let document = current("const SIZE: u8 = 1;");
        assert!(found(&document, "const SIZE: u8 = 1;").is_empty());
        let violations = found(&document, "const SIZE: u8 = 2;");
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].line, 2);
        assert_eq!(found("no hash", "const SIZE: u8 = 1;").len(), 1);
        assert_eq!(check(&Tree::of(&[])).len(), 1);
    }

    #[test]
    fn comments_formatting_and_tests_change_nothing_and_literals_do() {
        let document = current("const A: &str = \"a\";");
        let same = "//! Why.\nconst A: &str =\n    \"a\"; // so\n#[cfg(test)]\nmod tests { fn f() {} }\n";
        assert!(found(&document, same).is_empty());
        assert_eq!(found(&document, "const A: &str = \"b\";").len(), 1);
    }
}
