//! How a desired state changes: each thing that a publisher or an operator can do, as a pure function.
//!
//! Takes the state in force and gives the next one, or says why that change makes no sense. Announcing it is the
//! client's. The same change can be applied again after a conflict, to the state that won.

use thiserror::Error;

use crate::{
    codec::Record as _,
    desired::{Challenger, Cohort, DesiredState, Inline, Pin, PinTarget, Quarantined, Stamp, VersionEntry},
    digest::Digest,
    limits::{QUARANTINE_MAX, VERSIONS_KEPT},
    number::Version,
};

/// One change of a model's desired state.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Introduce a version.
    Publish(NewVersion),
    /// Make an older version the champion.
    Rollback {
        /// Which; the newest one below the champion that is not quarantined unless given.
        to: Option<Version>,
        /// Whether the version that is left may come back.
        left: LeftVersion,
    },
    /// Hold instances on a version.
    Pin {
        /// Whom.
        target: PinTarget,
        /// On which.
        version: Version,
    },
    /// Let go of instances.
    Unpin {
        /// Whom.
        target: PinTarget,
    },
    /// Forbid a version.
    Quarantine {
        /// Which.
        version: Version,
        /// What runs instead, where it is the champion.
        instead: Option<Version>,
    },
    /// Allow a version again.
    Release {
        /// Which.
        version: Version,
    },
}

/// What a publisher introduces.
#[derive(Debug, Clone, PartialEq)]
pub struct NewVersion {
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Where the manifest stands in the model's blobs topic.
    pub manifest_offset: i64,
    /// Digest of its artifact.
    pub artifact: Digest,
    /// The signed manifest, to carry along, when it is small.
    pub inline_manifest: Option<Vec<u8>>,
    /// The artifact, to carry along with the manifest, when it is small.
    pub inline_artifact: Option<Vec<u8>>,
    /// Who runs it.
    pub role: NewRole,
}

/// Who runs a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRole {
    /// Everybody.
    Champion,
    /// A cohort.
    Challenger(Cohort),
}

/// What becomes of the version that a rollback leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftVersion {
    /// It is quarantined, so that the next scheduled run does not bring it back.
    Quarantine,
    /// It may be published again.
    Keep,
}

/// Why a change makes no sense for the state in force.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Only a publish can found a model.
    #[error("nothing has been announced for this model yet; publish a version first")]
    NoModel,
    /// The version is not among those kept.
    #[error("version {version} is not among the versions kept ({known}); see `modelcast versions`")]
    UnknownVersion {
        /// Which.
        version: Version,
        /// The ones there are.
        known: String,
    },
    /// The version is forbidden.
    #[error(
        "version {version} is quarantined by {author}: {reason}; `modelcast quarantine --release` allows it"
    )]
    Quarantined {
        /// Which.
        version: Version,
        /// Who forbade it.
        author: String,
        /// Why.
        reason: String,
    },
    /// The very same artifact is forbidden.
    #[error(
        "this artifact is the quarantined version {version} ({reason}); `modelcast quarantine --release` allows it"
    )]
    QuarantinedArtifact {
        /// As which version.
        version: Version,
        /// Why.
        reason: String,
    },
    /// There is nothing to go back to.
    #[error("no version older than {champion} is kept and not quarantined")]
    NothingOlder {
        /// The champion.
        champion: Version,
    },
    /// A quarantine of what runs must name what runs instead.
    #[error("version {version} is {wanted_by}: say what runs instead, or unpin it first")]
    StillWanted {
        /// Which.
        version: Version,
        /// Who runs it.
        wanted_by: String,
    },
    /// The state after it would break a limit: too many pins, a reason that is too long.
    #[error("the change cannot be announced: {cause}")]
    NotValid {
        /// What is wrong with the state after it.
        cause: String,
    },
    /// The state is as asked already.
    #[error("nothing to change: {what}")]
    AlreadySo {
        /// What is so.
        what: String,
    },
}

impl Change {
    /// The state after this change. `nonce` is 16 fresh random bytes.
    ///
    /// # Errors
    /// [`ChangeError`] when the change makes no sense for `state`.
    pub fn apply(
        &self,
        state: Option<&DesiredState>,
        stamp: &Stamp,
        nonce: [u8; 16],
    ) -> Result<DesiredState, ChangeError> {
        let next = self.changed(state, stamp, nonce)?;
        next.validate().map_err(|error| ChangeError::NotValid { cause: error.to_string() })?;
        Ok(next)
    }

