//! The brokers of one Kafka, one or three, on one machine, and the proxies before them.
//!
//! What [`Kafka`](crate::Kafka) and [`Cluster`](crate::Cluster) have in common.
//!
//! # Invariants
//! * The addresses never change, whatever is done to a broker.
//! * Every wait has a deadline, and its error ends with what the broker said last.

use std::time::{Duration, Instant};

use crate::backend::{self, Ability, Backend, Choice};
use crate::error::Error;
use crate::machine::{Container, Local, Machine, Needs};
use crate::node::{self, BrokerId, CLIENT, Common, FAULTY, Listener, Node, Ports, Preparation};
use crate::port;
use crate::proxy::Proxy;
use crate::topology;

/// 4 s on an idle machine; many test binaries may be compiling beside it.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// For one answer of a broker.
const ANSWER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Whether a process has ended is asked less often than a client is: it takes a command on the machine.
const LOOK_FOR_PROCESS_EVERY: Duration = Duration::from_secs(1);
/// The port may be taken between our look and Docker's.
const START_ATTEMPTS: u32 = 5;

/// How brokers are to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) proxied: bool,
    /// More listeners for clients: name and protocol.
    pub(crate) listeners: Vec<(String, String)>,
    /// For `server.properties`; these go before ours.
    pub(crate) settings: Vec<(String, String)>,
    /// Beside `server.properties`: name and text.
    pub(crate) files: Vec<(String, String)>,
    /// For Kafka's tool that formats the data folders.
    pub(crate) format_arguments: Vec<String>,
}

pub(crate) struct Brokers {
    /// One a node, or none.
    proxies: Vec<Proxy>,
    nodes: Vec<Node>,
    machine: Box<dyn Machine>,
}

impl Plan {
    /// Whether a backend can start so many brokers like this.
    ///
    /// # Errors
    /// [`Error::Cannot`].
    pub(crate) fn must_be_possible(&self, backend: Backend, count: usize) -> Result<(), Error> {
        let Self { proxied, listeners, settings, files, format_arguments } = self;
        let is_plain = !proxied && listeners.is_empty() && settings.is_empty();
        let is_plain = is_plain && files.is_empty() && format_arguments.is_empty();
        let needed = [(count > 1).then_some(Ability::Cluster), (!is_plain).then_some(Ability::Settings)];
        match needed.into_iter().flatten().find(|ability| !backend.can_show(*ability)) {
            Some(ability) => Err(Error::Cannot {
                task: "start Kafka",
                reason: format!("{ability} are asked for, which the backend {backend} cannot show"),
            }),
            None => Ok(()),
        }
    }
}

impl Brokers {
    /// Starts so many, and waits until they answer and are in sync.
    ///
    /// # Errors
    /// Each of [`Error`]; what was created is removed.
    pub(crate) fn start(count: usize, plan: &Plan) -> Result<Self, Error> {
        for attempt in 1.. {
            let started = Self::spawn(count, plan).and_then(|brokers| {
                brokers.wait_until_in_sync(&brokers.ids())?;
                Ok(brokers)
            });
            match started {
                Err(error) if attempt < START_ATTEMPTS && error.is_port_taken() => {}
                started => return started,
            }
        }
        Err(Error::NoPort)
    }

