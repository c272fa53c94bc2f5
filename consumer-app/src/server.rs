//! The HTTP server from its bound socket to its last answer: HTTP/1.1 and HTTP/2 on one port, with and without TLS.
//!
//! # Invariants
//! * Nothing that one peer does or leaves undone holds up accepting others: handshakes run in their connection's task.
//! * At a shutdown readiness goes first, then the port, then each connection once its requests have ended.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use futures::FutureExt as _;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

use crate::{
    connections::{CappedListener, Connection, FirstBytes},
    router::router,
    served::ServedModels,
    settings::HttpSettings,
    tls::Tls,
};

/// How long a peer may take to answer a ping of HTTP/2.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that a peer reset before they were handled, and those that it broke: more of them end its connection, so
/// that opening and resetting streams (CVE-2023-44487) costs the peer a connection and us next to nothing.
const RESETS_PENDING_MAX: usize = 20;
const RESETS_OURS_MAX: usize = 256;
/// What a peer of HTTP/2 may send ahead on one stream, and on so many streams of a connection together: a body that
/// waits for room does not hold up the others of its connection.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const WINDOWS_OF_CONNECTION: u32 = 8;

/// How far the end of the application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It serves.
    No,
    /// It serves, and is not ready any more: who balances load should look elsewhere.
    Announced,
    /// It takes no more connections, and what is under way ends.
    Closing,
}

/// What each connection is served with.
struct Service {
    builder: Builder<TokioExecutor>,
    routes: Router,
    tls: Option<Tls>,
    /// How long a TLS handshake may take, and after it the first bytes.
    begin_max: Duration,
    ending: watch::Receiver<Ending>,
}

/// Serves until `stop` is ready, then takes no more connections and lets requests under way end, up to the deadline
/// of the settings.
///
/// # Errors
/// When the certificates cannot be used.
pub async fn serve(
    listener: TcpListener,
    models: Arc<ServedModels>,
    http: HttpSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (ending, is_ending) = watch::channel(Ending::No);
    let (delay, drain) = (seconds(http.drain_delay_seconds), seconds(http.drain_timeout_seconds));
    let tls = Tls::start(&http.tls).map_err(io::Error::other)?;
    let listener = CappedListener::new(listener, &http);
    let service = Arc::new(Service {
        builder: builder(&http),
        tls,
        begin_max: seconds(http.header_timeout_seconds),
        ending: is_ending.clone(),
        routes: router(models, http, is_ending),
    });
    let connections = GracefulShutdown::new();
    let stopped = async {
        stop.await;
        info!(delay_seconds = delay.as_secs(), "shutting down: not ready any more");
        ending.send_replace(Ending::Announced);
        sleep(delay).await;
    };
    accept_until(stopped, &listener, &service, &connections).await;
    info!("shutting down: finishing requests under way");
    ending.send_replace(Ending::Closing);
    drop(listener);
    if timeout(drain, connections.shutdown()).await.is_err() {
        warn!(drain_seconds = drain.as_secs(), "requests were still under way at the deadline");
    }
    Ok(())
}

/// Serves these routes alone until `stop` is ready, without TLS and under the limits of the settings: for programs that
/// answer nobody but whoever watches them.
pub(crate) async fn serve_routes(
    listener: TcpListener,
    routes: Router,
    http: &HttpSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let listener = CappedListener::new(listener, http);
    let (builder, begin_max) = (builder(http), seconds(http.header_timeout_seconds));
    // Nothing here outlasts its connection's own graceful end.
    let (_ending, is_ending) = watch::channel(Ending::No);
    let service = Arc::new(Service { builder, tls: None, begin_max, ending: is_ending, routes });
    let connections = GracefulShutdown::new();
    accept_until(stop, &listener, &service, &connections).await;
    drop(listener);
    if timeout(seconds(http.drain_timeout_seconds), connections.shutdown()).await.is_err() {
        warn!("requests were still under way at the deadline");
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

async fn accept_until(
    stopped: impl Future<Output = ()>,
    listener: &CappedListener,
    service: &Arc<Service>,
    connections: &GracefulShutdown,
) {
    let mut stopped = std::pin::pin!(stopped.fuse());
    loop {
        let (connection, peer) = tokio::select! {
            biased;
            () = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        // Watched from here on, so that a shutdown finds it wherever it stands.
        let (service, watcher) = (Arc::clone(service), connections.watcher());
        tokio::spawn(async move { service.converse(connection, peer, watcher).await });
    }
}

fn builder(http: &HttpSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(seconds(http.header_timeout_seconds))
        .max_buf_size(http.headers_max_bytes)
        .max_headers(http.headers_max);
    let bodies_max_bytes = u32::try_from(http.bodies_max_bytes).unwrap_or(u32::MAX);
    let connection_window = (STREAM_WINDOW_BYTES * WINDOWS_OF_CONNECTION).min(bodies_max_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES.min(bodies_max_bytes))
        .initial_connection_window_size(connection_window)
        .max_header_list_size(u32::try_from(http.headers_max_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(http.streams_max)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_OURS_MAX)
        .keep_alive_interval(seconds(http.ping_interval_seconds))
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

impl Service {
    async fn converse(&self, connection: Connection, peer: SocketAddr, watcher: Watcher) {
        let Some(tls) = &self.tls else { return self.answer(connection, peer, watcher).await };
        let mut ending = self.ending.clone();
        let shaken = tokio::select! {
            shaken = timeout(self.begin_max, tls.accept(connection)) => shaken,
            // Nothing was asked yet.
            _ = ending.wait_for(|ending| *ending == Ending::Closing) => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.answer(stream, peer, watcher).await,
            Ok(Err(error)) => debug!(%peer, %error, "no TLS came about"),
            Err(_) => debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn answer<S>(&self, stream: S, peer: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let routes =
            self.routes.clone().map_request(|request: axum::http::Request<_>| request.map(Body::new));
        let stream = TokioIo::new(FirstBytes::within(self.begin_max, stream));
        let served = self.builder.serve_connection(stream, TowerToHyperService::new(routes));
        if let Err(error) = watcher.watch(served.into_owned()).await {
            debug!(%peer, error, "the connection broke");
        }
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
