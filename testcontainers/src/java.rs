//! The Java machine that runs Kafka as a process here.
//!
//! Does not install one: `cargo xtask test --kafka process` does.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Kafka 4 brokers do not start on an older one.
const OLDEST: u32 = 17;

/// A Java machine that runs Kafka.
#[derive(Clone, Debug)]
pub(crate) struct Java {
    pub(crate) program: PathBuf,
    /// The major one.
    pub(crate) version: u32,
}

/// The one that `JAVA_HOME` names, or else `java` on the `PATH`; if there is none that runs Kafka, why.
pub(crate) fn find() -> Result<Java, String> {
    let home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let program = home.map_or_else(|| PathBuf::from("java"), |home| PathBuf::from(home).join("bin/java"));
    let shown = program.display();
    let output = Command::new(&program)
        .arg("-version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no Java {OLDEST}: `{shown}` cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let version =
        major(&said).ok_or_else(|| format!("`{shown} -version` names no version: {}", said.trim()))?;
    if version < OLDEST {
        return Err(format!("Kafka needs Java {OLDEST}, `{shown}` is {version}"));
    }
    Ok(Java { program, version })
}

/// Of `openjdk version "17.0.15" 2025-04-15`; before 9 it was `"1.8.0_292"`.
fn major(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("version \"")?;
    let mut numbers = version.split(|character: char| !character.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_java_says_of_itself() {
        let check = |said: &str, expected: Option<u32>| assert_eq!(major(said), expected, "{said}");
        check("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment", Some(17));
        check("Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version \"21\" 2023-09-19", Some(21));
        check("java version \"1.8.0_292\"", Some(8));
        check("openjdk version \"22-ea\" 2024-03-19", Some(22));
        check("no such thing", None);
        check("version \"\"", None);
    }
}
