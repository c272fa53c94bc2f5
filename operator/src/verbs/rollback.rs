//! `modelcast rollback`: an older version becomes the champion at a new generation.

use modelcast_protocol::change::{Change, LeftVersion};

use super::change;
use crate::{
    cli::RollbackArgs,
    failure::{Exit, Failure},
    settings::Settings,
};

/// Rolls back; the version that is left is quarantined unless it is to be kept.
pub(super) async fn run(settings: &Settings, args: &RollbackArgs) -> Result<Exit, Failure> {
    let left = if args.keep { LeftVersion::Keep } else { LeftVersion::Quarantine };
    change::announce(settings, &args.model, &Change::Rollback { to: args.to, left }, &args.change).await
}
