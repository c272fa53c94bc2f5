//! `modelcast quarantine`: forbid a version, or allow it again.

use modelcast_protocol::change::Change;

use super::change;
use crate::{
    cli::QuarantineArgs,
    failure::{Exit, Failure},
    settings::Settings,
};

/// Quarantines or releases; a champion needs to be told what runs instead.
pub(super) async fn run(settings: &Settings, args: &QuarantineArgs) -> Result<Exit, Failure> {
    let version = args.version;
    let change = if args.release {
        Change::Release { version }
    } else {
        Change::Quarantine { version, instead: args.instead }
    };
    change::announce(settings, &args.model, &change, &args.change).await
}
