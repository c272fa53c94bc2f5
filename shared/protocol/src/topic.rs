//! Topics: their names, partitions and settings.
//!
//! Says what they must be; creating and checking them is the client's.

use crate::name::{ModelName, Namespace};

/// A topic as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Settings that must have these values.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// What every topic of ours must have. Payloads are compressed inside the signature, under a cap.
const ALL: [(&str, &str); 2] =
    [("compression.type", "uncompressed"), ("message.timestamp.type", "LogAppendTime")];
/// A topic that decides something is never compacted and never expires by itself.
const KEPT: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// The topic of signed announcements, keyed by model.
#[must_use]
pub fn announcements(namespace: &Namespace) -> TopicSpec {
    topic(format!("{namespace}.announcements"), 1, &[&KEPT[..], &[("flush.messages", "1")]])
}

/// The topic of a model's manifests and chunks, keyed by digest.
#[must_use]
pub fn blobs(namespace: &Namespace, model: &ModelName) -> TopicSpec {
    topic(format!("{namespace}.blobs.{model}"), 1, &[&KEPT[..], &[("segment.bytes", "268435456")]])
}

/// The topic of status records, keyed by model and instance.
#[must_use]
pub fn fleet(namespace: &Namespace) -> TopicSpec {
    let settings = [
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "604800000"),
        ("segment.bytes", "16777216"),
        ("segment.ms", "600000"),
    ];
    topic(format!("{namespace}.fleet"), 8, &[&settings])
}

/// The topic of copies of committed announcements, keyed by model.
#[must_use]
pub fn audit(namespace: &Namespace) -> TopicSpec {
    topic(format!("{namespace}.audit"), 1, &[&KEPT[..], &[("flush.messages", "1")]])
}

fn topic(name: String, partitions: i32, settings: &[&[(&'static str, &'static str)]]) -> TopicSpec {
    TopicSpec { name, partitions, settings: [settings.concat(), ALL.to_vec()].concat() }
}
