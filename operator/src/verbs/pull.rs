//! `modelcast pull MODEL --out FILE`: write a version into one file, for an application that carries its model with it.
//!
//! The file is put together beside FILE, admitted from there as an application would, synced and renamed: FILE is a
//! whole version that is good, or what it was before.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use modelcast_protocol::change::ChangeError;
use tempfile::NamedTempFile;

use super::{inspect, verify};
use crate::{
    cli::PullArgs,
    failure::{Exit, Failure},
    progress::Progress,
    session,
    settings::Settings,
};

/// Fetches, verifies, writes and shows the version.
pub(super) async fn run(settings: &Settings, args: &PullArgs) -> Result<Exit, Failure> {
    let folder = folder_of(&args.out);
    let beside = beside(&folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let catalog = session::catalog(settings).await?;
    let fold = catalog.fold().await?;
    let in_force = session::in_force(settings, &fold, &args.model).await?;
    let state = session::understood(in_force)?;
    let entry = verify::entry(state, args.version.unwrap_or(state.champion))?;
    if let Some(quarantined) = state.quarantine.iter().find(|one| one.version == entry.version) {
        let (version, stamp) = (entry.version, &quarantined.stamp);
        let (author, reason) = (stamp.author.clone(), stamp.reason.clone());
        let error = ChangeError::Quarantined { version, author, reason };
        return Err(Failure::new(Exit::Refused, anyhow!(error)));
    }
    let manifest = catalog.manifest(&args.model, entry).await?;
    let progress = Progress::start(manifest.manifest().size_bytes);
    let file = beside.as_file().try_clone()?;
    let pulled = catalog.pull(in_force, entry, file, progress.listener()).await;
    progress.end();
    pulled?;
    let report = inspect::examine(beside.path(), &args.out, settings.keys.trusted()?).await?;
    if report.is_good() {
        let named = || format!("cannot write {}", args.out.display());
        keep(beside, &args.out, &folder).with_context(named)?;
    }
    inspect::show(&report, args.json)?;
    Ok(if report.is_good() { Exit::Done } else { Exit::Failed })
}

fn folder_of(out: &Path) -> PathBuf {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// A file that goes with this process unless it is renamed; whoever may read other files here may read it.
fn beside(folder: &Path) -> io::Result<NamedTempFile> {
    let everybody = Permissions::from_mode(0o666); // less the umask
    tempfile::Builder::new().prefix(".modelcast-pull-").permissions(everybody).tempfile_in(folder)
}

fn keep(beside: NamedTempFile, out: &Path, folder: &Path) -> io::Result<()> {
    beside.as_file().sync_all()?;
    beside.persist(out)?;
    File::open(folder)?.sync_all()
}
