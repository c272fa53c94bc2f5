//! `modelcast unpin`: let go of what a pin with the very same target holds.

use modelcast_protocol::change::Change;

use super::change;
use crate::{
    cli::UnpinArgs,
    failure::{Exit, Failure},
    settings::Settings,
};

/// Unpins; when nothing is pinned by that target, the pins there are are listed.
pub(super) async fn run(settings: &Settings, args: &UnpinArgs) -> Result<Exit, Failure> {
    let change = Change::Unpin { target: args.target.target() };
    change::announce(settings, &args.model, &change, &args.change).await
}
