//! What a pipe needs to know, and which topics it does not take.

use std::time::Duration;

use modelcast_protocol::{InstanceName, topic};
use serde::Deserialize;

use super::PipeError;
use crate::{
    kafka::{KafkaError, group, group::Membership},
    settings::KafkaSettings,
};

/// Topics, group and limits of one pipe.
#[derive(Debug, Clone)]
pub struct PipeSettings {
    /// Where records come from.
    pub input: String,
    /// Where they go.
    pub output: String,
    /// Where those go that cannot.
    pub dead_letters: String,
    /// The consumer group: its members share the partitions of the input.
    pub group: String,
    /// This member; no two may have one name.
    pub member: InstanceName,
    /// Whether it keeps its partitions over a restart.
    pub static_membership: bool,
    /// Where a partition starts of which nothing is committed.
    pub start: Start,
    /// How often a record may come out.
    pub delivery: Delivery,
    /// Records of a batch, which is a transaction.
    pub records_max: usize,
    /// Bytes of keys, values and headers after which a batch takes no more.
    pub bytes_max: usize,
    /// How long a batch waits for more records after its first.
    pub linger: Duration,
    /// How long the group waits for a member that says nothing.
    pub session_timeout: Duration,
    /// How long a batch may be worked on before the group takes the partitions away; no less than two transactions.
    pub busy_max: Duration,
    /// How long the broker leaves a transaction open whose producer says nothing.
    pub transaction_timeout: Duration,
}

/// How often a record may come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Once, or the pipe does not open.
    ExactlyOnce,
    /// Once, or again after a failure.
    AtLeastOnce,
    /// Once where the broker has transactions, else at least once.
    Best,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Each record comes out once, for whoever reads with `isolation.level=read_committed`.
    ExactlyOnce,
    /// Each record comes out, after a failure perhaps again.
    AtLeastOnce,
}

/// Where a partition starts of which nothing is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At its first record.
    Earliest,
    /// At the next one that comes.
    Latest,
}

impl Delivery {
    /// The word of the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly-once",
            Self::AtLeastOnce => "at-least-once",
            Self::Best => "best",
        }
    }
}

impl Guarantee {
    /// The word of the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => Delivery::ExactlyOnce.name(),
            Self::AtLeastOnce => Delivery::AtLeastOnce.name(),
        }
    }
}

impl Start {
    /// The word of the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
        }
    }
}

impl PipeSettings {
    /// The transactional id: the same after a restart, so that what an earlier process left open ends.
    #[must_use]
    pub fn transactional_id(&self, kafka: &KafkaSettings) -> String {
        format!("{}.stream.{}.{}", kafka.namespace, self.group, self.member)
    }

    pub(super) fn membership(&self) -> Membership {
        Membership {
            topic: self.input.clone(),
            group: self.group.clone(),
            static_name: self.static_membership.then(|| self.member.to_string()),
            starts_at_end: self.start == Start::Latest,
            session_timeout: self.session_timeout,
            busy_max: self.busy_max.max(2 * self.transaction_timeout),
        }
    }

    /// Checks the three topics; gives the partitions of input and output. Blocks.
    pub(super) fn check_topics(&self, kafka: &KafkaSettings) -> Result<(usize, usize), PipeError> {
        let topics = [("input", &self.input), ("output", &self.output), ("dead_letters", &self.dead_letters)];
        for (index, (setting, topic)) in topics.iter().enumerate() {
            let wrong = |cause: &str| {
                let (setting, topic) = (*setting, (*topic).clone());
                Err(PipeError::Topic { setting, topic, cause: cause.to_owned() })
            };
            let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if topic.is_empty() || topic.len() > 249 || !topic.chars().all(is_legal) {
                return wrong("a topic's name has 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'");
            }
            if is_ours(topic, kafka) || topic.starts_with("__") {
                return wrong("it is an internal topic");
            }
            if topics.iter().take(index).any(|(_, other)| other == topic) {
                return wrong("input, output and dead letters are three topics");
            }
        }
        let input = existing(kafka, &self.input)?;
        let output = existing(kafka, &self.output)?;
        existing(kafka, &self.dead_letters)?;
        Ok((input, output))
    }
}

fn is_ours(topic: &str, kafka: &KafkaSettings) -> bool {
    let namespace = &kafka.namespace;
    let named = [topic::announcements(namespace), topic::fleet(namespace), topic::audit(namespace)];
    named.iter().any(|spec| spec.name == topic) || topic.starts_with(&format!("{namespace}.blobs."))
}

fn existing(kafka: &KafkaSettings, topic: &str) -> Result<usize, KafkaError> {
    match group::partitions(kafka, topic)? {
        0 => Err(KafkaError::MissingTopic {
            topic: topic.to_owned(),
            mend: format!(
                "kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions 8",
                kafka.bootstrap_servers
            ),
        }),
        partitions => Ok(partitions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_cannot_be_is_named_with_its_setting() {
        let kafka = KafkaSettings { bootstrap_servers: "localhost:1".into(), ..KafkaSettings::default() };
        let settings = PipeSettings {
            input: "in".into(),
            output: "out".into(),
            dead_letters: "dead".into(),
            group: "g".into(),
            member: InstanceName::parse("m").unwrap(),
            static_membership: false,
            start: Start::Earliest,
            delivery: Delivery::ExactlyOnce,
            records_max: 1,
            bytes_max: 1,
            linger: Duration::ZERO,
            session_timeout: Duration::from_secs(10),
            busy_max: Duration::from_secs(300),
            transaction_timeout: Duration::from_secs(30),
        };
        assert_eq!(settings.transactional_id(&kafka), "modelcast.stream.g.m");
        let of = |input: &str, output: &str, dead_letters: &str| PipeSettings {
            input: input.into(),
            output: output.into(),
            dead_letters: dead_letters.into(),
            ..settings.clone()
        };
        let rows = [
            (of("in", "in", "dead"), "stream.output"),
            (of("in", "out", "out"), "stream.dead_letters"),
            (of("modelcast.announcements", "out", "dead"), "internal"),
            (of("in", "modelcast.blobs.price", "dead"), "internal"),
            (of("__consumer_offsets", "out", "dead"), "internal"),
            (of("a b", "out", "dead"), "249"),
        ];
        for (settings, word) in rows {
            let error = settings.check_topics(&kafka).unwrap_err().to_string();
            assert!(error.contains(word), "{error:?} lacks {word:?}");
        }
    }
}
