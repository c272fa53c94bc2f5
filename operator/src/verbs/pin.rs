//! `modelcast pin`: hold instances on a version.

use modelcast_protocol::change::Change;

use super::change;
use crate::{
    cli::PinArgs,
    failure::{Exit, Failure},
    settings::Settings,
};

/// Pins; a pin of the same target is replaced.
pub(super) async fn run(settings: &Settings, args: &PinArgs) -> Result<Exit, Failure> {
    let change = Change::Pin { target: args.target.target(), version: args.version };
    change::announce(settings, &args.model, &change, &args.change).await
}
