//! Which image a Kafka is started from.
//!
//! Asks `image/image.sh`, which also serves `cargo xtask test`, so that there is one order and one explanation.
//! Does not pull or build: the script does.
//!
//! # Invariants
//! * One process asks once: all its Kafkas are of one image.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/image/image.sh");

/// A name and a tag, as Docker splits them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageName {
    pub(crate) repository: String,
    pub(crate) tag: String,
}

/// Why there is no image.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("cannot run {SCRIPT}: {0}")]
    Script(String),
    #[error("no Kafka image: {SCRIPT} says why, above; `cargo xtask test` does all the set-up")]
    None,
}

/// The image to use, built first when there is none. Its reasons are on standard error.
pub(crate) fn choose() -> Result<ImageName, ImageError> {
    static CHOSEN: OnceLock<Result<ImageName, ImageError>> = OnceLock::new();
    CHOSEN.get_or_init(ask).clone()
}

fn ask() -> Result<ImageName, ImageError> {
    let output = Command::new(SCRIPT)
        .arg("get")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| ImageError::Script(error.to_string()))?;
    let name = String::from_utf8_lossy(&output.stdout);
    if output.status.success() { parse(name.trim()).ok_or(ImageError::None) } else { Err(ImageError::None) }
}

/// A colon before the last slash belongs to a registry's port.
fn parse(name: &str) -> Option<ImageName> {
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    };
    (!repository.is_empty() && !tag.is_empty())
        .then(|| ImageName { repository: repository.to_owned(), tag: tag.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_as_docker_splits_it() {
        let check = |name: &str, expected: Option<(&str, &str)>| {
            let expected = expected
                .map(|(repository, tag)| ImageName { repository: repository.into(), tag: tag.into() });
            assert_eq!(parse(name), expected, "{name}");
        };
        check("apache/kafka:4.1.1", Some(("apache/kafka", "4.1.1")));
        check("kafka", Some(("kafka", "latest")));
        check("mirror:5000/apache/kafka", Some(("mirror:5000/apache/kafka", "latest")));
        check("mirror:5000/apache/kafka:4", Some(("mirror:5000/apache/kafka", "4")));
        check("", None);
        check(":4", None);
    }
}
