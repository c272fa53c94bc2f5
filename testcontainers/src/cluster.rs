//! Three brokers, and what can happen to one of them.
//!
//! What is acknowledged by all of them outlives the loss of any one: replication 3, `min.insync.replicas` 2, and no
//! leader that is not in sync. Each is a controller too, and has a [`Proxy`] of its own. Does not know Modelcast's
//! topics.
//!
//! # Invariants
//! * The addresses never change, whatever is done to a broker.
//! * All calls block and may be made on any thread, of an async runtime too.

mod pool;

pub use pool::ClusterGuard;

use crate::brokers::{Brokers, Plan};
use crate::error::Error;
use crate::namespace;
use crate::node::{BrokerId, CLIENT, FAULTY};
use crate::proxy::Proxy;
use crate::topics;

const BROKERS: usize = 3;
/// So many controllers decide; without them no broker gets on.
const MAJORITY: usize = 2;

/// A running cluster, removed when this is dropped or this process ends.
///
/// # Example
/// ```no_run
/// use modelcast_testcontainers::Cluster;
///
/// let cluster = Cluster::exclusive();
/// let namespace = cluster.namespace("story");
/// // ... create topics there, publish ...
/// let leader = cluster.leader(&format!("{namespace}.announcements"), 0)?;
/// cluster.kill(leader)?;
/// // ... what was acknowledged is still there ...
/// # Ok::<(), modelcast_testcontainers::Error>(())
/// ```
pub struct Cluster {
    brokers: Brokers,
    ids: [BrokerId; BROKERS],
    bootstrap: String,
    direct: String,
}

/// What a cluster of one's own is to be like.
#[derive(Debug, Clone, Default)]
pub struct ClusterBuilder {
    plan: Plan,
}

impl Cluster {
    /// A cluster of one's own.
    ///
    /// # Errors
    /// [`Error::Backend`] where this machine offers none. The others: what was created is removed.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// A cluster of one's own that is not like the others.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// A cluster of this test binary, whole: one of the two that its tests take turns at, each started in some 6 s when
    /// it is first needed. Waits while other tests have both, and mends what the one before left broken.
    ///
    /// # Panics
    /// When it cannot be started or mended: the tests that need it can then only fail, each with the reason.
    pub fn exclusive() -> ClusterGuard {
        ClusterGuard::take()
    }

    /// The three.
    pub fn brokers(&self) -> [BrokerId; BROKERS] {
        self.ids
    }

