//! Which of our crates may depend on which: protocol <- models <- client <- the programs.
//!
//! Looks at `Cargo.toml` only. Libraries of others are another check: see `containment`.

use super::Violation;
use super::manifest::{Kind, manifests};
use super::tree::Tree;

/// Each crate, and those of ours that it may depend on. The test kit is everybody's, in tests alone.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("modelcast-protocol", &[]),
    ("modelcast-models", &["modelcast-protocol"]),
    ("modelcast", &["modelcast-protocol", "modelcast-models"]),
    ("trainer", &["modelcast-protocol", "modelcast-models", "modelcast"]),
    ("consumer-app", &["modelcast-protocol", "modelcast-models", "modelcast"]),
    ("modelcast-operator", &["modelcast-protocol", "modelcast-models", "modelcast"]),
    (
        TEST_KIT,
        &[
            "modelcast-protocol",
            "modelcast-models",
            "modelcast",
            "trainer",
            "consumer-app",
            "modelcast-operator",
        ],
    ),
    ("modelcast-bench", &["modelcast-protocol", "modelcast-models", "modelcast", TEST_KIT]),
    ("modelcast-broker", &[]),
    ("xtask", &[]),
];

const TEST_KIT: &str = "modelcast-testcontainers";

/// Every dependency between our crates that points the wrong way, and every crate that the list misses.
pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let (manifests, mut violations) = manifests(tree);
    for manifest in &manifests {
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(name, _)| *name == manifest.package) else {
            let message = format!("crate `{}` has no place in xtask/src/tidy/direction.rs", manifest.package);
            violations.push(Violation::new(&manifest.path, 1, message));
            continue;
        };
        for dependency in &manifest.dependencies {
            let ours = MAY_DEPEND_ON.iter().any(|(name, _)| *name == dependency.name);
            let for_tests = dependency.kind == Kind::Dev && dependency.name == TEST_KIT;
            if ours && !for_tests && !allowed.contains(&dependency.name.as_str()) {
                let message = format!(
                    "`{}` must not depend on `{}`: dependencies point one way",
                    manifest.package, dependency.name
                );
                violations.push(Violation::new(&manifest.path, dependency.line, message));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(package: &str, section: &str, dependency: &str) -> usize {
        let text = format!("[package]\nname = \"{package}\"\n[{section}]\n{dependency}.workspace = true\n");
        check(&Tree::of(&[("x/Cargo.toml", &text)])).len()
    }

    #[test]
    fn dependencies_that_point_back_or_sideways_are_refused() {
        assert_eq!(found("modelcast-protocol", "dependencies", "modelcast-models"), 1);
        assert_eq!(found("modelcast-models", "dev-dependencies", "modelcast"), 1);
        assert_eq!(found("consumer-app", "dependencies", "trainer"), 1);
        assert_eq!(found("modelcast-broker", "dependencies", "modelcast"), 1);
        assert_eq!(found("modelcast", "dependencies", "modelcast-protocol"), 0);
        assert_eq!(found("trainer", "dependencies", "serde"), 0);
    }

    #[test]
    fn the_test_kit_is_for_tests_alone() {
        assert_eq!(found("trainer", "dependencies", TEST_KIT), 1);
        assert_eq!(found("trainer", "dev-dependencies", TEST_KIT), 0);
    }

    #[test]
    fn a_crate_without_a_place_is_refused() {
        assert_eq!(found("modelcast-util", "dependencies", "serde"), 1);
    }
}
