//! Modules are named for what they hold, not for being left over.

use super::Violation;
use super::source::without_comments_and_literals;
use super::tree::Tree;

const FORBIDDEN: &[&str] = &["util", "utils", "common", "helper", "helpers", "types", "prelude", "misc"];

/// Every Rust file or module whose name says nothing, at its file or at the `mod` that declares it.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.with_extension("rs") {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for part in parts.filter(|part| FORBIDDEN.contains(part)) {
            violations.push(refused(&file.path, 1, part));
        }
        let code = without_comments_and_literals(&file.text);
        for (index, line) in code.lines().enumerate() {
            for name in inline_modules(line).filter(|name| FORBIDDEN.contains(name)) {
                violations.push(refused(&file.path, index + 1, name));
            }
        }
    }
    violations
}

fn refused(path: &str, line: usize, name: &str) -> Violation {
    Violation::new(
        path,
        line,
        format!("a module must not be called `{name}`: name the noun or the stage it is"),
    )
}

fn inline_modules(line: &str) -> impl Iterator<Item = &str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    std::iter::from_fn(move || words.by_ref().find(|word| *word == "mod").and_then(|_| words.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_modules_without_a_name_of_their_own_are_refused() {
        for (path, text, violations) in [
            ("trainer/src/util.rs", "", 1),
            ("shared/common/src/lib.rs", "", 1),
            ("trainer/src/main.rs", "pub(crate) mod helpers;", 1),
            ("trainer/src/main.rs", "mod prelude { }", 1),
            ("trainer/src/main.rs", "// mod util;\nmod cycle;", 0),
            ("trainer/src/utility_model.rs", "", 0),
            ("docs/common.md", "mod util;", 0),
        ] {
            assert_eq!(check(&Tree::of(&[(path, text)])).len(), violations, "{path} {text}");
        }
    }
}