    fn changed(
        &self,
        state: Option<&DesiredState>,
        stamp: &Stamp,
        nonce: [u8; 16],
    ) -> Result<DesiredState, ChangeError> {
        let mut next = match (self, state) {
            (Self::Publish(new), None) => return Ok(found(new, stamp, nonce)),
            (_, None) => return Err(ChangeError::NoModel),
            (_, Some(state)) => {
                let v = DesiredState::VERSION;
                DesiredState { v, nonce, stamp: stamp.clone(), inline: None, ..state.clone() }
            }
        };
        next.summary = match self {
            Self::Publish(new) => publish(&mut next, new, stamp)?,
            Self::Rollback { to, left } => rollback(&mut next, *to, *left, stamp)?,
            Self::Pin { target, version } => pin(&mut next, target, *version, stamp)?,
            Self::Unpin { target } => unpin(&mut next, target)?,
            Self::Quarantine { version, instead } => quarantine(&mut next, *version, *instead, stamp)?,
            Self::Release { version } => release(&mut next, *version)?,
        };
        trim(&mut next);
        Ok(next)
    }
}

fn found(new: &NewVersion, stamp: &Stamp, nonce: [u8; 16]) -> DesiredState {
    let entry = entry(new, Version::FIRST, stamp);
    DesiredState {
        v: DesiredState::VERSION,
        nonce,
        stamp: stamp.clone(),
        summary: "publish version 1".to_owned(),
        champion: Version::FIRST,
        challenger: None,
        pins: Vec::new(),
        quarantine: Vec::new(),
        versions: vec![entry],
        inline: inline(new, Version::FIRST),
    }
}

fn publish(next: &mut DesiredState, new: &NewVersion, stamp: &Stamp) -> Result<String, ChangeError> {
    if let Some(same) = next.quarantine.iter().find(|quarantined| quarantined.artifact == new.artifact) {
        let (version, reason) = (same.version, same.stamp.reason.clone());
        return Err(ChangeError::QuarantinedArtifact { version, reason });
    }
    let version = next.versions.last().map_or(Version::FIRST, |entry| entry.version.next());
    next.versions.push(entry(new, version, stamp));
    next.inline = inline(new, version);
    match &new.role {
        NewRole::Champion => {
            next.champion = version;
            Ok(format!("publish version {version}"))
        }
        NewRole::Challenger(cohort) => {
            next.challenger = Some(Challenger { version, cohort: cohort.clone() });
            Ok(format!("publish version {version} as challenger"))
        }
    }
}

fn rollback(
    next: &mut DesiredState,
    to: Option<Version>,
    left: LeftVersion,
    stamp: &Stamp,
) -> Result<String, ChangeError> {
    let champion = next.champion;
    let older = |entry: &&VersionEntry| entry.version < champion && !next.is_quarantined(entry.version);
    let newest_older = next.versions.iter().rev().find(older).map(|entry| entry.version);
    let to = to.or(newest_older).ok_or(ChangeError::NothingOlder { champion })?;
    allowed(next, to)?;
    if to == champion {
        return Err(ChangeError::AlreadySo { what: format!("version {to} is the champion") });
    }
    next.champion = to;
    if left == LeftVersion::Quarantine {
        forbid(next, champion, stamp)?;
    }
    Ok(format!("roll back from version {champion} to {to}"))
}

fn pin(
    next: &mut DesiredState,
    target: &PinTarget,
    version: Version,
    stamp: &Stamp,
) -> Result<String, ChangeError> {
    allowed(next, version)?;
    if next.pins.iter().any(|pin| pin.target == *target && pin.version == version) {
        return Err(ChangeError::AlreadySo { what: format!("{target} is pinned to version {version}") });
    }
    next.pins.retain(|pin| pin.target != *target);
    next.pins.push(Pin { target: target.clone(), version, stamp: stamp.clone() });
    Ok(format!("pin {target} to version {version}"))
}

fn unpin(next: &mut DesiredState, target: &PinTarget) -> Result<String, ChangeError> {
    let before = next.pins.len();
    next.pins.retain(|pin| pin.target != *target);
    if next.pins.len() == before {
        return Err(ChangeError::AlreadySo { what: format!("{target} is not pinned") });
    }
    Ok(format!("unpin {target}"))
}

