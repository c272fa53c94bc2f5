//! An application that carries its model with it links no Kafka: the tree of what is compiled says so.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::Path, process::Command};

/// What cargo would compile into a package, one name a line.
fn tree(folder: &Path, args: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(folder).args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none"]);
    let output = cargo.args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn links_kafka(tree: &str) -> bool {
    assert!(tree.contains("modelcast v"), "{tree}");
    tree.contains("rdkafka")
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn the_crate_without_its_default_feature_links_no_kafka() {
    assert!(!links_kafka(&tree(root(), &["--package", "modelcast", "--no-default-features"])));
    assert!(links_kafka(&tree(root(), &["--package", "modelcast"])), "the default does, so it would be seen");
}

#[test]
fn an_application_that_embeds_its_model_links_no_kafka() {
    for (features, kafka) in [("false", false), ("true", true)] {
        let folder = tempfile::tempdir().unwrap();
        let client = env!("CARGO_MANIFEST_DIR");
        let manifest = format!(
            "[package]\nname = \"service\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
             [dependencies]\nmodelcast = {{ path = \"{client}\", default-features = {features} }}\n"
        );
        fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/main.rs"), "fn main() {}\n").unwrap();
        // The same versions, all of which are on this machine.
        fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
        assert_eq!(links_kafka(&tree(folder.path(), &[])), kafka, "default-features = {features}");
    }
}
