//! `modelcast inspect FILE`: what an embedded file holds, and whether an application would admit it.
//!
//! Needs the trusted keys, and no Kafka.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use modelcast::{Embedded, EmbeddedError, admission::Refusal, embedded::EmbeddedVersion};
use modelcast_protocol::key::TrustedKeys;

use crate::{
    cli::InspectArgs,
    decoders,
    embedded_report::EmbeddedReport,
    failure::{Exit, Failure},
    progress::Progress,
    settings::Settings,
    stdout,
    table::Look,
    verification::{self, Admitted, Check, Verification},
};

/// Opens, checks and shows the file.
pub(super) async fn run(settings: &Settings, args: &InspectArgs) -> Result<Exit, Failure> {
    let report = examine(&args.file, &args.file, settings.keys.trusted()?).await?;
    show(&report, args.json)?;
    Ok(if report.is_good() { Exit::Done } else { Exit::Failed })
}

/// Prints a report.
pub(super) fn show(report: &EmbeddedReport, json: bool) -> Result<(), Failure> {
    if json {
        stdout::json(report)?;
    } else {
        stdout::text(&report.render(Look::of_stdout()))?;
    }
    Ok(())
}

/// Opens the file at `path`, admits what it holds as an application would, and reports on it as `name`.
pub(super) async fn examine(path: &Path, name: &Path, keys: TrustedKeys) -> Result<EmbeddedReport, Failure> {
    let (path, name): (PathBuf, PathBuf) = (path.to_owned(), name.to_owned());
    let examined = tokio::task::spawn_blocking(move || {
        let version = Embedded::File(path).open(&keys)?;
        Ok::<_, EmbeddedError>(report(&name, &version))
    });
    let examined = examined.await.map_err(anyhow::Error::new)?;
    examined.map_err(|error| Failure::new(Exit::Failed, error))?
}

fn report(name: &Path, version: &EmbeddedVersion) -> Result<EmbeddedReport, Failure> {
    let (announcement, manifest, entry) = (version.announcement(), version.manifest(), version.entry());
    let state = announcement.body.as_ref().map_err(|error| anyhow!(error.clone()))?;
    let (generation, signer) = (announcement.frame.generation, announcement.signer);
    let named = format!("generation {generation}, signed by key {signer}, names version {}", entry.version);
    let mut checks = vec![Check::passed("announcement", named)];
    checks.extend(check(version));
    let model = announcement.frame.model.clone();
    let verification = Verification::new(model, entry.version, manifest.digest(), checks);
    Ok(EmbeddedReport::of(name, version, state, verification))
}

/// The checks after the announcement's.
fn check(version: &EmbeddedVersion) -> Vec<Check> {
    let manifest = version.manifest();
    let (policy, lacking) = decoders::policy(manifest);
    let progress = Progress::start(manifest.manifest().size_bytes);
    let listener = progress.listener();
    let admitted = version.clone().admit(&policy, &|phase| listener(phase));
    let phases = progress.end();
    let end = match (admitted, lacking) {
        (Ok(_), _) => Admitted::Whole,
        (Err(_), Some(format)) if phases.contains(&modelcast_protocol::status::Phase::Verified) => {
            Admitted::NoDecoder { format }
        }
        (Err(refusal), _) if verification::is_of_manifest(refusal.stage) => return stopped(&refusal),
        (Err(refusal), _) => Admitted::Refused(refusal),
    };
    let signed = format!("{}, signed by key {}", manifest.digest(), manifest.signer());
    let mut checks = vec![Check::passed("manifest", signed)];
    checks.extend(verification::admission(manifest, &phases, &end));
    checks
}

fn stopped(refusal: &Refusal) -> Vec<Check> {
    super::verify::stopped_at_manifest(refusal)
}
