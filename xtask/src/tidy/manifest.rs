//! What a `Cargo.toml` says about dependencies, as the checks want it.
//!
//! Read from the text of the tree, without cargo, so that a check can be tested on a planted manifest.

use super::Violation;
use super::source::without_comments_and_literals;
use super::tree::{File, Tree};

/// In which table a dependency stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[dependencies]` and `[build-dependencies]`.
    Normal,
    /// `[dev-dependencies]`: tests, examples and benchmarks.
    Dev,
}

/// One dependency of a crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) line: usize,
}

/// One crate of the repository.
#[derive(Debug)]
pub(super) struct Manifest {
    /// `shared/client` for `shared/client/Cargo.toml`.
    pub(super) folder: String,
    pub(super) path: String,
    pub(super) package: String,
    pub(super) has_library: bool,
    /// The modules that `main.rs` declares and `lib.rs` does not: the binary's own.
    pub(super) binary_modules: Vec<String>,
    /// The names of what it builds to be run.
    pub(super) programs: Vec<String>,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) table: toml::Table,
}

/// Every crate of the tree, and a violation for every manifest that is no TOML.
pub(super) fn manifests(tree: &Tree) -> (Vec<Manifest>, Vec<Violation>) {
    let mut manifests = Vec::new();
    let mut violations = Vec::new();
    for file in tree.files().filter(|file| file.name() == "Cargo.toml") {
        match file.text.parse::<toml::Table>() {
            Ok(table) => manifests.extend(manifest(tree, file, table)),
            Err(error) => violations.push(Violation::new(&file.path, 1, error.message())),
        }
    }
    (manifests, violations)
}

/// Nothing for a manifest without a package: the root's.
fn manifest(tree: &Tree, file: &File, table: toml::Table) -> Option<Manifest> {
    let package = table.get("package")?.get("name")?.as_str()?.to_owned();
    let mut dependencies = Vec::new();
    collect(&table, &file.text, &mut dependencies);
    let targets = table.get("target").and_then(toml::Value::as_table);
    for target in targets.into_iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table) {
        collect(target, &file.text, &mut dependencies);
    }
    let folder = file.path.trim_end_matches("Cargo.toml").trim_end_matches('/').to_owned();
    let has_library = table.contains_key("lib") || tree.file(&format!("{folder}/src/lib.rs")).is_some();
    let declared = |root: &str| {
        let file = tree.file(&format!("{folder}/src/{root}"));
        file.map(|file| modules(&file.text)).unwrap_or_default()
    };
    let (mut binary_modules, library_modules) = (declared("main.rs"), declared("lib.rs"));
    binary_modules.retain(|name| !library_modules.contains(name));
    let programs = programs(tree, &folder, &package, &table);
    Some(Manifest {
        folder,
        path: file.path.clone(),
        package,
        has_library,
        binary_modules,
        programs,
        dependencies,
        table,
    })
}

/// The names that `mod name;` declares.
fn modules(source: &str) -> Vec<String> {
    let code = without_comments_and_literals(source);
    let words: Vec<&str> = code.split_whitespace().collect();
    let pairs = words.iter().zip(words.iter().skip(1));
    pairs
        .filter(|(word, _)| **word == "mod")
        .filter_map(|(_, name)| Some(name.strip_suffix(';')?.to_owned()))
        .collect()
}

fn programs(tree: &Tree, folder: &str, package: &str, table: &toml::Table) -> Vec<String> {
    let declared = table.get("bin").and_then(toml::Value::as_array);
    let names = declared.into_iter().flatten().filter_map(|bin| bin.get("name")?.as_str());
    let mut programs: Vec<String> = names.map(str::to_owned).collect();
    if programs.is_empty() && tree.file(&format!("{folder}/src/main.rs")).is_some() {
        programs.push(package.to_owned());
    }
    // Cargo finds these by itself: `src/bin/name.rs` and `src/bin/name/main.rs`.
    let found = tree.with_extension("rs").filter_map(|file| {
        let path = file.path.strip_prefix(folder)?.strip_prefix("/src/bin/")?.strip_suffix(".rs")?;
        path.strip_suffix("/main").or(Some(path)).filter(|name| !name.contains('/'))
    });
    programs.extend(found.map(str::to_owned));
    programs
}

fn collect(table: &toml::Table, text: &str, into: &mut Vec<Dependency>) {
    for (section, kind) in [
        ("dependencies", Kind::Normal),
        ("build-dependencies", Kind::Normal),
        ("dev-dependencies", Kind::Dev),
    ] {
        let Some(entries) = table.get(section).and_then(toml::Value::as_table) else { continue };
        for (key, value) in entries {
            let name = value.get("package").and_then(toml::Value::as_str).unwrap_or(key).to_owned();
            into.push(Dependency { name, kind, line: line_of(text, section, key) });
        }
    }
}

/// The line of a key inside its section, else that of the file's start: only a place to look.
fn line_of(text: &str, section: &str, key: &str) -> usize {
    let names_key = |line: &str| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    };
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(header) = line.trim().strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with(section);
            if header.ends_with(&format!("{section}.{key}")) {
                return index + 1;
            }
        } else if inside && names_key(line) {
            return index + 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_in_every_table_with_their_line() {
        let text = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb2 = { package = \"b\", version = \"1\" }\n\
                    [dev-dependencies]\nc = \"1\"\n[target.'cfg(unix)'.dependencies]\nd = \"1\"\n";
        let (manifests, violations) = manifests(&Tree::of(&[("shared/x/Cargo.toml", text)]));
        assert!(violations.is_empty());
        let found: Vec<_> =
            manifests[0].dependencies.iter().map(|d| (d.name.as_str(), d.kind, d.line)).collect();
        let expected =
            [("a", Kind::Normal, 4), ("b", Kind::Normal, 5), ("c", Kind::Dev, 7), ("d", Kind::Normal, 9)];
        assert_eq!(found, expected);
        assert_eq!((manifests[0].folder.as_str(), manifests[0].package.as_str()), ("shared/x", "x"));
    }

    #[test]
    fn a_manifest_that_is_no_toml_is_a_violation() {
        let (manifests, violations) = manifests(&Tree::of(&[("x/Cargo.toml", "[package")]));
        assert!(manifests.is_empty() && violations.len() == 1);
    }

    #[test]
    fn programs_are_found_where_cargo_finds_them() {
        let files = ["src/main.rs", "src/bin/one.rs", "src/bin/two/main.rs", "src/bin/two/part.rs"];
        let paths: Vec<String> = files.iter().map(|file| format!("x/{file}")).collect();
        let mut tree = vec![("x/Cargo.toml", "[package]\nname = \"x\"\n")];
        tree.extend(paths.iter().map(|path| (path.as_str(), "")));
        let (manifests, _) = manifests(&Tree::of(&tree));
        assert_eq!(manifests[0].programs, ["x", "one", "two"]);
    }
}
