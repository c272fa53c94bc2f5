//! Names that no other test gets.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Drawn: on a Kafka that outlives the tests, a process's number comes again.
static PROCESS: LazyLock<u32> = LazyLock::new(rand::random);

/// A name made from `stem`, valid as a namespace, that neither this process nor another one makes again.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    name(stem, *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// At most 64 characters of `[a-z0-9._-]`, a letter or digit first and last.
fn name(stem: &str, process: u32, number: u32) -> String {
    let kept = |character: char| match character.to_ascii_lowercase() {
        lower @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => lower,
        _ => '-',
    };
    let stem: String =
        stem.chars().map(kept).skip_while(|character| !character.is_ascii_alphanumeric()).take(40).collect();
    let stem = if stem.is_empty() { "test" } else { &stem };
    format!("{stem}-{process:08x}-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stem_becomes_a_valid_namespace() {
        let check = |stem: &str, expected: &str| assert_eq!(name(stem, 12, 3), expected, "{stem}");
        check("late-joiner", "late-joiner-0000000c-3");
        check("Two Publishers", "two-publishers-0000000c-3");
        check("__", "test-0000000c-3");
        check("", "test-0000000c-3");
        check("-é9", "9-0000000c-3");
        let longest = name(&"x".repeat(500), u32::MAX, u32::MAX);
        assert!(longest.len() <= 64, "{longest}");
    }
}
