//! Every setting stands in a file in `config/`, be it in a comment: what is not shipped is not found.
//!
//! A setting is a field of a struct or enum that denies unknown fields: a program's `src/settings.rs` against that
//! program's file, and the client crate's against all files together, for each program takes some of them.
//! That the files load is tested by the programs.

use std::collections::BTreeSet;

use super::Violation;
use super::source::{identifiers, shipped};
use super::tree::Tree;

const MARK: &str = "deny_unknown_fields";
/// A program's settings, the module `settings` with what is below it, and its file.
const PROGRAMS: &[(&str, &str)] = &[
    ("trainer/src/settings", "config/trainer.toml"),
    ("consumer-app/src/settings", "config/consumer-app.toml"),
    ("consumer-app/src/batch/settings", "config/batch.toml"),
    ("consumer-app/src/stream/settings", "config/stream.toml"),
    ("operator/src/settings", "config/operator.toml"),
];
const SHARED: &str = "shared/client/src/";

/// Every field that no shipped file names, and every file that is missing.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut everywhere = BTreeSet::new();
    for (module, config) in PROGRAMS {
        let (file, folder) = (format!("{module}.rs"), format!("{module}/"));
        let is_of_module = |path: &str| path == file || path.starts_with(&folder);
        let mut sources = tree.with_extension("rs").filter(|file| is_of_module(&file.path)).peekable();
        let Some(first) = sources.peek() else { continue };
        let Some(config) = tree.file(config) else {
            violations.push(Violation::new(config, 1, format!("is missing: {} has settings", first.path)));
            continue;
        };
        let words: BTreeSet<&str> = identifiers(&config.text).map(|(_, word)| word).collect();
        everywhere.extend(words.iter().copied());
        for source in sources {
            report(&source.path, &source.text, &words, &config.path, &mut violations);
        }
    }
    for file in tree.with_extension("rs").filter(|file| file.path.starts_with(SHARED)) {
        report(&file.path, &file.text, &everywhere, "config/", &mut violations);
    }
    violations
}

fn report(path: &str, source: &str, words: &BTreeSet<&str>, config: &str, violations: &mut Vec<Violation>) {
    let missing = settings(source).into_iter().filter(|(_, name)| !words.contains(name.as_str()));
    violations.extend(
        missing
            .map(|(line, name)| Violation::new(path, line, format!("setting `{name}` is not in {config}"))),
    );
}

/// The fields of what denies unknown ones, each with its line.
fn settings(source: &str) -> Vec<(usize, String)> {
    let code = shipped(source);
    let mut settings = Vec::new();
    for (at, _) in code.match_indices(MARK) {
        let (before, after) = code.split_at(at);
        let Some((head, rest)) = after.split_once('{') else { continue };
        let first_line = before.lines().count().max(1) + head.matches('\n').count();
        for (index, line) in body(rest).lines().enumerate() {
            settings.extend(fields(line).map(|name| (first_line + index, name.to_owned())));
        }
    }
    settings
}

/// Up to the brace that closes the one just passed.
fn body(rest: &str) -> &str {
    let mut depth = 1_usize;
    let end = rest.find(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.and_then(|end| rest.get(..end)).unwrap_or(rest)
}

/// A name with a single colon after it; a path has two.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(':').filter_map(move |(at, _)| {
        let (before, after) = (line.get(..at)?, line.get(at + 1..)?);
        if before.ends_with(':') || after.starts_with(':') {
            return None;
        }
        let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        (!name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//! Settings.\n#[serde(deny_unknown_fields)]\npub struct Http {\n    #[serde(default = \"a::b\")]\n    \
                          pub listen: std::net::SocketAddr,\n    rows_max: u32,\n}\nstruct NoSetting { other: u8 }\n\
                          #[cfg(test)]\nmod tests {\n#[serde(deny_unknown_fields)] struct T { gone: u8 } }\n";

    fn found(config: &str) -> Vec<String> {
        let files = [("consumer-app/src/settings.rs", SOURCE), ("config/consumer-app.toml", config)];
        check(&Tree::of(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_setting_that_no_shipped_file_names_is_refused() {
        let missing = "consumer-app/src/settings.rs:6: setting `rows_max` is not in config/consumer-app.toml";
        assert_eq!(found("[http]\nlisten = \"x\"\n"), [missing]);
        assert_eq!(found("[http]\nlisten = \"x\"\n# rows_max = 3\n"), [""; 0]);
        assert_eq!(check(&Tree::of(&[("consumer-app/src/settings.rs", SOURCE)])).len(), 1);
    }

    #[test]
    fn a_section_in_a_file_of_its_own_is_checked_too() {
        let files = [("consumer-app/src/settings/http.rs", SOURCE), ("config/consumer-app.toml", "listen")];
        let found: Vec<_> = check(&Tree::of(&files)).iter().map(ToString::to_string).collect();
        let missing =
            "consumer-app/src/settings/http.rs:6: setting `rows_max` is not in config/consumer-app.toml";
        assert_eq!(found, [missing]);
    }

    #[test]
    fn a_setting_of_the_client_is_in_any_file() {
        let shared = "#[serde(deny_unknown_fields)]\nenum Gate { Metric { at_most: f64 } }\n";
        let with = |config: &str| {
            let files = [
                ("shared/client/src/gate.rs", shared),
                ("operator/src/settings.rs", ""),
                ("config/operator.toml", config),
            ];
            check(&Tree::of(&files)).len()
        };
        assert_eq!((with(""), with("at_most = 1")), (1, 0));
    }
}
