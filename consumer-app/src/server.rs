//! The HTTP server from its bound socket to its last answer.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};
use tracing::{info, warn};

use crate::{connections::CappedListener, router::router, served::ServedModels, settings::HttpSettings};

/// Serves until `stop` is ready, then takes no more connections and lets requests under way end, up to the deadline
/// of the settings.
///
/// # Errors
/// When the socket cannot be served from.
pub async fn serve(
    listener: TcpListener,
    models: Arc<ServedModels>,
    http: HttpSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let drain = Duration::from_secs(http.drain_timeout_seconds);
    let idle_max = Duration::from_secs(http.idle_timeout_seconds);
    let listener = CappedListener::new(listener, http.connections_max, idle_max);
    let (closing, is_closing) = watch::channel(false);
    let routes = router(models, http, is_closing.clone());
    let stopped = async move {
        stop.await;
        info!("shutting down: finishing requests under way");
        closing.send_replace(true);
    };
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stopped);
    let deadline = async move {
        let mut is_closing = is_closing;
        // An error means that the sender is gone, and that is after it was set.
        let _ = is_closing.wait_for(|closing| *closing).await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        served = serving => served,
        () = deadline => {
            warn!(drain_seconds = drain.as_secs(), "requests were still under way at the deadline");
            Ok(())
        }
    }
}

/// Ready at the first SIGTERM or SIGINT.
///
/// # Errors
/// When the system takes no signal handler.
pub fn signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("received SIGTERM"),
            _ = interrupt.recv() => info!("received SIGINT"),
        }
    })
}
