//! Why there is no Kafka, or why it did not do as it was told.

use std::io;

use rdkafka::error::KafkaError;
use testcontainers::TestcontainersError;

use crate::backend::BackendError;
use crate::port;

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image could be chosen, pulled or built. `MODELCAST_KAFKA_IMAGE` names one.
    #[error("{0}")]
    Image(String),
    /// This machine offers no Kafka for tests, or not the one that was asked for.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The folder for Kafka's processes could not be made, or its watchdog not started.
    #[error("cannot make a folder for Kafka, which TMPDIR puts elsewhere, or start /bin/sh to watch over it")]
    Folder(#[source] io::Error),
    /// The process that would remove the container could not be started, so none was created.
    #[error("cannot start /bin/sh, which is to remove the container once this process is gone")]
    Watchdog(#[source] io::Error),
    /// Every port tried is in use.
    #[error("no free port for Kafka from {} to {}: end what holds them", port::FIRST, port::FIRST + port::COUNT - 1)]
    NoPort,
    /// A proxy before a broker has no port or no thread.
    #[error("cannot start a proxy before Kafka, on a free port of loopback and a thread of its own")]
    Proxy(#[source] io::Error),
    /// Docker or Podman refused.
    #[error("the container engine could not {task} in the Kafka container {container}")]
    Docker {
        /// What was asked of it.
        task: &'static str,
        /// The container's name.
        container: String,
        /// What it said.
        #[source]
        source: Box<TestcontainersError>,
    },
    /// A command beside the broker failed: a setting that Kafka refuses, a broker that does not run.
    #[error("cannot {task} on {machine}: {output}")]
    Script {
        /// What it was for.
        task: &'static str,
        /// The container's name, or the folder.
        machine: String,
        /// What it printed.
        output: String,
    },
    /// What was waited for did not come in time, or the broker ended.
    #[error("{what}, after {seconds} s; the log of the broker ends with:\n{log}")]
    NotReady {
        /// What is still wrong, and where.
        what: String,
        /// For how long it was waited.
        seconds: u64,
        /// The last lines of the log.
        log: String,
    },
    /// Nobody answers where somebody else's Kafka is to be.
    #[error("no Kafka answers at {address}: start it, or name another in MODELCAST_TEST_KAFKA")]
    Unreachable {
        /// What `MODELCAST_TEST_KAFKA` names.
        address: String,
        /// What the client says.
        #[source]
        source: KafkaError,
    },
    /// Kafka refused a client of the kit.
    #[error("cannot {task}")]
    Client {
        /// What was asked of it.
        task: &'static str,
        /// What it said.
        #[source]
        source: KafkaError,
    },
    /// Kafka refused to do something to a topic.
    #[error("cannot {task} topic {topic}: {reason}")]
    Topic {
        /// What was asked of it.
        task: &'static str,
        /// The topic.
        topic: String,
        /// What it said.
        reason: String,
    },
    /// This Kafka cannot do what was asked, where it runs or as it was started.
    #[error("cannot {task} here: {reason}")]
    Cannot {
        /// What was asked of it.
        task: &'static str,
        /// What it lacks, and what has it.
        reason: String,
    },
}

impl Error {
    /// Whether somebody took a port between our look and Docker's or Kafka's; other ports may be free.
    pub(crate) fn is_port_taken(&self) -> bool {
        let text = describe(self).to_lowercase();
        ["port is already allocated", "address already in use"].iter().any(|cause| text.contains(cause))
    }
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
