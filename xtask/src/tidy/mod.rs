//! `cargo xtask tidy`: the rules of this repository that no compiler checks.
//!
//! Each rule is a file with a pure function from a [`Tree`] to its violations, and tests that plant one.
//! Does not format, lint or build: see `cargo xtask ci`. That every setting stands in `config/` is tested by the
//! crate that owns the settings, since only it can load the file.
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

    #[test]
    fn violations_of_several_rules_are_reported_together_and_in_order() {
        let tree = Tree::of(&[("trainer/src/util.rs", "use rdkafka::x;\n")]);
        let found: Vec<String> = violations(&tree).iter().map(ToString::to_string).collect();
        assert!(found.len() >= 3, "{found:?}");
        assert!(found.is_sorted(), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("trainer/src/util.rs:1: ")), "{found:?}");
    }
}
