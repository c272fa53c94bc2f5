//! Which image a Kafka is started from.
//!
//! Asks `image/image.sh`, which also serves `cargo xtask test`, so that there is one order and one explanation.
//! Does not pull or build: the script does, the latter with jars from here.
//!
//! # Invariants
//! * One process asks once: all its Kafkas are of one image.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::error::describe;
use crate::jars;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/image/image.sh");

/// The script's exit code when there is no image yet, and it can build one.
const NEEDS_BUILD: i32 = 3;

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
    #[error("no Kafka image: {SCRIPT} says why, above; MODELCAST_KAFKA_IMAGE names one")]
    None,
    #[error("no Kafka image, and no jars to build one of: {0}")]
    Jars(String),
}

/// The image to use, built first when there is none. Its reasons are on standard error.
pub(crate) fn choose() -> Result<ImageName, ImageError> {
    static CHOSEN: OnceLock<Result<ImageName, ImageError>> = OnceLock::new();
    CHOSEN.get_or_init(ask).clone()
}

fn ask() -> Result<ImageName, ImageError> {
    let (code, image) = script(&["choose".as_ref()])?;
    let (code, image) = match code {
        Some(NEEDS_BUILD) => {
            let jars = jars::ensure().map_err(|error| ImageError::Jars(describe(&error)))?;
            script(&["build".as_ref(), jars.as_os_str()])?
        }
        _ => (code, image),
    };
    if code == Some(0) { parse(&image).ok_or(ImageError::None) } else { Err(ImageError::None) }
}

/// The exit code, and what was printed.
fn script(args: &[&OsStr]) -> Result<(Option<i32>, String), ImageError> {
    let output = Command::new(SCRIPT)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| ImageError::Script(error.to_string()))?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    const OFFICIAL: &str = "docker.io/apache/kafka:4.1.1";

    /// A `docker` with the images of a file, and a registry that answers when another file is there.
    const FAKE_DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
case "$1 $2" in
  "version --format") echo 1 ;;
  "image inspect") grep -qxF "$3" images ;;
  "manifest inspect") [ -e registry ] || { echo "no such host" >&2; exit 1; } ;;
  "pull --quiet") echo "$3" >>images ;;
  *) echo "unexpected: $*" >&2; exit 2 ;;
esac
"#;

    /// A machine on which `image.sh choose` runs.
    struct Machine(TempDir);

    impl Machine {
        fn with_images(images: &[&str]) -> Self {
            let folder = TempDir::new().unwrap();
            fs::write(folder.path().join("images"), images.join("\n")).unwrap();
            let docker = folder.path().join("docker");
            fs::write(&docker, FAKE_DOCKER).unwrap();
            fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
            Self(folder)
        }

        fn registry_answers(&self) {
            fs::write(self.0.path().join("registry"), "").unwrap();
        }

        /// The exit code, the image, and what was said.
        fn choose(&self, variable: &str) -> (Option<i32>, String, String) {
            let output = Command::new(SCRIPT)
                .arg("choose")
                .env("PATH", format!("{}:/usr/bin:/bin", self.0.path().display()))
                .env("CARGO_TARGET_DIR", self.0.path().join("target"))
                .env("MODELCAST_KAFKA_IMAGE", variable)
                .output()
                .unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        }
    }

    #[test]
    fn the_variable_goes_before_everything() {
        let (code, image, _) = Machine::with_images(&[OFFICIAL]).choose("my/kafka:1");
        assert_eq!((code, image.as_str()), (Some(0), "my/kafka:1"));
    }

    #[test]
    fn the_official_image_is_used_where_it_is_or_can_be_pulled() {
        let (code, image, said) = Machine::with_images(&[OFFICIAL]).choose("");
        assert_eq!((code, image.as_str()), (Some(0), OFFICIAL));
        assert!(!said.contains("asking the registry"), "{said}");

        let machine = Machine::with_images(&[]);
        machine.registry_answers();
        let (code, image, said) = machine.choose("");
        assert_eq!((code, image.as_str()), (Some(0), OFFICIAL), "{said}");
    }

    #[test]
    fn without_a_registry_the_built_image_is_used_and_the_registry_left_alone_for_an_hour() {
        let machine = Machine::with_images(&[]);
        let (code, image, said) = machine.choose("");
        assert_eq!((code, image.as_str()), (Some(3), ""));
        assert!(said.contains("no such host"), "{said}");
        let built =
            said.lines().find_map(|line| line.strip_prefix("kafka image: not modelcast-kafka:")).unwrap();
        let built = format!("modelcast-kafka:{}", built.split(": ").next().unwrap());

        fs::write(machine.0.path().join("images"), &built).unwrap();
        machine.registry_answers();
        let (code, image, said) = machine.choose("");
        assert_eq!((code, image), (Some(0), built));
        assert!(said.contains("less than an hour ago") && said.contains("no such host"), "{said}");

        let refusal = machine.0.path().join("target/kafka-image-not-pulled");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3700);
        fs::File::options().write(true).open(refusal).unwrap().set_modified(old).unwrap();
        assert_eq!(machine.choose("").1, OFFICIAL);
    }

    #[test]
    fn a_name_is_split_as_docker_splits_it() {
        let check = |name: &str, expected: Option<(&str, &str)>| {
            let expected = expected
                .map(|(repository, tag)| ImageName { repository: repository.into(), tag: tag.into() });
            assert_eq!(parse(name), expected, "{name}");
        };
        check(OFFICIAL, Some(("docker.io/apache/kafka", "4.1.1")));
        check("kafka", Some(("kafka", "latest")));
        check("mirror:5000/apache/kafka", Some(("mirror:5000/apache/kafka", "latest")));
        check("mirror:5000/apache/kafka:4", Some(("mirror:5000/apache/kafka", "4")));
        check("", None);
        check(":4", None);
    }
}