fn quarantine(
    next: &mut DesiredState,
    version: Version,
    instead: Option<Version>,
    stamp: &Stamp,
) -> Result<String, ChangeError> {
    let summary = match instead {
        Some(instead) if next.champion == version => {
            allowed(next, instead)?;
            next.champion = instead;
            format!("quarantine version {version}, run {instead} instead")
        }
        _ => format!("quarantine version {version}"),
    };
    forbid(next, version, stamp)?;
    Ok(summary)
}

fn release(next: &mut DesiredState, version: Version) -> Result<String, ChangeError> {
    if !next.is_quarantined(version) {
        return Err(ChangeError::AlreadySo { what: format!("version {version} is not quarantined") });
    }
    next.quarantine.retain(|quarantined| quarantined.version != version);
    Ok(format!("release version {version} from quarantine"))
}

/// Forbids a version that nobody should run any more.
fn forbid(next: &mut DesiredState, version: Version, stamp: &Stamp) -> Result<(), ChangeError> {
    let artifact = known(next, version)?.artifact;
    if next.is_quarantined(version) {
        return Err(ChangeError::AlreadySo { what: format!("version {version} is quarantined") });
    }
    // A challenger that turns out bad just ends; a pin is somebody's word and is not taken back unseen.
    next.challenger.take_if(|challenger| challenger.version == version);
    let wanted_by = if next.champion == version {
        Some("the champion".to_owned())
    } else {
        let pin = next.pins.iter().find(|pin| pin.version == version);
        pin.map(|pin| format!("pinned for {} by {}", pin.target, pin.stamp.author))
    };
    if let Some(wanted_by) = wanted_by {
        return Err(ChangeError::StillWanted { version, wanted_by });
    }
    next.quarantine.push(Quarantined { version, artifact, stamp: stamp.clone() });
    let surplus = next.quarantine.len().saturating_sub(QUARANTINE_MAX);
    next.quarantine.drain(..surplus);
    Ok(())
}

fn known(state: &DesiredState, version: Version) -> Result<&VersionEntry, ChangeError> {
    state.entry(version).ok_or_else(|| {
        let known: Vec<_> = state.versions.iter().map(|entry| entry.version.to_string()).collect();
        ChangeError::UnknownVersion { version, known: known.join(", ") }
    })
}

fn allowed(state: &DesiredState, version: Version) -> Result<(), ChangeError> {
    known(state, version)?;
    match state.quarantine.iter().find(|quarantined| quarantined.version == version) {
        Some(Quarantined { stamp, .. }) => Err(ChangeError::Quarantined {
            version,
            author: stamp.author.clone(),
            reason: stamp.reason.clone(),
        }),
        None => Ok(()),
    }
}

/// Keeps the last 16 versions and those that somebody should run.
fn trim(next: &mut DesiredState) {
    let wanted: Vec<_> = next.wanted().collect();
    let surplus = next.versions.len().saturating_sub(VERSIONS_KEPT);
    let mut place = 0;
    next.versions.retain(|entry| {
        place += 1;
        place > surplus || wanted.contains(&entry.version)
    });
}

fn entry(new: &NewVersion, version: Version, stamp: &Stamp) -> VersionEntry {
    VersionEntry {
        version,
        manifest: new.manifest,
        manifest_offset: new.manifest_offset,
        artifact: new.artifact,
        published_at_unix_ms: stamp.at_unix_ms,
    }
}

fn inline(new: &NewVersion, version: Version) -> Option<Inline> {
    let manifest = new.inline_manifest.clone()?;
    Some(Inline { version, manifest, artifact: new.inline_artifact.clone() })
}

