//! One Kafka broker: its start, its faults, its end.
//!
//! Does not know where its process runs (see `machine`) nor Modelcast's topics.
//!
//! # Invariants
//! * The address never changes, not by a stop either.
//! * A handle that exists has answered a client once.
//! * All calls block and may be made on any thread, of an async runtime too.

use std::sync::OnceLock;
use std::time::Duration;

use crate::backend::{self, Backend, Choice};
use crate::brokers::{Brokers, Plan};
use crate::error::{Error, describe};
use crate::namespace;
use crate::node::{BrokerId, CLIENT, FAULTY};
use crate::proxy::Proxy;
use crate::topics;
use crate::topology;

/// For the first answer of a Kafka that is somebody else's.
const ANSWER: Duration = Duration::from_secs(20);

/// A running Kafka, removed when this is dropped or this process ends.
pub struct Kafka {
    /// `None` where it is somebody else's.
    brokers: Option<Brokers>,
    id: BrokerId,
    bootstrap: String,
    direct: String,
}

/// What a Kafka of one's own is to be like.
///
/// # Example
/// ```no_run
/// use modelcast_testcontainers::{Faults, Kafka};
///
/// let kafka = Kafka::builder().setting("auto.create.topics.enable", "true").proxied().start()?;
/// let proxy = kafka.proxy().expect("it was asked for");
/// proxy.set(Faults { black_hole: true, ..Faults::default() });
/// # Ok::<(), modelcast_testcontainers::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct KafkaBuilder {
    plan: Plan,
}

impl Kafka {
    /// The Kafka of this test binary; the first call starts it, in some 4 s.
    ///
    /// # Panics
    /// When it cannot be started: the tests that need it can then only fail, each with the reason.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Kafka, Error>> = OnceLock::new();
        match SHARED.get_or_init(Self::start) {
            Ok(kafka) => kafka,
            Err(error) => panic!("{}", describe(error)),
        }
    }

    /// A Kafka of one's own, for tests that stop, restart or pause it.
    ///
    /// # Errors
    /// [`Error::Backend`] where this machine offers none. The others: what was created is removed.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// A Kafka of one's own that is not like the others.
    pub fn builder() -> KafkaBuilder {
        KafkaBuilder::default()
    }

    /// What a client takes as `bootstrap.servers`: through the proxy where there is one.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap
    }

    /// The same around the proxy.
    pub fn direct_servers(&self) -> &str {
        &self.direct
    }

    /// What a client takes to reach a listener that was asked for by [`KafkaBuilder::listener`].
    pub fn listener_servers(&self, name: &str) -> Option<String> {
        self.brokers.as_ref()?.servers(name)
    }

    /// The proxy, where it was asked for by [`KafkaBuilder::proxied`].
    pub fn proxy(&self) -> Option<&Proxy> {
        self.brokers.as_ref()?.proxy(self.id)
    }

    /// Where its process runs: the container's name, for `docker exec` and the like, or a folder of this machine;
    /// empty for one that is somebody else's.
    pub fn machine(&self) -> &str {
        self.brokers.as_ref().map_or("", Brokers::machine)
    }

    /// What kind of Kafka it is.
    ///
    /// # Panics
    /// Never: a Kafka that is there was chosen.
    pub fn backend(&self) -> Backend {
        backend::choose().expect("this Kafka was started by the choice").backend()
    }

    /// A name that no other test of this binary gets, made from `stem`, valid as a namespace.
    pub fn namespace(&self, stem: &str) -> String {
        namespace::unique(stem)
    }

    /// Stops Kafka in an orderly way; its data and its port stay.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it is somebody else's; [`Error::Docker`], [`Error::Script`].
    pub fn stop(&self) -> Result<(), Error> {
        self.ours("stop Kafka")?.terminate(self.id)
    }

    /// Ends it by SIGKILL; its data and its port stay.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it is somebody else's; [`Error::Docker`], [`Error::Script`].
    pub fn kill(&self) -> Result<(), Error> {
        self.ours("kill Kafka")?.kill(self.id)
    }

    /// Starts it again at the same address with the same data, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it is somebody else's; [`Error::Docker`], [`Error::Script`], [`Error::NotReady`].
    pub fn start_again(&self) -> Result<(), Error> {
        self.ours("start Kafka")?.start_again(self.id)?;
        self.ours("wait for Kafka")?.wait_until_in_sync(&[self.id])
    }

    /// Freezes it by SIGSTOP: connections stay, nothing is answered.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it does not run or is somebody else's; [`Error::Docker`], [`Error::Script`].
    pub fn pause(&self) -> Result<(), Error> {
        self.ours("freeze Kafka")?.freeze(self.id)
    }

    /// Ends a [`pause`](Self::pause), and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it does not run or is somebody else's; [`Error::Docker`], [`Error::Script`], [`Error::NotReady`].
    pub fn unpause(&self) -> Result<(), Error> {
        self.ours("thaw Kafka")?.thaw(self.id)?;
        self.ours("wait for Kafka")?.wait_until_in_sync(&[self.id])
    }

    /// Deletes a topic and creates it with the same partitions, replication and settings: empty, and another one.
    ///
    /// # Errors
    /// [`Error::Client`], [`Error::Topic`].
    pub fn recreate_topic(&self, topic: &str) -> Result<(), Error> {
        topics::recreate(&self.direct.split(',').collect::<Vec<_>>(), topic)
    }

    /// All that the broker has said.
    ///
    /// # Errors
    /// [`Error::Cannot`] where it is somebody else's; [`Error::Docker`], [`Error::Script`].
    pub fn log(&self) -> Result<String, Error> {
        self.ours("read the log")?.log(self.id)
    }

    /// Runs one of Kafka's own tools where the broker runs, and gives what it printed; a second for Java's start.
    /// [`direct_servers`](Self::direct_servers) is the broker's address there too.
    ///
    /// # Errors
    /// [`Error::Script`] where the tool failed; [`Error::Cannot`] where Kafka is somebody else's;
    /// [`Error::Docker`].
    pub fn run_tool(&self, class: &str, arguments: &[&str]) -> Result<String, Error> {
        self.ours("run a tool of Kafka")?.run_tool(class, arguments)
    }

    /// The brokers, unless they are somebody else's.
    fn ours(&self, task: &'static str) -> Result<&Brokers, Error> {
        let reason = || format!("it is somebody else's, at {}", self.direct);
        self.brokers.as_ref().ok_or_else(|| Error::Cannot { task, reason: reason() })
    }
}

