//! Every crate of the workspace takes the workspace's lints.
//!
//! `broker/` is a workspace of its own and states its lints itself.

use super::Violation;
use super::manifest::manifests;
use super::tree::Tree;

/// Every crate that lacks `[lints] workspace = true`, or lints of its own for the broker.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let (manifests, mut violations) = manifests(tree);
    for manifest in &manifests {
        let lints = manifest.table.get("lints");
        let inherited = lints.and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        let own_workspace = manifest.table.contains_key("workspace");
        let holds = if own_workspace { lints.is_some() } else { inherited == Some(true) };
        if !holds {
            let message = "lacks `[lints]` with `workspace = true`".to_owned();
            violations.push(Violation::new(&manifest.path, 1, message));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_the_workspaces_lints_is_refused() {
        for (text, violations) in [
            ("[package]\nname = \"x\"\n", 1),
            ("[package]\nname = \"x\"\n[lints]\nworkspace = false\n", 1),
            ("[package]\nname = \"x\"\n[lints]\nworkspace = true\n", 0),
            ("[package]\nname = \"x\"\n[workspace]\n", 1),
            ("[package]\nname = \"x\"\n[workspace]\n[lints.rust]\nunsafe_code = \"forbid\"\n", 0),
            ("[workspace]\nmembers = []\n", 0),
        ] {
            assert_eq!(check(&Tree::of(&[("x/Cargo.toml", text)])).len(), violations, "{text}");
        }
    }
}
