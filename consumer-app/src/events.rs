//! `/models/{model}/events`: server-sent events, one `state` on each change.
//!
//! # Invariants
//! * A slow reader gets the latest state, not each one: nothing is queued for it.
//! * A stream ends when the application shuts down.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use tokio::sync::watch;

use crate::{
    refusal::Refusal,
    router::{Asked, Shared},
    served::ServedModel,
    server::Ending,
    status::ModelStatus,
};

/// How often a comment is sent on a quiet stream, so that both ends notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /models/{model}/events`.
///
/// # Errors
/// [`Refusal::UnknownModel`].
pub async fn stream(State(shared): State<Shared>, path: Asked) -> Result<impl IntoResponse, Refusal> {
    let served = Arc::clone(shared.models.model(&path.model)?);
    let mut changes = served.live().watch();
    changes.mark_changed(); // the first event is the state as it is
    let events = stream::unfold((served, changes, shared.ending.clone()), next);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

type Follower = (Arc<ServedModel>, watch::Receiver<modelcast::ModelState>, watch::Receiver<Ending>);

async fn next((served, mut changes, mut ending): Follower) -> Option<(Result<Event, Infallible>, Follower)> {
    let changed = tokio::select! {
        biased;
        _ = ending.wait_for(|ending| *ending == Ending::Closing) => false,
        changed = changes.changed() => changed.is_ok(),
    };
    if !changed {
        return None;
    }
    let event = Event::default().event("state").json_data(ModelStatus::of(&served)).ok()?;
    Some((Ok(event), (served, changes, ending)))
}
