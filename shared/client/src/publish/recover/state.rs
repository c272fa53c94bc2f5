//! The desired state that a recovery announces: what is known of the model, as far as it can still be had.
//!
//! # Invariants
//! * A version's number is not given to another one again: the highest that is known stays named.
//! * What becomes the champion can be fetched whole, unless the operator names one that cannot.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use modelcast_protocol::{
    Digest, ModelName, Version,
    codec::Record as _,
    desired::{DesiredState, Stamp, VersionEntry},
};

use super::{Choice, RecoveryError, plan::Witness};
use crate::{
    catalog::{Catalog, blocking},
    clock,
    fetch::{FetchError, Fetcher, Unwatched},
    publish::PublishError,
};

/// How long one version may take to come in.
const VERSION_DEADLINE: Duration = Duration::from_secs(600);

/// A state to announce, and what a person should know about it.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) state: DesiredState,
    pub(super) warnings: Vec<String>,
}

/// A version as far as it is known.
struct Known {
    entry: VersionEntry,
    /// Why it cannot be fetched.
    lacks: Option<String>,
}

/// Puts the state together: the newest announcement's, with the versions that only instances know of.
pub(super) async fn restore(
    catalog: &Catalog,
    model: &ModelName,
    basis: Option<&DesiredState>,
    witnesses: &[Witness],
    choice: &Choice,
) -> Result<Restored, PublishError> {
    let named = basis.map_or(&[][..], |basis| basis.versions.as_slice());
    let mut known = Vec::new();
    for entry in named {
        let (entry, lacks) = look(catalog, model, entry).await?;
        known.push(Known { entry, lacks });
    }
    let mut warnings = Vec::new();
    for (version, manifest) in unnamed(named, witnesses, choice)? {
        // Nobody signed for the number: it is the instances' word, and the manifest's signature says the rest.
        let artifact = Digest::from_bytes([0; 32]);
        let published_at_unix_ms = clock::unix_ms();
        let entry = VersionEntry { version, manifest, manifest_offset: -1, artifact, published_at_unix_ms };
        match look(catalog, model, &entry).await? {
            (entry, None) => known.push(Known { entry, lacks: None }),
            (_, Some(cause)) => {
                warnings
                    .push(format!("version {version}, which only instances know, cannot be had: {cause}"));
            }
        }
    }
    known.sort_by_key(|known| known.entry.version);
    let champion = champion(model, basis, &known, witnesses, choice)?;
    Ok(assemble(basis, known, champion, warnings))
}

/// Whether a version can be fetched whole; gives its entry as it is now, and what is lacking.
pub(super) async fn look(
    catalog: &Catalog,
    model: &ModelName,
    entry: &VersionEntry,
) -> Result<(VersionEntry, Option<String>), PublishError> {
    let mut fetcher = Fetcher::new(catalog.kafka(), catalog.keys(), model);
    let mut entry = entry.clone();
    let looked = blocking("looking for a version", move || {
        let found = fetcher.manifest_and_offset(&entry, &|| false);
        let fetched = found.and_then(|(manifest, offset)| {
            entry.manifest_offset = offset;
            entry.artifact = manifest.manifest().artifact;
            let deadline = Some(Instant::now() + VERSION_DEADLINE);
            fetcher.artifact(&manifest, 0, &mut io::sink(), &Unwatched, deadline)
        });
        match fetched {
            Ok(()) => Ok((entry, None)),
            Err(FetchError::Refused(refusal)) => Ok((entry, Some(refusal.to_string()))),
            Err(error) => Err(error),
        }
    });
    looked.await.map_err(|error| match error {
        FetchError::Kafka(error) => error.into(),
        error => PublishError::ReadBack(error),
    })
}

