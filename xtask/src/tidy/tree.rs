//! The files a check looks at: what Git tracks or would track, and the text of each.
//!
//! Does not judge. Files that are not text are known by name only.
//!
//! # Invariants
//! * Paths are relative to the root, with `/`, sorted and unique.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Larger files are data: known by name, not read.
const TEXT_BYTES: u64 = 1024 * 1024;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the root.
    pub(super) path: String,
    /// Empty for what is not text.
    pub(super) text: String,
}

impl File {
    /// The last component of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The name's ending, without the dot.
    pub(super) fn extension(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// A snapshot of the repository.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, File>,
    folders: BTreeSet<String>,
}

impl Tree {
    /// Reads what Git tracks or would track under `root`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("cannot run git")?;
        if !output.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut tree = Self::default();
        for path in String::from_utf8_lossy(&output.stdout).split_terminator('\0') {
            let full = root.join(path);
            // Deleted and not yet committed.
            let Ok(about) = full.metadata() else { continue };
            let text = if about.len() > TEXT_BYTES { String::new() } else { read_text(&full)? };
            tree.insert(path, text);
        }
        Ok(tree)
    }

    /// A tree from literals.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.insert(path, (*text).to_owned());
        }
        tree
    }

    /// All files, by path.
    pub(super) fn files(&self) -> impl ExactSizeIterator<Item = &File> {
        self.files.values()
    }

    /// All files whose name has this ending.
    pub(super) fn with_extension(&self, extension: &str) -> impl Iterator<Item = &File> {
        self.files().filter(move |file| file.extension() == extension)
    }

    /// The file at this path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// Whether a file or folder is at this path; a `/` at its end is allowed.
    pub(super) fn contains(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.contains_key(path) || self.folders.contains(path)
    }

    fn insert(&mut self, path: &str, text: String) {
        for (at, _) in path.match_indices('/') {
            if let Some(folder) = path.get(..at) {
                self.folders.insert(folder.to_owned());
            }
        }
        self.files.insert(path.to_owned(), File { path: path.to_owned(), text });
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_through_their_files() {
        let tree = Tree::of(&[("a/b/c.rs", "")]);
        assert!(tree.contains("a/b/c.rs") && tree.contains("a/b/") && tree.contains("a"));
        assert!(!tree.contains("a/c") && !tree.contains("b"));
    }

    #[test]
    fn this_repository_can_be_read() {
        let tree = Tree::read(crate::broker::root()).unwrap();
        assert!(tree.file("xtask/src/tidy/tree.rs").unwrap().text.starts_with("//! The files"));
        assert!(!tree.contains("target"));
    }
}
