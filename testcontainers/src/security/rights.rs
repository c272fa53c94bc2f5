//! Who may do what: the rights of each role on a namespace's topics, as data.
//!
//! The same set stands in `docs/operations.md` as commands; a test holds the two together. Each right is one that a
//! program of ours really asks for: another test looks for rights that nobody used.
//! Read, Write, Delete and Alter bring Describe with them; AlterConfigs brings DescribeConfigs.

/// What somebody does with a namespace. One user may have several: a trainer that publishes straight away is
/// publisher and announcer; whoever rolls back and pins is announcer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Uploads chunks and manifests; nothing runs by that alone.
    Publisher,
    /// Says what runs: writes announcements.
    Announcer,
    /// Runs what is announced, and reports.
    Subscriber,
    /// Creates topics, changes their settings, cuts them; announces nothing.
    Administrator,
}

/// What a right is on. Names are relative to a namespace, but a group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// One topic, by the end of its name.
    Topic(&'static str),
    /// All topics whose names begin so.
    TopicsFrom(&'static str),
    /// A consumer group.
    Group(&'static str),
}

/// Rights on one resource.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// On what.
    pub resource: Resource,
    /// Which, as `kafka-acls.sh --operation` takes them.
    pub operations: &'static [&'static str],
    /// What needs them.
    pub reason: &'static str,
}

const ANNOUNCEMENTS: Resource = Resource::Topic("announcements");
const FLEET: Resource = Resource::Topic("fleet");
const AUDIT: Resource = Resource::Topic("audit");
const BLOBS: Resource = Resource::TopicsFrom("blobs.");

/// librdkafka looks for the coordinator of the group `modelcast` although our readers use no group.
const GROUP: Grant = Grant {
    resource: Resource::Group("modelcast"),
    operations: &["Describe"],
    reason: "librdkafka looks for the coordinator of its group, which nothing else is asked of",
};

const PUBLISHER: &[Grant] = &[
    Grant {
        resource: ANNOUNCEMENTS,
        operations: &["Read", "DescribeConfigs"],
        reason: "the champion that the gates compare with; a topic with wrong settings is refused",
    },
    Grant {
        resource: FLEET,
        operations: &["Read", "DescribeConfigs"],
        reason: "a lost history shows in what the fleet reports",
    },
    Grant {
        resource: AUDIT,
        operations: &["Describe", "DescribeConfigs"],
        reason: "all topics are checked before anything is sent",
    },
    Grant {
        resource: BLOBS,
        operations: &["Read", "Write", "DescribeConfigs"],
        reason: "chunks and manifests are sent, and read back; the champion is read",
    },
    GROUP,
];

const ANNOUNCER: &[Grant] = &[
    Grant {
        resource: ANNOUNCEMENTS,
        operations: &["Read", "Write", "DescribeConfigs"],
        reason: "an announcement is decided on the one in force, and its outcome is read from the log",
    },
    Grant {
        resource: FLEET,
        operations: &["Read", "DescribeConfigs"],
        reason: "a lost history shows in what the fleet reports; so does who runs what",
    },
    Grant {
        resource: AUDIT,
        operations: &["Write", "DescribeConfigs"],
        reason: "a copy of what was committed",
    },
    Grant {
        resource: BLOBS,
        operations: &["Read", "DescribeConfigs"],
        reason: "versions are listed and verified",
    },
    GROUP,
];

const SUBSCRIBER: &[Grant] = &[
    Grant {
        resource: ANNOUNCEMENTS,
        operations: &["Read", "DescribeConfigs"],
        reason: "what should run; a topic with wrong settings is refused",
    },
    Grant { resource: BLOBS, operations: &["Read", "DescribeConfigs"], reason: "manifests and chunks" },
    Grant { resource: FLEET, operations: &["Write", "DescribeConfigs"], reason: "reports" },
    GROUP,
];

const ADMINISTRATOR: &[Grant] = &[Grant {
    resource: Resource::TopicsFrom(""),
    operations: &["Create", "Alter", "AlterConfigs", "Delete"],
    reason: "topics are made, get partitions and settings; DeleteRecords takes Delete",
}];

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Publisher, Self::Announcer, Self::Subscriber, Self::Administrator];

    /// Its name, in lower case: also that of the user who has this role alone.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Announcer => "announcer",
            Self::Subscriber => "subscriber",
            Self::Administrator => "administrator",
        }
    }

    /// What it may do, and nothing else.
    pub fn grants(self) -> &'static [Grant] {
        match self {
            Self::Publisher => PUBLISHER,
            Self::Announcer => ANNOUNCER,
            Self::Subscriber => SUBSCRIBER,
            Self::Administrator => ADMINISTRATOR,
        }
    }
}

impl Grant {
    /// What `kafka-acls.sh --add` takes to give these rights on these namespaces to some users.
    pub fn arguments(&self, namespaces: &[&str], users: &[&str]) -> Vec<String> {
        let pair = |flag: &str, value: String| [flag.to_owned(), value];
        let users = users.iter().flat_map(|user| pair("--allow-principal", format!("User:{user}")));
        let operations = self.operations.iter().flat_map(|&what| pair("--operation", what.to_owned()));
        let topics = |end: &str| -> Vec<String> {
            namespaces.iter().flat_map(|namespace| pair("--topic", format!("{namespace}.{end}"))).collect()
        };
        let resource = match self.resource {
            Resource::Topic(topic) => topics(topic),
            Resource::TopicsFrom(start) => {
                [pair("--resource-pattern-type", "prefixed".to_owned()).to_vec(), topics(start)].concat()
            }
            Resource::Group(group) => pair("--group", group.to_owned()).to_vec(),
        };
        users.chain(operations).chain(resource).collect()
    }
}
