//! The golden bytes of the protocol and their list agree.
//!
//! A vector that nobody lists is tested by nobody, and one that is listed and missing was lost.

use std::collections::BTreeSet;

use super::Violation;
use super::tree::Tree;

const FOLDER: &str = "shared/protocol/tests/vectors/";
const LIST: &str = "shared/protocol/tests/vectors/INDEX.json";
/// Explains; holds no bytes.
const README: &str = "README.md";

/// Every file without an entry and every entry without a file.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(list) = tree.file(LIST) else {
        return vec![Violation::new(
            LIST,
            1,
            "is missing: golden bytes are what other languages test against",
        )];
    };
    let listed = match serde_json::from_str::<serde_json::Value>(&list.text) {
        Ok(value) => files_in(&value),
        Err(error) => return vec![Violation::new(LIST, error.line(), format!("is no JSON: {error}"))],
    };
    let present: BTreeSet<&str> = tree
        .files()
        .filter(|file| file.path != LIST && file.name() != README)
        .filter_map(|file| file.path.strip_prefix(FOLDER))
        .collect();
    let missing = listed.iter().filter(|name| !present.contains(name.as_str()));
    let unlisted = present.iter().filter(|name| !listed.contains(**name));
    missing
        .map(|name| Violation::new(LIST, 1, format!("lists `{name}`, which does not exist")))
        .chain(
            unlisted.map(|name| Violation::new(&format!("{FOLDER}{name}"), 1, "is not listed in INDEX.json")),
        )
        .collect()
}

/// Whatever stands under a key `file`, however deep.
fn files_in(value: &serde_json::Value) -> BTreeSet<String> {
    match value {
        serde_json::Value::Object(entries) => {
            let own = entries.get("file").and_then(serde_json::Value::as_str).map(str::to_owned);
            own.into_iter().chain(entries.values().flat_map(files_in)).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(files_in).collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"vectors": [{"file": "a.bin", "note": "a"}]}"#;

    #[test]
    fn a_vector_without_an_entry_and_an_entry_without_a_vector_are_refused() {
        let a = "shared/protocol/tests/vectors/a.bin";
        let b = "shared/protocol/tests/vectors/v1/b.bin";
        assert_eq!(check(&Tree::of(&[(LIST, ENTRY), (a, "")])).len(), 0);
        assert_eq!(check(&Tree::of(&[(LIST, ENTRY)])).len(), 1);
        let violations = check(&Tree::of(&[(LIST, ENTRY), (a, ""), (b, "")]));
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].path, b);
        assert_eq!(check(&Tree::of(&[(LIST, "{"), (a, "")])).len(), 1);
        assert_eq!(check(&Tree::of(&[])).len(), 1);
    }
}
