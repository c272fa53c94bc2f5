//! Nothing is left for later: what is not built is an issue, not a comment.

use super::Violation;
use super::tree::Tree;

/// In two parts, so that this file does not break its own rule.
const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!"),
];
const SOURCES: &[&str] = &["rs", "toml", "sh", "py", "js", "css", "html", "yml", "yaml"];

/// Every line that postpones something.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    // Scripts may have no ending at all: `.ci/run`.
    for file in tree.files().filter(|f| SOURCES.contains(&f.extension()) || f.text.starts_with("#!")) {
        for (index, line) in file.text.lines().enumerate() {
            for marker in MARKERS.iter().filter(|marker| has_marker(line, marker)) {
                let message = format!("`{marker}`: finish it, or file an issue and drop the comment");
                violations.push(Violation::new(&file.path, index + 1, message));
            }
        }
    }
    violations
}

/// As a word of its own: part of a longer one, or of a template for temporary names, is something else.
fn has_marker(line: &str, marker: &str) -> bool {
    line.match_indices(marker).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + marker.len()..).and_then(|text| text.chars().next());
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joins(before) && (!joins(after) || marker.ends_with(['!', '(']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_postpones_is_refused() {
        let [later, mend, crosses, macro_call, other_macro] = MARKERS else { panic!("five markers") };
        for (path, text, violations) in [
            ("a.rs", format!("// {later}: later"), 1),
            ("a.rs", format!("fn f() {{ {macro_call}) }}"), 1),
            ("a.rs", format!("fn f() {{ {other_macro}() }}"), 1),
            ("a.toml", format!("x = 1 # {mend}"), 1),
            (".ci/run", format!("#!/bin/bash\n# {crosses}"), 1),
            ("a.sh", format!("mktemp a.{crosses}{crosses}"), 0),
            ("a.rs", "// method, and a list called todos".to_owned(), 0),
            ("a.md", format!("no `{later}`"), 0),
        ] {
            assert_eq!(check(&Tree::of(&[(path, &text)])).len(), violations, "{path} {text}");
        }
    }
}