    fn spawn(count: usize, plan: &Plan) -> Result<Self, Error> {
        let choice = backend::choose()?;
        plan.must_be_possible(choice.backend(), count)?;
        let mut ports = Vec::new();
        for _ in 0..count {
            ports.push(choose_ports(plan)?);
        }
        let outside = ports.iter().flat_map(|node| node.listeners.iter().map(|listener| listener.port));
        let needs = Needs { ports: outside.collect(), nodes: count };
        let machine: Box<dyn Machine> = match choice {
            Choice::Process { java, jars } => Box::new(Local::start(java, jars, &needs)?),
            Choice::Embedded { .. } => Box::new(Local::without_java(&needs)?),
            Choice::Container(_) | Choice::External { .. } => Box::new(Container::start(&needs)?),
        };
        let mut proxies = Vec::new();
        for listener in ports.iter_mut().flat_map(|node| &mut node.listeners) {
            listener.advertised = format!("{}:{}", machine.host(), listener.port);
            if listener.name == FAULTY {
                let proxy = Proxy::start(listener.advertised.clone()).map_err(Error::Proxy)?;
                listener.advertised = format!("127.0.0.1:{}", proxy.port());
                proxies.push(proxy);
            }
        }
        let common = Common {
            nodes: &ports,
            listens_on: machine.listens_on(),
            folder: machine.folder(),
            settings: &plan.settings,
        };
        let embedded = match choice {
            Choice::Embedded { program } => Some(program.display().to_string()),
            _ => None,
        };
        let node = |(n, ports): (usize, &Ports)| Node::new(BrokerId::nth(n), ports.clone(), embedded.clone());
        let nodes: Vec<_> = ports.iter().enumerate().map(node).collect();
        if embedded.is_none() {
            let preparation =
                Preparation { common, files: &plan.files, format_arguments: &plan.format_arguments };
            Node::prepare(&nodes, &*machine, &preparation)?;
        }
        for node in &nodes {
            node.start(&*machine)?;
        }
        Ok(Self { proxies, nodes, machine })
    }

    /// All, whether they run or not.
    pub(crate) fn ids(&self) -> Vec<BrokerId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The container's name, or the folder.
    pub(crate) fn machine(&self) -> &str {
        self.machine.name()
    }

    /// What clients take as `bootstrap.servers`; `None` where there is no such listener.
    pub(crate) fn servers(&self, listener: &str) -> Option<String> {
        let addresses: Option<Vec<_>> = self.nodes.iter().map(|node| address(node, listener)).collect();
        addresses.map(|addresses| addresses.join(","))
    }

    pub(crate) fn proxy(&self, id: BrokerId) -> Option<&Proxy> {
        self.proxies.get(self.index(id))
    }

    pub(crate) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    pub(crate) fn kill(&self, id: BrokerId) -> Result<(), Error> {
        self.node(id).kill(&*self.machine)
    }

    pub(crate) fn terminate(&self, id: BrokerId) -> Result<(), Error> {
        self.node(id).terminate(&*self.machine)
    }

    pub(crate) fn freeze(&self, id: BrokerId) -> Result<(), Error> {
        self.node(id).freeze(&*self.machine)
    }

    pub(crate) fn thaw(&self, id: BrokerId) -> Result<(), Error> {
        self.node(id).thaw(&*self.machine)
    }

    /// Starts the process, and does not wait for it to answer.
    pub(crate) fn start_again(&self, id: BrokerId) -> Result<(), Error> {
        self.node(id).start(&*self.machine)
    }

    pub(crate) fn fill_disk(&self, id: BrokerId) -> Result<(), Error> {
        self.node(id).fill_disk(&*self.machine)
    }

    pub(crate) fn free_disk(&self, id: BrokerId) -> Result<(), Error> {
        self.node(id).free_disk(&*self.machine)
    }

    pub(crate) fn is_frozen(&self, id: BrokerId) -> bool {
        self.node(id).is_frozen()
    }

    /// Those that run, as far as can be told.
    pub(crate) fn running(&self) -> Result<Vec<BrokerId>, Error> {
        let mut running = Vec::new();
        for node in &self.nodes {
            if node.is_running(&*self.machine)? {
                running.push(node.id);
            }
        }
        Ok(running)
    }

    pub(crate) fn log(&self, id: BrokerId) -> Result<String, Error> {
        self.node(id).log(&*self.machine)
    }

    /// Runs one of Kafka's own tools where the brokers run.
    pub(crate) fn run_tool(&self, class: &str, arguments: &[&str]) -> Result<String, Error> {
        node::run_tool(&*self.machine, class, arguments)
    }

    /// Waits until each of these answers, lists them all, and has them in sync for whatever they have a replica of.
    pub(crate) fn wait_until_in_sync(&self, expected: &[BrokerId]) -> Result<(), Error> {
        self.wait(|| {
            expected.iter().find_map(|&id| {
                let address = address(self.node(id), CLIENT).unwrap_or_default();
                match topology::ask(&address, ANSWER) {
                    Err(_) => Some((id, format!("broker {id} at {address} does not answer"))),
                    Ok(found) => {
                        found.lack(expected).map(|lack| (id, format!("{lack}, as broker {id} tells")))
                    }
                }
            })
        })
    }

