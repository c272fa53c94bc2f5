//! Which library may be named where: the table of ARCHITECTURE.md, kept.
//!
//! Looks at code without comments and literals, and at the dependencies in each `Cargo.toml`.
//! A crate's own dependency direction is another check: see `direction`.

use super::Violation;
use super::manifest::{Kind, Manifest, manifests};
use super::source::{identifiers, without_comments_and_literals, without_tests};
use super::tree::{File, Tree};

/// One line of the table.
struct Rule {
    /// The identifier in code; one that ends with `*` stands for all that start so.
    name: &'static str,
    /// Folders and files (a `*` stands for any text without `/`) that may name it.
    places: &'static [&'static str],
    /// Whether unit tests, `tests/`, `examples/` and `benches/` may name it anywhere.
    tests: Tests,
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Too,
    Free,
}

/// What is a binary through and through: no library is built from it.
const BINARIES: &[&str] =
    &["xtask/", "broker/", "testcontainers/", "*/src/main.rs", "shared/*/src/main.rs", "*/src/bin/"];

/// Libraries by the identifier that code names them by.
const LIBRARIES: &[Rule] = &[
    Rule {
        name: "rdkafka",
        places: &["shared/client/src/kafka/", "shared/client/src/kafka.rs", "testcontainers/"],
        tests: Tests::Too,
        why: "everything else speaks Kafka through modelcast's `kafka` module",
    },
    Rule {
        name: "arc_swap",
        places: &["shared/client/src/slot.rs", "shared/client/src/slot/"],
        tests: Tests::Too,
        why: "a model is swapped in one place, the slot",
    },
    Rule {
        name: "linfa*",
        places: &["trainer/"],
        tests: Tests::Too,
        why: "only the trainer trains; its library's types never travel",
    },
    Rule {
        name: "rmp_serde",
        places: &["shared/*/src/codec.rs", "shared/*/src/codec/", "shared/models/src/*/codec.rs"],
        tests: Tests::Free,
        why: "the codec is what says how the wire is written: named, and capped",
    },
    Rule {
        name: "anyhow",
        places: BINARIES,
        tests: Tests::Free,
        why: "a library's errors are enums that say what to do",
    },
];

/// What `protocol` must never name, besides what the rules above forbid it.
const NEVER_IN_PROTOCOL: &[&str] = &["SystemTime", "Instant", "jiff", "chrono", "tokio", "async_std"];

/// Every place that names a library it must not name.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let (manifests, mut violations) = manifests(tree);
    for file in tree.with_extension("rs") {
        check_source(file, &manifests, &mut violations);
    }
    for manifest in &manifests {
        check_manifest(manifest, tree, &mut violations);
    }
    violations
}

fn check_source(file: &File, manifests: &[Manifest], violations: &mut Vec<Violation>) {
    let code = without_comments_and_literals(&file.text);
    let shipped = without_tests(&code);
    for rule in LIBRARIES {
        if is_allowed(rule, &file.path, manifests) {
            continue;
        }
        let code = if rule.tests == Tests::Free { &shipped } else { &code };
        // A file of tests is tests from its first line on.
        if rule.tests == Tests::Free && is_test_file(&file.path) {
            continue;
        }
        for (line, word) in identifiers(code).filter(|(_, word)| names(rule, word)) {
            violations.push(Violation::new(&file.path, line, format!("names `{word}`: {}", rule.why)));
        }
    }
    if !is_test_file(&file.path) && !is_binary(&file.path, manifests) {
        for line in lines_with(&shipped, "process::exit") {
            violations.push(Violation::new(&file.path, line, "calls `process::exit`: a library returns"));
        }
    }
    if file.path.starts_with("shared/protocol/src/") {
        for (line, word) in identifiers(&code).filter(|(_, word)| NEVER_IN_PROTOCOL.contains(word)) {
            let message = format!("names `{word}`: protocol has no clock and no I/O; time is an argument");
            violations.push(Violation::new(&file.path, line, message));
        }
    }
}

