//! Which source this program was built from, for the lineage of what it trains.

use std::process::{Command, Stdio};

/// Set when a release is built outside a checkout.
const STATED: Option<&str> = option_env!("MODELCAST_REVISION");

/// The revision stated at build time, else that of the checkout it was built in, `-dirty` where it has changes; else
/// `unknown`.
#[must_use]
pub fn revision() -> String {
    let stated = STATED.filter(|stated| !stated.is_empty()).map(str::to_owned);
    stated.or_else(of_checkout).unwrap_or_else(|| "unknown".to_owned())
}

fn of_checkout() -> Option<String> {
    // `--exclude=*` leaves out tags: the hash alone says more
    let arguments = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"];
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let output = git.ok().filter(|output| output.status.success())?;
    let revision = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!revision.is_empty()).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_hash_or_unknown() {
        let revision = revision();
        let hash = revision.trim_end_matches("-dirty");
        let is_hash = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash || STATED.is_some() || revision == "unknown", "{revision}");
    }
}
