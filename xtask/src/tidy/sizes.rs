//! The walls: a file is one noun or one stage.
//!
//! Functions have a wall too, which clippy's `too_many_lines` holds.

use super::Violation;
use super::tree::{File, Tree};

const FILE_LINES: usize = 500;
const LIB_LINES: usize = 80;
const SOURCES: &[&str] = &["rs", "js", "css", "html", "sh", "py"];

/// Every source file past its wall.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let sources = tree.files().filter(|file| SOURCES.contains(&file.extension()));
    sources.filter_map(check_file).collect()
}

fn check_file(file: &File) -> Option<Violation> {
    let wall = if file.name() == "lib.rs" { LIB_LINES } else { FILE_LINES };
    let lines = file.text.lines().count();
    (lines > wall).then(|| Violation::new(&file.path, wall + 1, format!("{lines} lines, wall at {wall}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_past_its_wall_is_refused() {
        for (path, lines, violations) in [
            ("a/src/x.rs", 500, 0),
            ("a/src/x.rs", 501, 1),
            ("a/src/lib.rs", 80, 0),
            ("a/src/lib.rs", 81, 1),
            ("a/page.js", 501, 1),
            ("data.csv", 9000, 0),
        ] {
            assert_eq!(check(&Tree::of(&[(path, &"\n".repeat(lines))])).len(), violations, "{path} {lines}");
        }
    }
}