/// Versions that no announcement names: what instances serve, the most served first, and what the operator names.
fn unnamed(
    named: &[VersionEntry],
    witnesses: &[Witness],
    choice: &Choice,
) -> Result<BTreeMap<Version, Digest>, RecoveryError> {
    let mut unnamed = BTreeMap::new();
    if let (Some(version), Some(manifest)) = (choice.champion, choice.manifest) {
        unnamed.insert(version, manifest);
    }
    for (version, manifest) in by_servings(witnesses) {
        unnamed.entry(version).or_insert(manifest);
    }
    unnamed.retain(|_, manifest| named.iter().all(|entry| entry.manifest != *manifest));
    for entry in named {
        let Some(manifest) = unnamed.remove(&entry.version) else { continue };
        if choice.champion == Some(entry.version) && choice.manifest == Some(manifest) {
            return Err(RecoveryError::NumberTaken { version: entry.version, manifest: entry.manifest });
        }
    }
    Ok(unnamed)
}

/// What instances serve, the most served first.
pub(super) fn by_servings(witnesses: &[Witness]) -> Vec<(Version, Digest)> {
    let mut servings: BTreeMap<(Version, Digest), usize> = BTreeMap::new();
    for served in witnesses.iter().filter_map(|witness| witness.served) {
        *servings.entry((served.version, served.manifest)).or_default() += 1;
    }
    let mut servings: Vec<_> = servings.into_iter().collect();
    servings.sort_by_key(|&((version, _), count)| std::cmp::Reverse((count, version)));
    servings.into_iter().map(|(served, _)| served).collect()
}

fn champion(
    model: &ModelName,
    basis: Option<&DesiredState>,
    known: &[Known],
    witnesses: &[Witness],
    choice: &Choice,
) -> Result<Version, RecoveryError> {
    let most_served = || {
        let served = by_servings(witnesses);
        let known = |served: &(Version, Digest)| known.iter().any(|known| known.entry.manifest == served.1);
        served.into_iter().find(known).map(|(version, _)| version)
    };
    let version = choice.champion.or_else(|| basis.map(|basis| basis.champion)).or_else(most_served);
    let Some(version) = version else {
        return Err(RecoveryError::NothingFound { model: model.clone() });
    };
    let can_be_had = || {
        let whole = known.iter().filter(|known| known.lacks.is_none());
        let numbers: Vec<_> = whole.map(|known| known.entry.version.to_string()).collect();
        if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
    };
    let Some(found) = known.iter().find(|known| known.entry.version == version) else {
        return Err(RecoveryError::UnknownVersion { version, can_be_had: can_be_had() });
    };
    if basis.is_some_and(|basis| basis.is_quarantined(version)) {
        return Err(RecoveryError::Quarantined { version });
    }
    match &found.lacks {
        Some(cause) if choice.champion != Some(version) => {
            Err(RecoveryError::ChampionLost { version, cause: cause.clone(), can_be_had: can_be_had() })
        }
        _ => Ok(version),
    }
}

fn assemble(
    basis: Option<&DesiredState>,
    known: Vec<Known>,
    champion: Version,
    mut warnings: Vec<String>,
) -> Restored {
    let mut state = basis.cloned().unwrap_or_else(|| DesiredState {
        v: DesiredState::VERSION,
        nonce: [0; 16],
        stamp: Stamp { author: String::new(), reason: String::new(), at_unix_ms: 0 },
        summary: String::new(),
        champion,
        challenger: None,
        pins: Vec::new(),
        quarantine: Vec::new(),
        versions: Vec::new(),
        inline: None,
    });
    (state.v, state.champion, state.inline) = (DesiredState::VERSION, champion, None);
    state.challenger.take_if(|challenger| challenger.version == champion);
    let wanted: Vec<_> = state.wanted().collect();
    let highest = known.last().map(|known| known.entry.version);
    state.versions.clear();
    for Known { entry, lacks } in known {
        let version = entry.version;
        let keeps = if wanted.contains(&version) {
            Some("it stays named, since somebody should run it: publish it again")
        } else if Some(version) == highest {
            Some("it stays named, so that its number is not given again")
        } else {
            None
        };
        if let Some(cause) = &lacks {
            let what = keeps.unwrap_or("it is not named any more");
            warnings.push(format!("version {version} cannot be had ({cause}); {what}"));
        }
        if lacks.is_none() || keeps.is_some() {
            state.versions.push(entry);
        }
    }
    Restored { state, warnings }
}
