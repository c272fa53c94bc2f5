//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! Each rule is a file with a pure function from a [`Tree`] to its violations, and tests that plant one.
//! Does not format, lint or build: see `cargo xtask ci`. That the files in `config/` load is
//! tested by the crate that owns the settings.
//!
//! # Invariants
//! * All violations are reported, each with file and line, not only the first.
//! * A rule reads the tree it is given and nothing else, so that each can be seen red in a test.

mod commands;
mod containment;
mod direction;
mod header;
mod lints;
mod manifest;
mod markdown;
mod names;
mod paths;
mod proofs;
mod settings;
mod sizes;
mod source;
mod tree;
mod unfinished;
mod vectors;
mod wire;

use std::fmt;
use std::path::Path;

use anyhow::bail;
use clap::CommandFactory;

use self::tree::Tree;

/// What `cargo xtask tidy` understands: nothing, since a rule that can be switched off is none.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Args {}

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks this repository.
///
/// # Errors
/// When a rule is broken or the tree cannot be read.
pub(crate) fn run(_: Args) -> anyhow::Result<()> {
    check(crate::broker::root())
}

/// Checks the tree under `root` and prints every violation to standard error.
///
/// # Errors
/// When a rule is broken or the tree cannot be read.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let violations = violations(&tree);
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} places break a rule", violations.len());
    }
    eprintln!("tidy: {} files keep the rules", tree.files().len());
    Ok(())
}

fn violations(tree: &Tree) -> Vec<Violation> {
    let xtask = crate::Task::command();
    let mut all: Vec<Violation> = [
        containment::check(tree),
        direction::check(tree),
        lints::check(tree),
        names::check(tree),
        sizes::check(tree),
        header::check(tree),
        unfinished::check(tree),
        paths::check(tree),
        proofs::check(tree),
        settings::check(tree),
        commands::check(tree, &xtask),
        wire::check(tree),
        vectors::check(tree),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One violation of each rule, and the start of its line in the report.
    #[test]
    fn every_rule_is_asked_and_the_report_is_in_order() {
        let crate_of = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}");
        let modest = crate_of("modelcast", "[dependencies]\ntrainer.workspace = true\n");
        let later = format!("// {} it\n", concat!("TO", "DO"));
        let tree = Tree::of(&[
            ("README.md", "`docs/gone.md`\n`cargo xtask gone`\n"),
            ("shared/client/Cargo.toml", &modest),
            ("shared/client/src/a.rs", "//! A file that reads.\nuse rdkafka::x;\n"),
            ("shared/client/src/b.rs", "use c;\n"),
            ("shared/client/src/util.rs", "//! A file of leftovers.\n"),
            ("shared/client/src/d.rs", &format!("//! A file that grew.\n{}", "\n".repeat(500))),
            (
                "operator/src/settings.rs",
                "//! What can be set.\n#[serde(deny_unknown_fields)] struct S { a: u8 }\n",
            ),
            ("shared/client/src/e.rs", &format!("//! A file that waits.\n{later}")),
        ]);
        let found: Vec<String> = violations(&tree).iter().map(ToString::to_string).collect();
        assert!(found.is_sorted(), "{found:?}");
        for start in [
            "README.md:1: `docs/gone.md` does not exist",
            "README.md:2: `cargo xtask gone` does not exist",
            "config/operator.toml:1: is missing",
            "docs/protocol.md:1: is missing",
            "shared/client/Cargo.toml:1: lacks",
            "shared/client/Cargo.toml:4: `modelcast` must not depend on `trainer`",
            "shared/client/src/a.rs:2: names `rdkafka`",
            "shared/client/src/b.rs:1: does not start",
            "shared/client/src/d.rs:501: 501 lines",
            "shared/client/src/e.rs:2: ",
            "shared/client/src/util.rs:1: a module must not be called",
            "shared/protocol/tests/vectors/INDEX.json:1: is missing",
        ] {
            assert_eq!(found.iter().filter(|line| line.starts_with(start)).count(), 1, "{start}: {found:#?}");
        }
        assert_eq!(found.len(), 12, "{found:#?}");
    }
}
