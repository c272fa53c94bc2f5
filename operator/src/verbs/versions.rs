//! `modelcast versions MODEL`: what there is to run, and what each version is worth.

use std::collections::BTreeMap;

use modelcast::{Catalog, FetchError};
use modelcast_protocol::{ModelName, Version, desired::DesiredState};

use crate::{
    cli::VersionsArgs,
    failure::{Exit, Failure},
    session,
    settings::Settings,
    stdout,
    table::Look,
    version_list::{self, Described},
};

/// Lists the versions.
pub(super) async fn run(settings: &Settings, args: &VersionsArgs) -> Result<Exit, Failure> {
    let catalog = session::catalog(settings).await?;
    let (fold, history) = catalog.history(&args.model).await?;
    let in_force = session::in_force(settings, &fold, &args.model).await?;
    let state = session::understood(in_force)?;
    let described = describe(&catalog, &args.model, state).await;
    let publishers = version_list::publishers(&history);
    let list = version_list::list(in_force, state, &publishers, described);
    if args.json {
        stdout::json(&list)?;
    } else {
        stdout::text(&version_list::render(&list, Look::of_stdout()))?;
    }
    Ok(Exit::Done)
}

/// What each manifest says; one that cannot be had does not keep the others from being shown.
async fn describe(
    catalog: &Catalog,
    model: &ModelName,
    state: &DesiredState,
) -> BTreeMap<Version, Described> {
    let mut described = BTreeMap::new();
    for entry in state.versions.iter().rev() {
        let read = catalog.manifest(model, entry).await;
        // Sixteen times the deadline of a broker that went away is too long to wait for a list.
        let gone = matches!(&read, Err(FetchError::Kafka(error)) if error.is_transient());
        let what = match read {
            Ok(manifest) => Described::by(manifest.manifest()),
            Err(error) => Described::Unavailable { manifest_unavailable: error.to_string() },
        };
        described.insert(entry.version, what);
        if gone {
            break;
        }
    }
    described
}
