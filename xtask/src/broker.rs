//! `cargo xtask broker`: builds the embedded broker, a workspace of its own, and runs it.
//!
//! Also home of [`build_with_progress`], with which the demo builds the other programs.
//! Does not know what a broker is for: see `broker/src/main.rs`.
//!
//! # Invariants
//! * The root workspace's lock file and target folder are never touched by the broker's build.
//! * Standard output stays the built program's: progress goes to standard error.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal a line is printed this often, so that a log shows that the build is alive.
const REPORT_EVERY: Duration = Duration::from_secs(20);

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

/// Builds the broker when it is not built, and runs it in the foreground.
///
/// # Errors
/// When it cannot be built or started, or ends other than by a signal or with success.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Args { data, port } = args;
    let program = build()?;
    let status = Command::new(&program)
        .arg("--data")
        .arg(&data)
        .args(["--port", &port.to_string()])
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    // Ctrl-C goes to the broker as well, which then ends with success.
    if !status.success() {
        bail!("modelcast-broker ended with {status}");
    }
    Ok(())
}

/// Builds the embedded broker, some four minutes on two cores the first time, and says where it is.
///
/// # Errors
/// When cargo cannot be run or the build fails; cargo's own words are on standard error by then.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let root = root();
    let target = root.join("target/broker");
    let manifest = root.join("broker/Cargo.toml");
    // Nisshi's crates ask for a newer rustc than ours, and build on ours.
    let args = [
        OsStr::new("--ignore-rust-version"),
        OsStr::new("--locked"),
        OsStr::new("--manifest-path"),
        manifest.as_os_str(),
        OsStr::new("--target-dir"),
        target.as_os_str(),
    ];
    build_with_progress("modelcast-broker", &manifest, &args)?;
    Ok(target.join("debug/modelcast-broker"))
}

/// The root of the repository, known when xtask was compiled.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Runs `cargo build` and shows how many of the lock file's crates for this machine are done.
///
/// # Errors
/// When cargo cannot be run or the build fails.
pub(crate) fn build_with_progress(label: &str, manifest: &Path, args: &[&OsStr]) -> anyhow::Result<()> {
    let total = count_crates(manifest)?;
    let mut child = cargo()
        .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let messages = child.stdout.take().context("cargo has no standard output")?;
    let mut progress = Progress::new(label, total);
    for line in BufReader::new(messages).lines() {
        progress.message(&line.context("cannot read what cargo prints")?);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    progress.finish();
    if !status.success() {
        bail!("building {label} failed ({status})");
    }
    Ok(())
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// How many crates of the lock file this machine needs: a lock file also lists those of other platforms.
fn count_crates(manifest: &Path) -> anyhow::Result<usize> {
    let output = cargo()
        .args(["tree", "--locked", "--prefix", "none", "--edges", "normal,build", "--format", "{p}"])
        .arg("--manifest-path")
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree failed for {} ({})", manifest.display(), output.status);
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

    /// Takes one line of cargo's JSON messages.
    fn message(&mut self, line: &str) {
        let Some((id, fresh)) = finished_crate(line) else { return };
        let name = crate_name(&id);
        if !self.done.insert(id) {
            return;
        }
        self.compiled += usize::from(!fresh);
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(name);
        } else if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            let (label, done, total) = (&self.label, self.done.len(), self.total);
            eprintln!("{label}: {done} of {total} crates, {} s", self.started.elapsed().as_secs());
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.compiled > 0 {
            let elapsed = self.started.elapsed().as_secs();
            eprintln!("{}: {} crates built in {elapsed} s", self.label, self.compiled);
        }
    }
}

/// The package whose library or program a message says is built, and whether it was built before.
fn finished_crate(line: &str) -> Option<(String, bool)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_build_script =
        || message.pointer("/target/kind/0").and_then(serde_json::Value::as_str) == Some("custom-build");
    if message.get("reason")?.as_str()? != "compiler-artifact" || is_build_script() {
        return None;
    }
    Some((message.get("package_id")?.as_str()?.to_owned(), message.get("fresh")?.as_bool()?))
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
        let line = |reason: &str, kind: &str| {
            format!(
                r#"{{"reason":"{reason}","package_id":"r#a@1","target":{{"kind":["{kind}"]}},"fresh":false}}"#
            )
        };
        assert_eq!(finished_crate(&line("compiler-artifact", "lib")), Some(("r#a@1".to_owned(), false)));
        assert_eq!(finished_crate(&line("compiler-artifact", "custom-build")), None);
        assert_eq!(finished_crate(&line("build-script-executed", "lib")), None);
        assert_eq!(finished_crate("no JSON"), None);
    }

    #[test]
    fn a_package_id_names_its_crate() {
        assert_eq!(crate_name("registry+https://example.org/index#serde@1.0.0"), "serde");
        assert_eq!(crate_name("path+file:///somewhere/trainer#0.1.0"), "trainer");
    }
}
