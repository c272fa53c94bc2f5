//! Every command of ours that a Markdown file names exists, with its flags.
//!
//! `cargo xtask` is asked exactly. Of the other programs the sources are searched: a subcommand must be an
//! identifier (`topics` is `Topics`), a flag a field (`--wait-for` is `wait_for`) or a string, of that program.
//! Programs of others are not looked at.

use std::collections::BTreeSet;

use super::Violation;
use super::manifest::{Manifest, manifests};
use super::markdown::read;
use super::source::{identifiers, shipped};
use super::tree::Tree;

/// What clap gives every program.
const OF_CLAP: &[&str] = &["help", "version"];

/// Every command in a Markdown file that cannot be run as it stands there.
pub(super) fn check(tree: &Tree, xtask: &clap::Command) -> Vec<Violation> {
    let (manifests, _) = manifests(tree);
    let programs: Vec<Program> = manifests.iter().flat_map(|manifest| programs_of(tree, manifest)).collect();
    let known = Known { tree, manifests: &manifests, programs: &programs, xtask };
    let mut violations = Vec::new();
    for file in tree.with_extension("md").filter(|file| file.name() != "CHANGELOG.md") {
        let document = read(&file.text);
        for piece in document.spans.iter().chain(&document.commands) {
            for command in split(&piece.text) {
                for message in known.wrong(&command) {
                    violations.push(Violation::new(&file.path, piece.line, message));
                }
            }
        }
    }
    violations
}

struct Program {
    name: String,
    words: BTreeSet<String>,
}

fn programs_of(tree: &Tree, manifest: &Manifest) -> Vec<Program> {
    if manifest.package == "xtask" || manifest.programs.is_empty() {
        return Vec::new();
    }
    let folder = format!("{}/src/", manifest.folder);
    let mut words = BTreeSet::new();
    for file in tree.with_extension("rs").filter(|file| file.path.starts_with(&folder)) {
        let code = shipped(&file.text);
        words.extend(identifiers(&code).map(|(_, word)| word.to_owned()));
        words.extend(code.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    manifest.programs.iter().map(|name| Program { name: name.clone(), words: words.clone() }).collect()
}

/// The commands of a line, each as its words: without prompts, variables, pipes and comments.
fn split(line: &str) -> Vec<Vec<&str>> {
    let mut commands = vec![Vec::new()];
    for word in line.split_whitespace() {
        if word.starts_with('#') {
            break;
        }
        let ends = matches!(word, "|" | "||" | "&&" | ";" | "&");
        if ends || (commands.last().is_some_and(Vec::is_empty) && is_before_a_command(word)) {
            if ends {
                commands.push(Vec::new());
            }
            continue;
        }
        if let Some(command) = commands.last_mut() {
            command.push(word.trim_end_matches([';', ')', '`']));
        }
        if word.ends_with(';') {
            commands.push(Vec::new());
        }
    }
    commands
}

fn is_before_a_command(word: &str) -> bool {
    let is_variable = word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    });
    is_variable || matches!(word, "$" | "sudo" | "time" | "env")
}

struct Known<'a> {
    tree: &'a Tree,
    manifests: &'a [Manifest],
    programs: &'a [Program],
    xtask: &'a clap::Command,
}

impl Known<'_> {
    /// What is wrong with a command, in words.
    fn wrong(&self, words: &[&str]) -> Vec<String> {
        match words {
            ["cargo", "xtask", rest @ ..] => self.wrong_xtask(rest),
            ["cargo", rest @ ..] => self.wrong_cargo(rest),
            [program, rest @ ..] => {
                let name = program.rsplit('/').next().unwrap_or(program);
                let known = self.programs.iter().find(|known| known.name == name);
                known.map(|known| wrong_program(known, rest)).unwrap_or_default()
            }
            [] => Vec::new(),
        }
    }

    fn wrong_xtask(&self, words: &[&str]) -> Vec<String> {
        let Some((subcommand, rest)) = words.split_first().filter(|(word, _)| is_plain(word)) else {
            return Vec::new();
        };
        let Some(command) = self.xtask.find_subcommand(subcommand) else {
            return vec![format!("`cargo xtask {subcommand}` does not exist")];
        };
        let flags = flags(rest);
        let unknown =
            flags.filter(|flag| !command.get_arguments().any(|argument| argument.get_long() == Some(flag)));
        unknown.map(|flag| format!("`cargo xtask {subcommand}` has no `--{flag}`")).collect()
    }

    /// The names that cargo is given: packages, programs, examples, tests and benchmarks.
    fn wrong_cargo(&self, words: &[&str]) -> Vec<String> {
        let pairs = words.iter().zip(words.iter().skip(1)).take_while(|(flag, _)| **flag != "--");
        let missing = pairs.filter(|(flag, name)| is_plain(name) && !self.cargo_knows(flag, name));
        missing.map(|(flag, name)| format!("`cargo {flag} {name}`: there is no {name}")).collect()
    }

    fn cargo_knows(&self, flag: &str, name: &str) -> bool {
        let has_file = |folder: &str| {
            let ends = [format!("/{folder}/{name}.rs"), format!("/{folder}/{name}/main.rs")];
            self.tree.files().any(|file| ends.iter().any(|end| file.path.ends_with(end)))
        };
        match flag {
            "-p" | "--package" => self.manifests.iter().any(|manifest| manifest.package == name),
            "--bin" => self.manifests.iter().any(|m| m.programs.iter().any(|program| program == name)),
            "--example" => has_file("examples"),
            "--test" => has_file("tests"),
            "--bench" => has_file("benches"),
            _ => true,
        }
    }
}

