//! What a node is told: its `server.properties`.
//!
//! Pure: ports are chosen and files written elsewhere.

use std::fmt::Write;

use super::BrokerId;

/// For clients that are to see no faults, and for the kit itself.
pub(crate) const CLIENT: &str = "CLIENT";
/// For clients that come through the proxy.
pub(crate) const FAULTY: &str = "FAULTY";
const INTERNAL: &str = "INTERNAL";
const CONTROLLER: &str = "CONTROLLER";
/// What its own topics have, of which there are two or three: more would only be more to start and to copy.
const OWN_PARTITIONS: usize = 4;

/// A listener for clients.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: String,
    /// Kafka's word: `PLAINTEXT`, `SSL`, `SASL_SSL`.
    pub(crate) protocol: String,
    pub(crate) port: u16,
    /// What clients that came in here are told to come back to, a `host:port`.
    pub(crate) advertised: String,
}

/// The ports of one node.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) internal: u16,
    pub(crate) controller: u16,
}

/// What all nodes of a Kafka have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common<'a> {
    /// Of each node, in order.
    pub(crate) nodes: &'a [Ports],
    /// Which address the listeners for clients listen on.
    pub(crate) listens_on: &'a str,
    pub(crate) folder: &'a str,
    /// Whatever the test wants otherwise; these go before all others.
    pub(crate) settings: &'a [(String, String)],
}

impl Common<'_> {
    /// The text of `server.properties` of one of them.
    pub(crate) fn server_properties(&self, id: BrokerId, ports: &Ports) -> String {
        let count = self.nodes.len();
        // A missing topic stays missing, since a client that would create it is a defect; groups need not wait.
        // What is acknowledged by all outlives the loss of any one of three.
        let (replicas, in_sync) = (count, count.div_ceil(2));
        let settings = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", id.to_string()),
            ("controller.quorum.voters", self.voters()),
            ("controller.listener.names", CONTROLLER.to_owned()),
            ("inter.broker.listener.name", INTERNAL.to_owned()),
            ("listeners", self.listeners(ports)),
            ("advertised.listeners", advertised_listeners(ports)),
            ("listener.security.protocol.map", protocols(ports)),
            ("log.dirs", format!("{}/data-{id}/kafka", self.folder)),
            ("auto.create.topics.enable", "false".to_owned()),
            ("unclean.leader.election.enable", "false".to_owned()),
            ("default.replication.factor", replicas.to_string()),
            ("min.insync.replicas", in_sync.to_string()),
            ("offsets.topic.num.partitions", OWN_PARTITIONS.to_string()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("transaction.state.log.num.partitions", OWN_PARTITIONS.to_string()),
            ("transaction.state.log.replication.factor", replicas.to_string()),
            ("transaction.state.log.min.isr", in_sync.to_string()),
            ("share.coordinator.state.topic.num.partitions", OWN_PARTITIONS.to_string()),
            ("share.coordinator.state.topic.replication.factor", replicas.to_string()),
            ("share.coordinator.state.topic.min.isr", in_sync.to_string()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ];
        let mut text = String::new();
        let wanted = |key: &str| self.settings.iter().all(|(other, _)| other != key);
        let kept = settings.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| (*key, value.as_str()));
        let given = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in kept.chain(given) {
            // Java's format goes on in the next line after a backslash; a certificate has several lines.
            let value = value.replace('\\', "\\\\").replace('\n', "\\n");
            writeln!(text, "{key}={value}").expect("a String takes all");
        }
        text
    }

    fn voters(&self) -> String {
        let voter = |(node, ports): (usize, &Ports)| format!("{}@127.0.0.1:{}", node + 1, ports.controller);
        join(self.nodes.iter().enumerate().map(voter))
    }

    fn listeners(&self, ports: &Ports) -> String {
        let for_clients =
            ports.listeners.iter().map(|one| format!("{}://{}:{}", one.name, self.listens_on, one.port));
        let inside = [(INTERNAL, ports.internal), (CONTROLLER, ports.controller)];
        join(for_clients.chain(inside.map(|(name, port)| format!("{name}://127.0.0.1:{port}"))))
    }
}

fn advertised_listeners(ports: &Ports) -> String {
    let for_clients = ports.listeners.iter().map(|one| format!("{}://{}", one.name, one.advertised));
    join(for_clients.chain([format!("{INTERNAL}://127.0.0.1:{}", ports.internal)]))
}

fn protocols(ports: &Ports) -> String {
    let for_clients = ports.listeners.iter().map(|one| format!("{}:{}", one.name, one.protocol));
    join(for_clients.chain([INTERNAL, CONTROLLER].map(|name| format!("{name}:PLAINTEXT"))))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(from: u16) -> Ports {
        let listener = |name: &str, protocol: &str, port: u16, advertised: &str| Listener {
            name: name.into(),
            protocol: protocol.into(),
            port,
            advertised: advertised.into(),
        };
        let listeners = vec![
            listener("CLIENT", "PLAINTEXT", from, "docker.example:1"),
            listener("TLS", "SSL", from + 1, "docker.example:2"),
        ];
        Ports { listeners, internal: from + 2, controller: from + 3 }
    }

    fn lines(count: u16, settings: &[(&str, &str)]) -> Vec<String> {
        let nodes: Vec<_> = (1..=count).map(|node| ports(node * 10)).collect();
        let settings: Vec<_> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let common = Common { nodes: &nodes, listens_on: "0.0.0.0", folder: "/tmp", settings: &settings };
        let text = common.server_properties(BrokerId::nth(0), &nodes[0]);
        text.lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn three_nodes_vote_and_keep_what_one_of_them_loses() {
        let lines = lines(3, &[]);
        for expected in [
            "node.id=1",
            "controller.quorum.voters=1@127.0.0.1:13,2@127.0.0.1:23,3@127.0.0.1:33",
            "listeners=CLIENT://0.0.0.0:10,TLS://0.0.0.0:11,INTERNAL://127.0.0.1:12,CONTROLLER://127.0.0.1:13",
            "advertised.listeners=CLIENT://docker.example:1,TLS://docker.example:2,INTERNAL://127.0.0.1:12",
            "listener.security.protocol.map=CLIENT:PLAINTEXT,TLS:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs=/tmp/data-1/kafka",
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "transaction.state.log.min.isr=2",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected} is missing in {lines:#?}");
        }
    }

    #[test]
    fn one_node_needs_no_other() {
        let lines = lines(1, &[]);
        for expected in
            ["default.replication.factor=1", "min.insync.replicas=1", "auto.create.topics.enable=false"]
        {
            assert!(lines.iter().any(|line| line == expected), "{expected} is missing in {lines:#?}");
        }
    }

    #[test]
    fn a_setting_of_the_test_replaces_ours_and_stays_on_one_line() {
        let lines = lines(1, &[("auto.create.topics.enable", "true"), ("pem", "a\nb\\c")]);
        let keys: Vec<_> = lines.iter().filter(|line| line.starts_with("auto.create")).collect();
        assert_eq!(keys, ["auto.create.topics.enable=true"]);
        assert!(lines.contains(&r"pem=a\nb\\c".to_owned()), "{lines:#?}");
    }
}
