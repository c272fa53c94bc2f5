//! Rust source as the checks want it: without comments and literals, and without its unit tests.
//!
//! A lexer of just that much. It keeps every line break, so that a finding's line is the file's.
//! Not a parser: what a macro makes is not seen.

use std::iter::Peekable;
use std::str::Chars;

const TEST_ATTRIBUTE: &str = "#[cfg(test)]";

/// The source with each comment replaced by one blank, and each character inside a literal by `_`.
pub(super) fn without_comments_and_literals(source: &str) -> String {
    Lexer { chars: source.chars().peekable(), out: String::with_capacity(source.len()), keep_literals: false }
        .run()
}

/// The source with each comment replaced by one blank, and literals kept: as long as the version without them.
pub(super) fn without_comments(source: &str) -> String {
    Lexer { chars: source.chars().peekable(), out: String::with_capacity(source.len()), keep_literals: true }
        .run()
}

/// Code, free of comments and literals, with each item under `#[cfg(test)]` blanked; as long as before.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(TEST_ATTRIBUTE) {
        let (before, item) = rest.split_at(at);
        let (dropped, after) = item.split_at(end_of_item(item));
        out.push_str(before);
        out.extend(dropped.chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What of a source is compiled into a program: literals are kept, comments and unit tests are not.
pub(super) fn shipped(source: &str) -> String {
    let code = without_comments_and_literals(source);
    let kept = without_tests(&code);
    let dropped = code.chars().zip(kept.chars()).map(|(code, kept)| code != kept);
    without_comments(source).chars().zip(dropped).map(|(c, dropped)| if dropped { ' ' } else { c }).collect()
}

/// The identifiers of code, each with its line, counted from 1.
pub(super) fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| word.chars().next().is_some_and(|c| !c.is_numeric()))
            .map(move |word| (index + 1, word))
    })
}

/// Where the item ends whose attribute starts `code`: at the `;` or the closing brace on its own level.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices().skip(TEST_ATTRIBUTE.len()) {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    out: String,
    keep_literals: bool,
}

impl Lexer<'_> {
    fn run(mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.chars.next() {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                self.out.push(c);
                continue;
            }
            let prefix = std::mem::take(&mut word);
            match c {
                '/' if self.chars.peek() == Some(&'/') => self.line_comment(),
                '/' if self.chars.peek() == Some(&'*') => self.block_comment(),
                '"' if prefix.ends_with('r') && prefix.len() <= 2 => self.raw_string(0),
                '"' => self.string(),
                '#' if matches!(prefix.as_str(), "r" | "br" | "cr") => self.after_raw_prefix(),
                '\'' => self.quote(),
                other => self.out.push(other),
            }
        }
        self.out
    }

    fn line_comment(&mut self) {
        while self.chars.peek().is_some_and(|c| *c != '\n') {
            self.chars.next();
        }
        self.out.push(' ');
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        let mut last = '/';
        for c in self.chars.by_ref() {
            match (last, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                (_, '\n') => self.out.push('\n'),
                _ => {}
            }
            if depth == 0 {
                break;
            }
            // `/*/` opens once and closes nothing.
            last = if (last, c) == ('/', '*') || (last, c) == ('*', '/') { ' ' } else { c };
        }
        self.out.push(' ');
    }

    /// The inside of a literal: kept as it is, or a filler for all but line breaks.
    fn inside(&mut self, c: char) {
        self.out.push(if self.keep_literals || c == '\n' { c } else { '_' });
    }

    fn string(&mut self) {
        self.out.push('"');
        while let Some(c) = self.chars.next() {
            match c {
                '"' => break,
                '\\' => {
                    self.inside(c);
                    if let Some(escaped) = self.chars.next() {
                        self.inside(escaped);
                    }
                }
                other => self.inside(other),
            }
        }
        self.out.push('"');
    }

    /// After `r#`: a raw string, or a raw identifier such as `r#type`.
    fn after_raw_prefix(&mut self) {
        self.out.push('#');
        let mut hashes = 1;
        while self.chars.next_if_eq(&'#').is_some() {
            self.out.push('#');
            hashes += 1;
        }
        if self.chars.next_if_eq(&'"').is_some() {
            self.raw_string(hashes);
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        self.out.push('"');
        while let Some(c) = self.chars.next() {
            if c != '"' {
                self.inside(c);
                continue;
            }
            let mut seen = 0;
            while seen < hashes && self.chars.next_if_eq(&'#').is_some() {
                seen += 1;
            }
            if seen == hashes {
                break;
            }
            self.inside('"');
            (0..seen).for_each(|_| self.inside('#'));
        }
        self.out.push('"');
        self.out.extend(std::iter::repeat_n('#', hashes));
    }

    /// A character literal or a lifetime: `'a'` closes after one character, `'a` does not.
    fn quote(&mut self) {
        self.out.push('\'');
        let Some(first) = self.chars.next() else { return };
        if first == '\\' {
            self.inside(first);
            // The escaped character first: it may be the quote itself.
            if let Some(escaped) = self.chars.next() {
                self.inside(escaped);
            }
            while let Some(c) = self.chars.next_if(|c| *c != '\'' && *c != '\n') {
                self.inside(c);
            }
            self.chars.next_if_eq(&'\'');
            self.out.push('\'');
        } else if self.chars.next_if_eq(&'\'').is_some() {
            self.inside(first);
            self.out.push('\'');
        } else {
            self.out.push(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_not() {
        for (source, code) in [
            ("a // b\nc", "a  \nc"),
            ("a /* b /* c\n */ d */ e", "a \n  e"),
            ("a /*/ b */ c", "a   c"),
            (r#"f("b \" c") + d"#, r#"f("______") + d"#),
            ("r\"\\\" + a", "r\"_\" + a"),
            (r###"r#"b " c"# + d"###, r###"r#"_____"# + d"###),
            ("br##\"x\"# y\"## + a", "br##\"_____\"## + a"),
            ("r#type + \"x\"", "r#type + \"_\""),
            (r"'\'' + '\u{7d}' + 'x' + a", "'__' + '______' + '_' + a"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("b'\"' + \"x\"", "b'_' + \"_\""),
            ("\"a\nb\"", "\"_\n_\""),
        ] {
            assert_eq!(without_comments_and_literals(source), code, "{source}");
        }
        assert_eq!(without_comments("f(\"// b\", '\"') // c"), "f(\"// b\", '\"')  ");
    }

    #[test]
    fn unit_tests_are_cut_and_what_follows_is_kept_on_its_line() {
        let code =
            "use a;\n#[cfg(test)]\nmod tests {\n fn f() { [1]; }\n}\nuse b;\n#[cfg(test)]\nuse c;\nuse d;\n";
        let kept = without_tests(code);
        assert_eq!(kept.split_whitespace().collect::<Vec<_>>(), ["use", "a;", "use", "b;", "use", "d;"]);
        assert_eq!(kept.lines().position(|line| line == "use b;"), Some(5));
    }

    #[test]
    fn what_is_shipped_keeps_literals_and_loses_tests_whose_literals_hold_braces() {
        let source =
            "const A: &str = \"}\"; // c\n#[cfg(test)]\nmod tests { const B: &str = \"}\"; }\nfn f() {}\n";
        let kept = shipped(source);
        assert_eq!(kept.split_whitespace().collect::<Vec<_>>().join(" "), "const A: &str = \"}\"; fn f() {}");
    }

    #[test]
    fn identifiers_come_with_their_lines() {
        let found: Vec<_> = identifiers("a::b_c(1u8);\n d2").collect();
        assert_eq!(found, [(1, "a"), (1, "b_c"), (2, "d2")]);
    }
}