fn check_manifest(manifest: &Manifest, tree: &Tree, violations: &mut Vec<Violation>) {
    for dependency in &manifest.dependencies {
        let word = dependency.name.replace('-', "_");
        for rule in LIBRARIES.iter().filter(|rule| names(rule, &word)) {
            if dependency.kind == Kind::Dev && rule.tests == Tests::Free {
                continue;
            }
            let prefix =
                if manifest.folder.is_empty() { String::new() } else { format!("{}/", manifest.folder) };
            let sources = tree.with_extension("rs").filter(|file| file.path.starts_with(&prefix));
            let may_name =
                sources.into_iter().any(|file| is_allowed(rule, &file.path, std::slice::from_ref(manifest)));
            // A crate whose place in the table has no file yet may depend on what that place is for.
            let has_place = rule.places.iter().any(|place| place.starts_with(&prefix));
            if !may_name && !has_place {
                let message = format!("depends on `{}`: {}", dependency.name, rule.why);
                violations.push(Violation::new(&manifest.path, dependency.line, message));
            }
        }
        if manifest.folder == "shared/protocol" && NEVER_IN_PROTOCOL.contains(&word.as_str()) {
            let message = format!("depends on `{}`: protocol has no clock and no I/O", dependency.name);
            violations.push(Violation::new(&manifest.path, dependency.line, message));
        }
    }
}

fn names(rule: &Rule, word: &str) -> bool {
    match rule.name.strip_suffix('*') {
        Some(stem) => word == stem || word.strip_prefix(stem).is_some_and(|rest| rest.starts_with('_')),
        None => word == rule.name,
    }
}

fn is_allowed(rule: &Rule, path: &str, manifests: &[Manifest]) -> bool {
    let is_binary_rule = std::ptr::eq(rule.places, BINARIES);
    rule.places.iter().any(|place| matches(place, path)) || (is_binary_rule && is_binary(path, manifests))
}

/// A crate that has no `lib.rs` is a binary in all its files; else `main.rs`, what only it declares, and `bin/` are.
fn is_binary(path: &str, manifests: &[Manifest]) -> bool {
    let owner = manifests
        .iter()
        .filter(|manifest| path.starts_with(&format!("{}/", manifest.folder)))
        .max_by_key(|manifest| manifest.folder.len());
    let is_module_of = |owner: &Manifest| {
        let source = path.strip_prefix(&format!("{}/src/", owner.folder));
        let module = source.and_then(|source| source.split(['/', '.']).next());
        module.is_some_and(|module| owner.binary_modules.iter().any(|own| own == module))
    };
    owner.is_some_and(|owner| !owner.has_library || is_module_of(owner))
        || BINARIES.iter().any(|place| matches(place, path))
}

fn is_test_file(path: &str) -> bool {
    ["tests/", "examples/", "benches/"]
        .iter()
        .any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}")))
}