    /// What a client takes as `bootstrap.servers`: through the proxies.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap
    }

    /// The same around the proxies.
    pub fn direct_servers(&self) -> &str {
        &self.direct
    }

    /// What stands between clients and a broker.
    pub fn proxy(&self, broker: BrokerId) -> &Proxy {
        self.brokers.proxy(broker).expect("a cluster's brokers all have one")
    }

    /// Where its processes run: the container's name, for `docker exec` and the like, or a folder of this machine.
    pub fn machine(&self) -> &str {
        self.brokers.machine()
    }

    /// A name that no other test of this binary gets, made from `stem`, valid as a namespace.
    pub fn namespace(&self, stem: &str) -> String {
        namespace::unique(stem)
    }

    /// Who leads a partition; waits until it is a broker that runs, and all that run know it: up to Kafka's
    /// `broker.session.timeout.ms`, 9 s, after the one before was killed or frozen.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Docker`], [`Error::Script`]; [`Error::Cannot`] where no broker runs.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<BrokerId, Error> {
        self.brokers.leader(topic, partition)
    }

    /// Who decides about topics and leaders: the active controller; waits until it is a broker that runs.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Docker`], [`Error::Script`]; [`Error::Cannot`] where no broker runs.
    pub fn controller(&self) -> Result<BrokerId, Error> {
        self.brokers.controller()
    }

    /// Ends a broker by SIGKILL; its data and its ports stay.
    ///
    /// # Errors
    /// [`Error::Docker`], [`Error::Script`].
    pub fn kill(&self, broker: BrokerId) -> Result<(), Error> {
        self.brokers.kill(broker)
    }

    /// Freezes a broker by SIGSTOP: connections stay, nothing is answered.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it does not run; [`Error::Docker`], [`Error::Script`].
    pub fn freeze(&self, broker: BrokerId) -> Result<(), Error> {
        self.brokers.freeze(broker)
    }

    /// Ends a [`freeze`](Self::freeze), and does not wait.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it does not run; [`Error::Docker`], [`Error::Script`].
    pub fn thaw(&self, broker: BrokerId) -> Result<(), Error> {
        self.brokers.thaw(broker)
    }

    /// Stops a broker in an orderly way: it hands over what it leads. Without a majority of the others it cannot, and
    /// is killed after half a minute.
    ///
    /// # Errors
    /// [`Error::Docker`], [`Error::Script`].
    pub fn stop(&self, broker: BrokerId) -> Result<(), Error> {
        self.brokers.terminate(broker)
    }

    /// Starts a broker that was killed or stopped, or has ended, and waits until all that run are in sync with one
    /// another; with fewer than two, where nothing can be waited for, it returns at once.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Docker`], [`Error::Script`].
    pub fn restart(&self, broker: BrokerId) -> Result<(), Error> {
        self.brokers.start_again(broker)?;
        let running = self.brokers.running()?;
        if running.len() < MAJORITY { Ok(()) } else { self.brokers.wait_until_in_sync(&running) }
    }

    /// Waits until all three are in the cluster, and in sync for every partition.
    ///
    /// # Errors
    /// [`Error::NotReady`], in a second where one does not run; [`Error::Docker`], [`Error::Script`].
    pub fn wait_until_in_sync(&self) -> Result<(), Error> {
        self.brokers.wait_until_in_sync(&self.ids)
    }

    /// Fills a broker's disk to the last byte. It ends when it next has to write.
    ///
    /// # Errors
    /// [`Error::Cannot`] where a broker's disk is that of this machine; [`Error::Docker`], [`Error::Script`].
    pub fn fill_disk(&self, broker: BrokerId) -> Result<(), Error> {
        self.brokers.fill_disk(broker)
    }

    /// Ends a [`fill_disk`](Self::fill_disk). A broker that has ended stays so until it is
    /// [started](Self::restart).
    ///
    /// # Errors
    /// [`Error::Docker`], [`Error::Script`].
    pub fn free_disk(&self, broker: BrokerId) -> Result<(), Error> {
        self.brokers.free_disk(broker)
    }

    /// Deletes a topic and creates it with the same partitions, replication and settings: empty, and another one.
    ///
    /// # Errors
    /// [`Error::Client`], [`Error::Topic`].
    pub fn recreate_topic(&self, topic: &str) -> Result<(), Error> {
        let addresses: Vec<_> = self.direct.split(',').collect();
        topics::recreate(&addresses, topic)
    }

    /// All that a broker has said.
    ///
    /// # Errors
    /// [`Error::Docker`], [`Error::Script`].
    pub fn log(&self, broker: BrokerId) -> Result<String, Error> {
        self.brokers.log(broker)
    }

    /// Ends all faults: proxies pass everything, disks are free, all brokers run and are in sync.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Docker`], [`Error::Script`].
    pub fn heal(&self) -> Result<(), Error> {
        self.brokers.proxies().iter().for_each(Proxy::heal);
        for broker in self.ids {
            self.free_disk(broker)?;
            if self.brokers.is_frozen(broker) {
                self.thaw(broker)?;
            }
            self.brokers.start_again(broker)?;
        }
        self.wait_until_in_sync()
    }
}

impl ClusterBuilder {
    /// A line of each broker's `server.properties`, in place of the kit's own where it has one.
    #[must_use]
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        self.plan.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it, and waits until all three answer.
    ///
    /// # Errors
    /// [`Error::Backend`] where this machine offers none. The others: what was created is removed; [`Error::Script`]
    /// where Kafka's tool refuses a setting, [`Error::Cannot`] where the backend cannot show what is asked for.
    pub fn start(mut self) -> Result<Cluster, Error> {
        self.plan.proxied = true;
        let brokers = Brokers::start(BROKERS, &self.plan)?;
        let servers = |listener| brokers.servers(listener).unwrap_or_default();
        let (bootstrap, direct) = (servers(FAULTY), servers(CLIENT));
        Ok(Cluster { ids: std::array::from_fn(BrokerId::nth), bootstrap, direct, brokers })
    }
}
