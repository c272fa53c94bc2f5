//! The last resort: the model that an application carries with it serves where the disk has nothing that was live.
//!
//! Decides whether it may, and loads it. It is opened at each start, so that one that could not be used is said before
//! it is needed. Not for what Kafka says: that is installed whatever serves (see `install`).
//!
//! # Invariants
//! * It never takes an instance back: a file older than what was seen is not served, nor one that contradicts it.
//! * Its generation is remembered before it serves, as that of any announcement that something is done because of.
//! * Operators win: a version that is quarantined, or from which a pin holds this instance away, is not served.

use modelcast_protocol::{
    Generation, ModelName, Namespace, Version,
    fold::{Continuity, InForce, continuity},
    resolve::{Identity, Role, resolve},
};
use thiserror::Error;
use tracing::{info, warn};

use super::{cache::DecodeMark, install::Installer};
use crate::{
    admission::Refusal,
    embedded::{Embedded, EmbeddedError, EmbeddedVersion},
    loaded::{LoadedModel, Origin},
    with_causes,
};

/// What an application carries with it, and for whom.
pub(super) struct LastResort<'a> {
    pub(super) embedded: &'a Embedded,
    pub(super) namespace: &'a Namespace,
    pub(super) identity: &'a Identity,
}

/// Why it does not serve.
#[derive(Debug, Error)]
enum NotServed {
    /// It cannot be used.
    #[error(transparent)]
    Unusable(#[from] EmbeddedError),
    /// It is of something else.
    #[error("it is model {model} of namespace {namespace}")]
    Other {
        /// Its model.
        model: ModelName,
        /// Where it was announced.
        namespace: Namespace,
    },
    /// What this instance has seen is newer, or says otherwise.
    #[error("generation {seen} was seen here, and it is of {generation}: pull the model again")]
    NotNewer {
        /// Its generation.
        generation: Generation,
        /// What was seen.
        seen: Generation,
    },
    /// Its announcement holds this instance on another version.
    #[error("it is version {version}, and this instance is pinned to {pinned}")]
    PinnedAway {
        /// Its version.
        version: Version,
        /// The pin's.
        pinned: Version,
    },
    /// Decoding it ended the process before.
    #[error("decoding it ended this process before")]
    Crashed,
    /// A check of admission said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its generation cannot be remembered.
    #[error("the state folder cannot be written")]
    NotRemembered(#[from] std::io::Error),
}

/// Serves what was live last; else, what the application carries with it. Gives the reason why that does not serve,
/// where nothing else does.
pub(super) fn serve_what_is_here(installer: &Installer, resort: Option<&LastResort<'_>>) -> Option<String> {
    let model = installer.live.name();
    let opened = resort.map(|resort| resort.open(model, installer));
    let last_known_good = installer.last_known_good();
    let (loaded, trouble) = match (last_known_good, opened.zip(resort)) {
        (Some(loaded), Some((Err(error), _))) => (Some(loaded), Some(with_causes(&error))),
        (Some(loaded), _) => (Some(loaded), None),
        (None, Some((opened, resort))) => match opened.and_then(|version| resort.load(version, installer)) {
            Ok(loaded) => (Some(loaded), None),
            Err(error) => (None, Some(with_causes(&error))),
        },
        (None, None) => (None, None),
    };
    if let Some(cause) = &trouble {
        warn!(%model, cause, "the embedded version cannot serve");
    }
    match loaded {
        Some(loaded) => serve(installer, loaded),
        None => info!(%model, "nothing on disk to serve; not ready until a version was admitted"),
    }
    trouble.map(|cause| format!("the embedded version cannot serve: {cause}"))
}

fn serve(installer: &Installer, loaded: LoadedModel) {
    let (model, version, generation) = (installer.live.name(), loaded.version(), loaded.generation());
    match loaded.origin() {
        Origin::Embedded => {
            warn!(%model, %version, %generation, "embedded version serves until there is news: nothing on disk was live");
        }
        Origin::Kafka | Origin::Fixed => {
            info!(%model, %version, %generation, "last known good version serves until there is news");
        }
    }
    installer.live.serve(loaded.into());
}

impl LastResort<'_> {
    /// Verifies its signatures, and that it is this instance's to serve.
    fn open(&self, model: &ModelName, installer: &Installer) -> Result<EmbeddedVersion, NotServed> {
        let version = self.embedded.open(&installer.keys)?;
        let frame = &version.announcement().frame;
        if frame.model != *model || frame.namespace != *self.namespace {
            return Err(NotServed::Other { model: frame.model.clone(), namespace: frame.namespace.clone() });
        }
        Ok(version)
    }

    fn load(&self, version: EmbeddedVersion, installer: &Installer) -> Result<LoadedModel, NotServed> {
        let (entry, announcement) = (version.entry().clone(), version.announcement().clone());
        let generation = announcement.frame.generation;
        let pin = announcement.body.as_ref().ok().and_then(|state| {
            let wanted = resolve(installer.live.name(), state, self.identity)?;
            (wanted.role == Role::Pinned && wanted.entry.manifest != entry.manifest)
                .then_some(wanted.entry.version)
        });
        if let Some(pinned) = pin {
            return Err(NotServed::PinnedAway { version: entry.version, pinned });
        }
        if installer.cache.crashes().iter().any(|mark| mark.manifest == entry.manifest) {
            return Err(NotServed::Crashed);
        }
        // It is in no topic that this instance reads; compared with what was seen it is an announcement all the same.
        let in_force = InForce { announcement, offset: -1, bytes: Vec::new() };
        let seen = installer.held();
        match continuity(seen, Some(&in_force)) {
            Continuity::Same | Continuity::Advanced => {}
            Continuity::Lost | Continuity::Forked => {
                let seen = seen.map_or(Generation::ZERO, |held| held.generation);
                return Err(NotServed::NotNewer { generation, seen });
            }
        }
        if installer.cache.seen() != Some(in_force.held()) {
            installer.cache.remember(in_force.held())?;
        }
        installer.show_held();
        let verified = installer.verify(version.fetched(&installer.policy)?)?;
        let mark = DecodeMark { version: entry.version, manifest: entry.manifest };
        Ok(installer.decode(verified, mark, generation, Origin::Embedded)?)
    }
}

#[cfg(test)]
mod tests;
