//! The listening socket, with a cap on connections and on how long one may be idle; and how long the first bytes of a
//! conversation may take, within TLS where there is TLS.
//!
//! Without them, connections that say nothing would take memory and file descriptors without bound. What is over the
//! cap waits in the system's backlog.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

use crate::settings::HttpSettings;

/// As many as tell HTTP/1.1 from HTTP/2; from there on hyper has deadlines of its own.
const FIRST_BYTES: usize = 24;
/// Until it is tried again after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that accepts while there is room.
#[derive(Debug)]
pub(crate) struct CappedListener {
    listener: TcpListener,
    room: Arc<Semaphore>,
    idle_max: Duration,
}

/// A connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    idle_max: Duration,
    idle: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A stream whose first bytes have a deadline: who sends them one by one is not idle.
#[derive(Debug)]
pub(crate) struct FirstBytes<S> {
    stream: S,
    /// The deadline and how many are there, until all are.
    first: Option<(Pin<Box<Sleep>>, usize)>,
}

impl CappedListener {
    /// A listener over a bound socket.
    #[must_use]
    pub(crate) fn new(listener: TcpListener, http: &HttpSettings) -> Self {
        Self {
            listener,
            room: Arc::new(Semaphore::new(http.connections_max)),
            idle_max: Duration::from_secs(http.idle_timeout_seconds),
        }
    }

    /// The next connection, once there is room for it. May be given up and called again.
    pub(crate) async fn accept(&self) -> (Connection, SocketAddr) {
        // The semaphore is never closed: there is always a permit in the end.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, peer) = loop {
            match self.listener.accept().await {
                Ok(accepted) => break accepted,
                // The peer is gone already, or there is no file descriptor left: others may end meanwhile.
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        // Answers are small and whole: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot switch off Nagle's algorithm");
        }
        let (idle_max, idle) = (self.idle_max, Box::pin(sleep(self.idle_max)));
        (Connection { stream, idle_max, idle, _permit: permit }, peer)
    }
}

impl Connection {
    fn moved<T>(&mut self, done: &io::Result<T>) {
        if done.is_ok() {
            let until = Instant::now() + self.idle_max;
            self.idle.as_mut().reset(until);
        }
    }

    /// The same of a write; while it waits, nobody may be looking for what there is to read.
    fn written(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(done) = done {
            self.moved(&done);
            return Poll::Ready(done);
        }
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S> FirstBytes<S> {
    /// The stream, whose first bytes may take so long from now on.
    pub(crate) fn within(deadline: Duration, stream: S) -> Self {
        Self { stream, first: Some((Box::pin(sleep(deadline)), 0)) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, to) {
            this.moved(&done);
            return Poll::Ready(done);
        }
        ready!(this.idle.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write(cx, from);
        this.written(cx, done)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write_vectored(cx, from);
        this.written(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = to.filled().len();
        let done = Pin::new(&mut this.stream).poll_read(cx, to);
        let Some((until, read)) = &mut this.first else { return done };
        *read = read.saturating_add(to.filled().len().saturating_sub(before));
        if *read >= FIRST_BYTES {
            this.first = None;
        } else if done.is_pending() {
            ready!(until.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