impl std::fmt::Display for PinTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Instance(instance) => write!(f, "instance {instance}"),
            Self::Label(name, value) => write!(f, "label {name}={value}"),
            Self::All => f.write_str("all instances"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { author: "ada".into(), reason: "because".into(), at_unix_ms: 1 }
    }

    fn new(name: &str) -> NewVersion {
        let digest = Digest::of(name.as_bytes());
        NewVersion {
            manifest: digest,
            manifest_offset: 0,
            artifact: digest,
            inline_manifest: None,
            inline_artifact: None,
            role: NewRole::Champion,
        }
    }

    fn after(changes: &[Change]) -> Result<DesiredState, ChangeError> {
        let mut state: Option<DesiredState> = None;
        for change in changes {
            let next = change.apply(state.as_ref(), &stamp(), [0; 16])?;
            next.validate().unwrap();
            state = Some(next);
        }
        Ok(state.unwrap())
    }

    fn publishes(count: u64) -> Vec<Change> {
        (1..=count).map(|number| Change::Publish(new(&number.to_string()))).collect()
    }

    fn version(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    fn with(count: u64, change: Change) -> Result<DesiredState, ChangeError> {
        after(&[publishes(count), vec![change]].concat())
    }

    #[test]
    fn versions_count_up_and_the_last_sixteen_are_kept() {
        let state = after(&publishes(20)).unwrap();
        assert_eq!((state.champion, state.versions.len()), (version(20), VERSIONS_KEPT));
        assert_eq!(state.versions[0].version, version(5));
    }

    #[test]
    fn a_pinned_version_is_kept_however_old() {
        let pin = Change::Pin { target: PinTarget::All, version: version(1) };
        let changes = [publishes(1), vec![pin], publishes(20)].concat();
        let state = after(&changes).unwrap();
        assert_eq!(state.versions[0].version, version(1));
        assert_eq!(state.versions.len(), VERSIONS_KEPT + 1);
    }

    #[test]
    fn a_rollback_quarantines_what_it_leaves_so_that_it_does_not_come_back() {
        let back = Change::Rollback { to: None, left: LeftVersion::Quarantine };
        let state = with(3, back.clone()).unwrap();
        assert_eq!(state.champion, version(2));
        assert!(state.is_quarantined(version(3)));
        let again = after(&[publishes(3), vec![back.clone(), Change::Publish(new("3"))]].concat());
        assert!(matches!(again, Err(ChangeError::QuarantinedArtifact { .. })));
        let twice = after(&[publishes(3), vec![back.clone(), back.clone()]].concat()).unwrap();
        assert_eq!(twice.champion, version(1));
        let thrice = after(&[publishes(3), vec![back.clone(), back.clone(), back]].concat());
        assert_eq!(thrice, Err(ChangeError::NothingOlder { champion: version(1) }));
    }

    #[test]
    fn a_version_number_is_never_used_twice() {
        let back = Change::Rollback { to: None, left: LeftVersion::Quarantine };
        let state = after(&[publishes(3), vec![back, Change::Publish(new("4"))]].concat()).unwrap();
        assert_eq!(state.champion, version(4));
    }

    #[test]
    fn what_runs_is_not_quarantined_unless_something_runs_instead() {
        let bare = Change::Quarantine { version: version(2), instead: None };
        assert!(matches!(with(2, bare.clone()), Err(ChangeError::StillWanted { .. })));
        let state = with(2, Change::Quarantine { version: version(2), instead: Some(version(1)) }).unwrap();
        assert_eq!(state.champion, version(1));
        let pin = Change::Pin { target: PinTarget::Label("zone".into(), "a".into()), version: version(2) };
        let pinned = after(&[publishes(3), vec![pin, bare]].concat());
        assert!(matches!(pinned, Err(ChangeError::StillWanted { .. })));
    }

    #[test]
    fn a_quarantined_version_cannot_be_wanted_until_it_is_released() {
        let forbid = Change::Quarantine { version: version(1), instead: None };
        let pin = Change::Pin { target: PinTarget::All, version: version(1) };
        let refused = after(&[publishes(2), vec![forbid.clone(), pin.clone()]].concat());
        assert!(matches!(refused, Err(ChangeError::Quarantined { .. })));
        let release = Change::Release { version: version(1) };
        assert!(after(&[publishes(2), vec![forbid, release, pin]].concat()).is_ok());
    }

    #[test]
    fn a_change_that_changes_nothing_says_so() {
        let pin = Change::Pin { target: PinTarget::All, version: version(1) };
        let twice = after(&[publishes(1), vec![pin.clone(), pin]].concat());
        assert!(matches!(twice, Err(ChangeError::AlreadySo { .. })));
        assert!(matches!(
            with(1, Change::Unpin { target: PinTarget::All }),
            Err(ChangeError::AlreadySo { .. })
        ));
        let unknown = with(1, Change::Pin { target: PinTarget::All, version: version(9) });
        assert!(matches!(unknown, Err(ChangeError::UnknownVersion { .. })));
    }
}
