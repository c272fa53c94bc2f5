//! `modelcast verify MODEL [V]`: fetch a whole version and put it through a subscriber's admission.
//!
//! Nothing is believed that an announcement or a manifest says: the bytes come from the brokers, anew.

use anyhow::anyhow;
use modelcast::{Catalog, FetchError, admission::Refusal};
use modelcast_protocol::{
    Generation, ModelName, Version,
    change::ChangeError,
    desired::{DesiredState, VersionEntry},
    status::Phase,
};

use crate::{
    cli::VerifyArgs,
    decoders,
    failure::{Exit, Failure},
    progress::Progress,
    session,
    settings::Settings,
    stdout,
    table::Look,
    verification::{self, Admitted, Check, Verification},
};

/// Verifies and prints each check.
pub(super) async fn run(settings: &Settings, args: &VerifyArgs) -> Result<Exit, Failure> {
    let catalog = session::catalog(settings).await?;
    let fold = catalog.fold().await?;
    let in_force = session::in_force(settings, &fold, &args.model).await?;
    let state = session::understood(in_force)?;
    let entry = entry(state, args.version.unwrap_or(state.champion))?;
    let generation = in_force.generation();
    let signer = in_force.announcement.signer;
    let named = format!("generation {generation}, signed by key {signer}, names version {}", entry.version);
    let mut checks = vec![Check::passed("announcement", named)];
    checks.extend(check(&catalog, &args.model, entry, generation).await?);
    let verification = Verification::new(args.model.clone(), entry.version, entry.manifest, checks);
    if args.json {
        stdout::json(&verification)?;
    } else {
        stdout::text(&verification.render(Look::of_stdout()))?;
    }
    Ok(if verification.ok { Exit::Done } else { Exit::Failed })
}

/// The version, where the announcement in force names it.
pub(super) fn entry(state: &DesiredState, version: Version) -> Result<&VersionEntry, Failure> {
    state.entry(version).ok_or_else(|| {
        let known: Vec<_> = state.versions.iter().map(|entry| entry.version.to_string()).collect();
        let error = ChangeError::UnknownVersion { version, known: known.join(", ") };
        Failure::new(Exit::Refused, anyhow!(error))
    })
}

/// The checks after the announcement's. Kafka that does not answer is no finding about the version.
async fn check(
    catalog: &Catalog,
    model: &ModelName,
    entry: &VersionEntry,
    generation: Generation,
) -> Result<Vec<Check>, Failure> {
    let manifest = match catalog.manifest(model, entry).await {
        Ok(manifest) => manifest,
        Err(FetchError::Refused(refusal)) => return Ok(stopped_at_manifest(&refusal)),
        Err(error) => return Err(error.into()),
    };
    let (policy, lacking) = decoders::policy(&manifest);
    let progress = Progress::start(manifest.manifest().size_bytes);
    let outcome = catalog.version(model, entry, generation, &policy, progress.listener()).await;
    let phases = progress.end();
    let end = match (outcome, lacking) {
        (Ok(_), _) => Admitted::Whole,
        (Err(FetchError::Refused(_)), Some(format)) if phases.contains(&Phase::Verified) => {
            Admitted::NoDecoder { format }
        }
        (Err(FetchError::Refused(refusal)), _) if verification::is_of_manifest(refusal.stage) => {
            return Ok(stopped_at_manifest(&refusal));
        }
        (Err(FetchError::Refused(refusal)), _) => Admitted::Refused(refusal),
        (Err(error), _) => return Err(error.into()),
    };
    let signed = format!("{}, signed by key {}", manifest.digest(), manifest.signer());
    let mut checks = vec![Check::passed("manifest", signed)];
    checks.extend(verification::admission(&manifest, &phases, &end));
    Ok(checks)
}

pub(super) fn stopped_at_manifest(refusal: &Refusal) -> Vec<Check> {
    let failed = Check::failed("manifest", refusal.to_string());
    std::iter::once(failed).chain(verification::after_bad_manifest()).collect()
}
