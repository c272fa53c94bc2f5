//! A fault proxy: stands between clients and one broker, and does to connections what networks do.
//!
//! The broker advertises the proxy's port to whom the faults are meant for; everybody else goes around it. Knows of
//! Kafka's protocol only the headers of its frames, to find the acknowledgements that it should lose, and to count
//! requests. What begins like TLS is passed on unread: there acknowledgements cannot be lost, nor requests counted.
//! Does not choose which faults, and when: that is the test's.
//!
//! # Invariants
//! * A fault holds from the moment it is set, for open connections too; [`Proxy::heal`] ends it at once.
//! * A connection that lost bytes is never used again: it is closed at the latest when the fault ends.
//! * At most some 0.6 MB of a connection are in memory, whatever it sends: frames are never collected.
//! * All ends with the handle: the port, the connections, the thread.

mod frames;
mod relay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How long the broker's machine may take to accept; then the client's connection is closed.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Before the next try when the system gives no connection: it is out of descriptors, and some will be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Kafka's `Produce` and `Fetch` requests.
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;

/// What is done to each connection. The default does nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Added each way; what is sent meanwhile follows as fast as it came.
    pub delay: Duration,
    /// At most so many bytes a second, each way.
    pub bytes_per_second: Option<NonZeroU64>,
    /// After exactly so many bytes of answers the connection is closed. Counted from when this is set, or from when
    /// the connection opens.
    pub cut_after_response_bytes: Option<u64>,
    /// Connections are accepted and read, and nothing arrives on either side. What lost bytes that way, or was opened
    /// meanwhile, is closed when it ends.
    pub black_hole: bool,
    /// Which acknowledgements of records are lost.
    pub lose_acks: LoseAcks,
}

/// Which answers to `Produce` are swallowed; with each, its connection is closed. The broker has done what it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoseAcks {
    /// None.
    #[default]
    No,
    /// So many from now on.
    Next(u32),
    /// Every one after so many from now on.
    After(u32),
    /// Every one.
    All,
}

/// What went through a proxy since it started: with it a test asserts that its fault really struck.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyCounts {
    /// Connections accepted.
    pub connections: u64,
    /// Of these, how many are open now.
    pub open: u64,
    /// Of these, how many a fault or [`Proxy::cut`] closed.
    pub cut: u64,
    /// Requests passed on to the broker, by Kafka's API key.
    pub requests: BTreeMap<i16, u64>,
    /// Bytes passed on to the broker.
    pub request_bytes: u64,
    /// Bytes of answers passed on to clients.
    pub response_bytes: u64,
    /// Acknowledgements swallowed.
    pub lost_acks: u64,
}

impl ProxyCounts {
    /// `Produce` requests passed on to the broker.
    pub fn produces(&self) -> u64 {
        self.requests.get(&PRODUCE).copied().unwrap_or_default()
    }

    /// `Fetch` requests passed on to the broker.
    pub fn fetches(&self) -> u64 {
        self.requests.get(&FETCH).copied().unwrap_or_default()
    }
}

/// A proxy in front of one broker, on a thread of its own: usable from any test, sync or async.
///
/// # Example
/// ```no_run
/// use std::time::Duration;
///
/// use modelcast_testcontainers::{Faults, Proxy};
///
/// let proxy = Proxy::start("127.0.0.1:9092".to_owned())?;
/// println!("clients connect to 127.0.0.1:{}", proxy.port());
/// proxy.set(Faults { delay: Duration::from_millis(200), ..Faults::default() });
/// proxy.heal();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// What the connections of a proxy have in common.
struct Shared {
    target: String,
    control: watch::Sender<Control>,
    counts: Mutex<ProxyCounts>,
}

/// What all connections are told.
#[derive(Clone, Copy, Default)]
struct Control {
    faults: Faults,
    /// How often faults were set.
    set: u64,
    /// How often all connections were cut.
    cuts: u64,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for what is meant for `target`, a `host:port`. Nobody need be there yet:
    /// each connection looks anew.
    ///
    /// # Errors
    /// When the system gives no port or no thread.
    pub fn start(target: String) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("proxy").enable_all().build()?;
        let shared = Shared { target, control: watch::Sender::default(), counts: Mutex::default() };
        let shared = Arc::new(shared);
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, runtime: Some(runtime) })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on these faults, and no others, for open and new connections.
    pub fn set(&self, faults: Faults) {
        self.shared.control.send_modify(|control| {
            control.faults = faults;
            control.set += 1;
        });
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Closes all connections that are open now.
    pub fn cut(&self) {
        self.shared.control.send_modify(|control| control.cuts += 1);
    }

    /// What went through so far.
    pub fn counts(&self) -> ProxyCounts {
        self.shared.counts().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Dropped as usual it would wait, which panics where a test is async.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, ProxyCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an acknowledgement that came from the broker is to be lost.
    fn loses_ack(&self) -> bool {
        let mut loses = false;
        // Nobody waits for the count: no connection is woken for it.
        self.control.send_if_modified(|control| {
            loses = match &mut control.faults.lose_acks {
                LoseAcks::No | LoseAcks::Next(0) => false,
                LoseAcks::Next(left) => {
                    *left -= 1;
                    true
                }
                LoseAcks::After(left @ 1..) => {
                    *left -= 1;
                    false
                }
                LoseAcks::After(0) | LoseAcks::All => true,
            };
            false
        });
        self.counts().lost_acks += u64::from(loses);
        loses
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(serve(client, Arc::clone(&shared)))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection, from its beginning to its end.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    {
        let mut counts = shared.counts();
        counts.connections += 1;
        counts.open += 1;
    }
    let end = relay_to_broker(client, &shared).await;
    let mut counts = shared.counts();
    counts.open -= 1;
    counts.cut += u64::from(end == relay::End::Cut);
}

async fn relay_to_broker(client: TcpStream, shared: &Arc<Shared>) -> relay::End {
    let control = shared.control.subscribe();
    if control.borrow().faults.black_hole {
        return relay::swallow(client, control).await;
    }
    let connected = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(&shared.target)).await;
    let Ok(Ok(broker)) = connected else { return relay::End::Closed };
    // Kafka's clients and brokers send whole frames: waiting for more would only delay them.
    if client.set_nodelay(true).and_then(|()| broker.set_nodelay(true)).is_err() {
        return relay::End::Closed;
    }
    relay::relay(client, broker, shared, control).await
}
