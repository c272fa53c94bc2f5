//! `cargo xtask broker`: builds the embedded broker, a workspace of its own, and runs it.
//!
//! Also home of [`build_with_progress`], with which the demo builds the other programs.
//! Does not know what a broker is for: see `broker/src/main.rs`.
//!
//! # Invariants
//! * The root workspace's lock file and target folder are never touched by the broker's build.
//! * Standard output stays the built program's: progress goes to standard error.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal a line is printed this often, so that a log shows that the build is alive.
const REPORT_EVERY: Duration = Duration::from_secs(20);

const BROKER: &str = "modelcast-broker";

/// What `cargo xtask broker` understands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the topics; created when missing
    #[arg(long, value_name = "DIR", default_value = "state/broker")]
    data: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 9092)]
    port: u16,
}

/// Builds the broker when it is not built, and becomes it: signals are the broker's own from then on.
///
/// # Errors
/// When it cannot be built or started.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args { data, port } = args;
    let program = build()?;
    let mut command = Command::new(&program);
    command.arg("--data").arg(&data).args(["--port", &port.to_string()]);
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}

/// Builds the embedded broker, some four minutes on two cores the first time, and says where it is.
///
/// # Errors
/// When cargo cannot be run or the build fails; cargo's own words are on standard error by then.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    // Nisshi's crates ask for a newer rustc than ours, and build on ours.
    let how = ["--ignore-rust-version", "--target-dir", "target/broker"];
    let what = ["--locked", "--manifest-path", "broker/Cargo.toml"];
    let mut programs = build_with_progress(BROKER, &what, &how)?;
    programs.remove(BROKER).context("cargo built no modelcast-broker")
}

/// The root of the repository.
///
/// `cargo run` says where xtask's manifest is. What was known at compile time comes second: a target folder that
/// two clones share may hold the other one's program.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let given = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let manifest_dir = given
            .filter(|folder| folder.ends_with("xtask"))
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        manifest_dir.parent().map(Path::to_path_buf).unwrap_or(manifest_dir)
    })
}

/// Runs `cargo build` and shows how many of the crates that this machine needs are done.
///
/// `what` selects manifest and packages, `how` the rest of the build. Returns each program that was asked for, by
/// its name.
///
/// # Errors
/// When cargo cannot be run or the build fails.
pub(crate) fn build_with_progress(
    label: &str,
    what: &[&str],
    how: &[&str],
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let total = count_crates(what)?;
    let mut child = cargo()
        .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
        .args(what)
        .args(how)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let messages = child.stdout.take().context("cargo has no standard output")?;
    let mut progress = Progress::new(label, total);
    let mut programs = BTreeMap::new();
    for line in BufReader::new(messages).lines() {
        let line = line.context("cannot read what cargo prints")?;
        let Some(artifact) = Artifact::parse(&line) else { continue };
        progress.finished(&artifact);
        programs.extend(artifact.program.map(|path| (artifact.target, path)));
    }
    let status = child.wait().context("cannot wait for cargo")?;
    progress.close();
    if !status.success() {
        bail!("building {label} failed ({status})");
    }
    Ok(programs)
}

/// The cargo that runs this, at the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// How many crates of the lock file this machine needs: a lock file also lists those of other platforms.
fn count_crates(what: &[&str]) -> anyhow::Result<usize> {
    let output = cargo()
        .args(["tree", "--prefix", "none", "--edges", "normal,build", "--format", "{p}"])
        .args(what)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree {} failed ({})", what.join(" "), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.trim_end_matches(" (*)")).collect::<HashSet<_>>().len())
}

/// Counts finished crates and shows them, on a terminal as a bar, elsewhere as a line now and then.
struct Progress {
    label: String,
    total: usize,
    done: HashSet<String>,
    compiled: usize,
    bar: Option<ProgressBar>,
    started: Instant,
    reported: Instant,
}

impl Progress {
    fn new(label: &str, total: usize) -> Self {
        let style =
            ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {pos}/{len} crates {elapsed} {msg}")
                .map(|style| style.progress_chars("=> "));
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)).with_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if let (Some(bar), Ok(style)) = (&bar, style) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self {
            label: label.to_owned(),
            total,
            done: HashSet::new(),
            compiled: 0,
            bar,
            started: now,
            reported: now,
        }
    }

    fn finished(&mut self, artifact: &Artifact) {
        if !self.done.insert(artifact.package_id.clone()) {
            return;
        }
        self.compiled += usize::from(!artifact.fresh);
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(crate_name(&artifact.package_id));
        } else if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            let (label, done, total) = (&self.label, self.done.len(), self.total);
            eprintln!("{label}: {done} of {total} crates, {} s", self.started.elapsed().as_secs());
        }
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.compiled > 0 {
            let elapsed = self.started.elapsed().as_secs();
            eprintln!("{}: {} crates built in {elapsed} s", self.label, self.compiled);
        }
    }
}

/// What cargo says about one library or program that is built now.
#[derive(Debug, PartialEq, Eq)]
struct Artifact {
    package_id: String,
    target: String,
    /// Whether it was built before.
    fresh: bool,
    program: Option<PathBuf>,
}

impl Artifact {
    /// Nothing for other messages, and for build scripts: their crate comes after them.
    fn parse(line: &str) -> Option<Self> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| message.pointer(pointer).and_then(serde_json::Value::as_str);
        if text("/reason")? != "compiler-artifact" || text("/target/kind/0")? == "custom-build" {
            return None;
        }
        Some(Self {
            package_id: text("/package_id")?.to_owned(),
            target: text("/target/name")?.to_owned(),
            fresh: message.get("fresh")?.as_bool()?,
            program: text("/executable").map(PathBuf::from),
        })
    }
}

/// `registry+https://…#serde@1.0.0` and `path+file:///…/trainer#0.1.0` name serde and trainer.
fn crate_name(package_id: &str) -> String {
    let (source, name) = package_id.rsplit_once('#').unwrap_or(("", package_id));
    match name.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => source.rsplit('/').next().unwrap_or(name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_library_counts_and_its_build_script_does_not() {
        let parse = |reason: &str, kind: &str, program: &str| {
            Artifact::parse(&format!(
                r#"{{"reason":"{reason}","package_id":"r#a@1","target":{{"kind":["{kind}"],"name":"a"}},"executable":{program},"fresh":false}}"#
            ))
        };
        let library =
            Artifact { package_id: "r#a@1".to_owned(), target: "a".to_owned(), fresh: false, program: None };
        let program =
            Artifact { program: Some("/t/a".into()), ..parse("compiler-artifact", "lib", "null").unwrap() };
        assert_eq!(parse("compiler-artifact", "lib", "null"), Some(library));
        assert_eq!(parse("compiler-artifact", "bin", "\"/t/a\""), Some(program));
        assert_eq!(parse("compiler-artifact", "custom-build", "null"), None);
        assert_eq!(parse("build-script-executed", "lib", "null"), None);
        assert_eq!(Artifact::parse("no JSON"), None);
    }

    #[test]
    fn a_package_id_names_its_crate() {
        assert_eq!(crate_name("registry+https://example.org/index#serde@1.0.0"), "serde");
        assert_eq!(crate_name("path+file:///somewhere/trainer#0.1.0"), "trainer");
    }
}