/// A place that ends with `/` covers all below it; `*` stands for any text of one component.
fn matches(place: &str, path: &str) -> bool {
    let mut wanted = place.trim_end_matches('/').split('/');
    let mut found = path.split('/');
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (None, Some(_)) => return place.ends_with('/'),
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

fn lines_with<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.lines().enumerate().filter(move |(_, line)| line.contains(needle)).map(|(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "[package]\nname = \"x\"\n";

    /// One file in a crate that has a library, and how many violations it is.
    fn found(path: &str, text: &str) -> usize {
        let crates =
            ["shared/protocol", "shared/models", "shared/client", "consumer-app", "testcontainers", "xtask"];
        let paths: Vec<(String, String)> =
            crates.iter().map(|c| (format!("{c}/Cargo.toml"), format!("{c}/src/lib.rs"))).collect();
        let mut files: Vec<(&str, &str)> = vec![("trainer/Cargo.toml", LIB), ("trainer/src/main.rs", "")];
        files.extend(paths.iter().flat_map(|(manifest, lib)| [(manifest.as_str(), LIB), (lib.as_str(), "")]));
        files.push((path, text));
        check(&Tree::of(&files)).len()
    }

    #[test]
    fn each_library_is_refused_outside_its_place_and_accepted_in_it() {
        for (text, outside, inside) in [
            ("use rdkafka::a;", "shared/client/src/fetch.rs", "shared/client/src/kafka/tail.rs"),
            ("use rdkafka::a;", "consumer-app/tests/x.rs", "testcontainers/src/kafka.rs"),
            ("use arc_swap::a;", "shared/client/src/fetch.rs", "shared/client/src/slot.rs"),
            ("linfa_logistic::a();", "shared/models/src/a.rs", "trainer/src/fit.rs"),
            ("use rmp_serde::a;", "shared/protocol/src/status.rs", "shared/protocol/src/codec.rs"),
            ("use anyhow::a;", "shared/client/src/a.rs", "trainer/src/cycle.rs"),
            ("use anyhow::a;", "consumer-app/src/app.rs", "consumer-app/src/main.rs"),
            ("std::process::exit(1)", "shared/client/src/a.rs", "consumer-app/src/main.rs"),
            ("Instant::now()", "shared/protocol/src/fold.rs", "shared/client/src/fetch.rs"),
            ("use tokio::a;", "shared/protocol/src/fold.rs", "shared/client/src/fetch.rs"),
        ] {
            assert_eq!(found(outside, text), 1, "{outside} {text}");
            assert_eq!(found(inside, text), 0, "{inside} {text}");
        }
    }

    #[test]
    fn comments_literals_and_tests_name_what_they_like() {
        assert_eq!(found("shared/client/src/a.rs", "// rdkafka\nlet x = \"rdkafka\";"), 0);
        assert_eq!(found("shared/client/src/a.rs", "#[cfg(test)]\nmod tests { use anyhow::a; }"), 0);
        assert_eq!(found("shared/client/examples/a.rs", "use anyhow::a;"), 0);
        assert_eq!(found("shared/client/src/a.rs", "#[cfg(test)]\nmod tests { use rdkafka::a; }"), 1);
    }

    #[test]
    fn a_module_of_the_binary_alone_is_binary_and_one_of_the_library_is_not() {
        let found = |path: &str| {
            let files = [
                ("trainer/Cargo.toml", LIB),
                ("trainer/src/lib.rs", "pub mod cycle;\n"),
                ("trainer/src/main.rs", "mod cli;\nmod cycle;\n"),
                (path, "use anyhow::a;"),
            ];
            check(&Tree::of(&files)).len()
        };
        assert_eq!((found("trainer/src/cli.rs"), found("trainer/src/cli/verbs.rs")), (0, 0));
        assert_eq!((found("trainer/src/cycle.rs"), found("trainer/src/fit.rs")), (1, 1));
    }

    #[test]
    fn a_dependency_is_refused_where_no_file_may_name_it() {
        let at = |manifest: &str, section: &str, name: &str| {
            let text = format!("{LIB}[{section}]\n{name} = \"1\"\n");
            let lib = manifest.replace("Cargo.toml", "src/lib.rs");
            check(&Tree::of(&[(manifest, &text), (&lib, "")]))
        };
        let violations = at("consumer-app/Cargo.toml", "dependencies", "rdkafka");
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].line, 4);
        assert_eq!(at("shared/models/Cargo.toml", "dependencies", "linfa-linear").len(), 1);
        assert_eq!(at("shared/client/Cargo.toml", "dependencies", "anyhow").len(), 1);
        assert_eq!(at("shared/client/Cargo.toml", "dev-dependencies", "anyhow").len(), 0);
        assert_eq!(at("shared/protocol/Cargo.toml", "dependencies", "tokio").len(), 1);
        assert_eq!(at("shared/client/Cargo.toml", "dependencies", "rdkafka").len(), 0);
        assert_eq!(at("trainer/Cargo.toml", "dependencies", "linfa").len(), 0);
    }
}