impl KafkaBuilder {
    /// A line of `server.properties`, in place of the kit's own where it has one.
    #[must_use]
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        self.plan.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With a [`Proxy`] between the broker and [`Kafka::bootstrap_servers`].
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.plan.proxied = true;
        self
    }

    /// One more listener for clients, in Kafka's words: `SCRAM` and `SASL_SSL`.
    #[must_use]
    pub fn listener(mut self, name: &str, protocol: &str) -> Self {
        self.plan.listeners.push((name.to_owned(), protocol.to_owned()));
        self
    }

    /// A file in the broker's working folder, beside `server.properties`.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.plan.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A word for `kafka-storage.sh format`, such as `--add-scram` and what follows it.
    #[must_use]
    pub fn format_argument(mut self, word: &str) -> Self {
        self.plan.format_arguments.push(word.to_owned());
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Backend`] where this machine offers none, [`Error::Unreachable`] where somebody else's does not answer.
    /// The others: what was created is removed; [`Error::Script`]
    /// where Kafka's tool refuses a setting, [`Error::Cannot`] where the backend cannot show what is asked for.
    pub fn start(self) -> Result<Kafka, Error> {
        if let Choice::External { address } = backend::choose()? {
            self.plan.must_be_possible(Backend::External, 1)?;
            let unreachable = |source| Error::Unreachable { address: address.clone(), source };
            topology::ask(address, ANSWER).map_err(unreachable)?;
            let (bootstrap, direct) = (address.clone(), address.clone());
            return Ok(Kafka { id: BrokerId::nth(0), bootstrap, direct, brokers: None });
        }
        let brokers = Brokers::start(1, &self.plan)?;
        let servers = |listener| brokers.servers(listener).unwrap_or_default();
        let direct = servers(CLIENT);
        let bootstrap = if self.plan.proxied { servers(FAULTY) } else { direct.clone() };
        Ok(Kafka { id: BrokerId::nth(0), bootstrap, direct, brokers: Some(brokers) })
    }
}