fn wrong_program(program: &Program, words: &[&str]) -> Vec<String> {
    let name = &program.name;
    let first = words.first().copied().unwrap_or_default();
    let subcommands = first.split('|').filter(|word| is_plain(word) && *word != "help");
    let unknown = subcommands
        .filter(|word| !program.words.contains(&camel_case(word)) && !program.words.contains(*word));
    let mut wrong: Vec<String> = unknown.map(|word| format!("`{name} {word}` does not exist")).collect();
    let is_known = |flag: &str| {
        OF_CLAP.contains(&flag)
            || program.words.contains(flag)
            || program.words.contains(&flag.replace('-', "_"))
    };
    wrong.extend(
        flags(words).filter(|flag| !is_known(flag)).map(|flag| format!("`{name}` has no `--{flag}`")),
    );
    wrong
}

/// The long flags before a lone `--`, without what follows a `=`.
fn flags<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let own = words.iter().take_while(|word| **word != "--");
    own.filter_map(|word| word.trim_start_matches('[').strip_prefix("--"))
        .map(|flag| flag.split(['=', ']', ',']).next().unwrap_or(flag))
        .filter(|flag| !flag.is_empty())
}

fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

fn camel_case(word: &str) -> String {
    let capital = |part: &str| {
        let mut chars = part.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    word.split('-').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let code = "//! gone\nenum C { Topics(T), PlainText }\nstruct T { wait_for: u8, #[arg(long = \"tail\")] x: u8 }\n\
                    #[cfg(test)]\nmod tests { struct Gone; }";
        let tree = Tree::of(&[
            (
                "operator/Cargo.toml",
                "[package]\nname = \"modelcast-operator\"\n[[bin]]\nname = \"modelcast\"\n",
            ),
            ("operator/src/main.rs", code),
            ("operator/examples/serve.rs", ""),
            ("operator/tests/story.rs", ""),
            ("README.md", text),
        ]);
        let demo = clap::Command::new("demo").arg(clap::Arg::new("once").long("once"));
        let xtask = clap::Command::new("xtask").subcommand(demo);
        check(&tree, &xtask).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn a_command_or_flag_that_is_gone_is_refused() {
        for text in [
            "`cargo xtask gone`",
            "`cargo xtask demo --gone`",
            "`modelcast gone`",
            "`modelcast topics|gone`",
            "```sh\nRUST_LOG=info target/release/modelcast topics create --gone=1\n```",
            "```sh\nls && modelcast topics --wait-for 1 \\\n  --gone 2\n```",
            "```console\n$ modelcast gone\nok\n```",
            "`cargo run -p gone`",
            "`cargo run --bin gone`",
            "`cargo run --example gone`",
            "`cargo test --test gone`",
        ] {
            assert_eq!(found(text).len(), 1, "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn what_exists_or_is_not_ours_passes() {
        for text in [
            "`cargo xtask demo --once` `cargo xtask SUB` `cargo xtask`",
            "`modelcast topics create --wait-for 1 --tail --help` `modelcast plain-text` `modelcast`",
            "`modelcast = \"0.1\"` `modelcast::Subscriber` `kafka-topics --gone`",
            "`cargo run -p modelcast-operator --bin modelcast --example serve -- --gone` `cargo test --test story`",
            "```sh\n# modelcast gone\ncurl --gone | jq\n```",
            "```rust\nmodelcast gone\n```",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