    /// Waits until a partition has a leader that runs, of which all that run know.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Result<BrokerId, Error> {
        let running = self.running()?;
        let Some(&first) = running.first() else { return Err(no_broker("look for a leader")) };
        let mut leader = None;
        self.wait(|| {
            let claims: Vec<_> =
                running.iter().map(|&id| self.claimed_leader(id, topic, partition)).collect();
            let agreed = claims.first().copied().flatten().filter(|id| running.contains(id));
            leader = agreed.filter(|_| claims.iter().all(|claim| *claim == agreed));
            let what =
                || format!("{topic}-{partition} has no leader that runs, of which all know: {claims:?}");
            leader.is_none().then(|| (first, what()))
        })?;
        Ok(leader.unwrap_or(first))
    }

    /// Waits until the controllers that run are led by one of them.
    pub(crate) fn controller(&self) -> Result<BrokerId, Error> {
        let running = self.running()?;
        let Some(&first) = running.first() else { return Err(no_broker("look for the controller")) };
        let mut quorums = Ok(Vec::new());
        let mut controller = None;
        self.wait(|| {
            let look = || running.iter().map(|&id| self.node(id).quorum(&*self.machine));
            quorums = look().collect();
            let newest = quorums.iter().flatten().flatten().max_by_key(|(epoch, _)| *epoch);
            controller = newest.map(|(_, id)| *id).filter(|id| running.contains(id));
            let is_over = controller.is_some() || quorums.is_err();
            (!is_over).then(|| (first, format!("no controller that runs leads the others: {quorums:?}")))
        })?;
        quorums?;
        Ok(controller.unwrap_or(first))
    }

    /// Who leads, as one of the brokers tells.
    fn claimed_leader(&self, id: BrokerId, topic: &str, partition: i32) -> Option<BrokerId> {
        let topology = topology::ask(&address(self.node(id), CLIENT)?, ANSWER).ok()?;
        topology.partitions_of(topic).find(|one| one.number == partition)?.leader
    }

    /// Looks until nothing is left that is wrong with a broker.
    fn wait(&self, mut wrong: impl FnMut() -> Option<(BrokerId, String)>) -> Result<(), Error> {
        let started = Instant::now();
        let mut looked = started;
        while let Some((id, what)) = wrong() {
            let is_late = started.elapsed() > READY_DEADLINE;
            if is_late || looked.elapsed() > LOOK_FOR_PROCESS_EVERY {
                looked = Instant::now();
                let node = self.node(id);
                let has_ended = !node.is_running(&*self.machine)?;
                if is_late || has_ended {
                    let what = if has_ended { format!("broker {id} does not run: {what}") } else { what };
                    let log = node.end_of_log(&*self.machine);
                    return Err(Error::NotReady { what, seconds: started.elapsed().as_secs(), log });
                }
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        Ok(())
    }

    fn node(&self, id: BrokerId) -> &Node {
        self.nodes.get(self.index(id)).expect("only a Kafka with that broker gives out its number")
    }

    fn index(&self, id: BrokerId) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap_or(usize::MAX)
    }
}

fn no_broker(task: &'static str) -> Error {
    Error::Cannot { task, reason: "no broker runs: start them first".to_owned() }
}

fn address(node: &Node, listener: &str) -> Option<String> {
    let found = node.ports.listeners.iter().find(|one| one.name == listener)?;
    Some(found.advertised.clone())
}

fn choose_ports(plan: &Plan) -> Result<Ports, Error> {
    let free = || port::free().ok_or(Error::NoPort);
    let plaintext = |name: &str| (name.to_owned(), "PLAINTEXT".to_owned());
    let ours = [Some(CLIENT), plan.proxied.then_some(FAULTY)];
    let wanted = ours.into_iter().flatten().map(plaintext).chain(plan.listeners.iter().cloned());
    let mut listeners = Vec::new();
    for (name, protocol) in wanted {
        listeners.push(Listener { name, protocol, port: free()?, advertised: String::new() });
    }
    Ok(Ports { listeners, internal: free()?, controller: free()? })
}
