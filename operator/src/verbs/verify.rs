//! `modelcast verify MODEL [V]`: fetch a whole version and put it through a subscriber's admission.
//!
//! Nothing is believed that an announcement or a manifest says: the bytes come from the brokers, anew.

use std::{
    io::{IsTerminal as _, Read, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::anyhow;
use modelcast::{
    Catalog, FetchError,
    admission::{Policy, Refusal},
    catalog::OnPhase,
    models::{DecodeContext, DecodeError, Decoder, Decoders, Model},
};
use modelcast_protocol::{
    Generation, ModelName, Version,
    change::ChangeError,
    desired::{DesiredState, VersionEntry},
    manifest::SignedManifest,
    status::Phase,
};

use crate::{
    cli::VerifyArgs,
    failure::{Exit, Failure},
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

fn entry(state: &DesiredState, version: Version) -> Result<&VersionEntry, Failure> {
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
    let (policy, lacking) = policy(&manifest);
    let phases = Arc::new(Mutex::new(Vec::new()));
    let outcome = catalog.version(model, entry, generation, &policy, listen(&phases)).await;
    end_progress();
    let phases = phases.lock().unwrap_or_else(PoisonError::into_inner).clone();
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

fn stopped_at_manifest(refusal: &Refusal) -> Vec<Check> {
    let failed = Check::failed("manifest", refusal.to_string());
    std::iter::once(failed).chain(verification::after_bad_manifest()).collect()
}

/// What this program asks of a version. A format of the application's own cannot be decoded here, but its bytes can
/// be fetched and verified: for it stands a decoder that only reads. Gives the format that is lacking.
fn policy(manifest: &SignedManifest) -> (Policy, Option<String>) {
    let standard = Policy::standard();
    let stated = manifest.manifest();
    let decodes = |decoder: &dyn Decoder| stated.required_features.iter().all(|it| decoder.supports(it));
    if standard.decoders.get(&stated.format).is_some_and(decodes) {
        return (standard, None);
    }
    let reads = Decoders::default().with(OnlyReads(stated.format.clone()));
    (Policy { decoders: Arc::new(reads), ..standard }, Some(stated.format.clone()))
}

/// Stands for a decoder that this program does not have.
struct OnlyReads(String);

impl Decoder for OnlyReads {
    fn format(&self) -> &str {
        &self.0
    }

    fn supports(&self, _: &str) -> bool {
        true
    }

    fn decode(&self, _: &mut dyn Read, _: &DecodeContext<'_>) -> Result<Box<dyn Model>, DecodeError> {
        Err(DecodeError::Other(format!("this program has no decoder for format {:?}", self.0).into()))
    }
}

/// Notes the phases, and shows on a terminal how far the bytes are.
fn listen(phases: &Arc<Mutex<Vec<Phase>>>) -> OnPhase {
    let phases = Arc::clone(phases);
    let shows = std::io::stderr().is_terminal();
    Arc::new(move |phase| match phase {
        Phase::Fetching { done_bytes, total_bytes } => {
            if shows {
                let _ = write!(std::io::stderr(), "\r{done_bytes} of {total_bytes} bytes ");
            }
        }
        phase => phases.lock().unwrap_or_else(PoisonError::into_inner).push(phase),
    })
}

fn end_progress() {
    if std::io::stderr().is_terminal() {
        // Back to the start, and clear: the table comes where the progress was.
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}
