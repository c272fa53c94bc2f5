//! Every test that a Markdown file names by file and function is there.
//!
//! Such a name is a span `path.rs::function`. That the file is there is another check: see `paths`.

use super::Violation;
use super::markdown::read;
use super::tree::Tree;

/// Every named function that its file does not have.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for document in tree.with_extension("md").filter(|file| file.name() != "CHANGELOG.md") {
        for span in read(&document.text).spans {
            let Some((path, function)) = span.text.split_once(".rs::") else { continue };
            let source = tree.file(&format!("{path}.rs")).map_or("", |file| file.text.as_str());
            if !source.contains(&format!("fn {function}(")) {
                let message = format!("there is no `{function}` in {path}.rs");
                violations.push(Violation::new(&document.path, span.line, message));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_gone_is_refused() {
        for (named, violations) in [
            ("`a/b.rs::it_works`", 0),
            ("`a/b.rs::it_work`", 1),
            ("`a/c.rs::it_works`", 1),
            ("`a/b.rs`, `it_works` and `b::c`", 0),
        ] {
            let tree = Tree::of(&[("a/b.rs", "fn it_works() {}\n"), ("docs/a.md", named)]);
            assert_eq!(check(&tree).len(), violations, "{named}");
        }
    }
}
