//! What every subcommand asks of its file and its flags: how to reach Kafka, whom to trust, and who this process is.

use std::path::PathBuf;

use modelcast::settings::{KafkaSettings, KeySettings, SettingsError};
use modelcast_protocol::{InstanceName, Namespace, desired::Labels};

use super::{
    InstanceSection, Source, instance,
    source::{Shown, some},
};

/// What environment and flags put over these sections.
#[derive(Debug, Clone, Default)]
pub struct ProcessOverrides {
    /// Of `kafka.bootstrap_servers`.
    pub kafka: Option<(String, Source)>,
    /// Of `kafka.namespace`.
    pub namespace: Option<(Namespace, Source)>,
    /// Of `instance.name`.
    pub instance: Option<(InstanceName, Source)>,
    /// Of `instance.state`.
    pub state: Option<(PathBuf, Source)>,
}

/// `[kafka]`, `[keys]` and `[instance]`, checked.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// Whose signatures are trusted.
    pub keys: KeySettings,
    /// Name in the fleet.
    pub instance: InstanceName,
    /// Labels.
    pub labels: Labels,
    /// Folder for what must outlive the process.
    pub state: PathBuf,
}

impl ProcessSettings {
    /// Puts the overrides over the sections, checks and shows them.
    pub(crate) fn check(
        (mut kafka, keys, section): (KafkaSettings, KeySettings, InstanceSection),
        over: ProcessOverrides,
        shown: &mut Shown<'_>,
    ) -> Result<Self, SettingsError> {
        let servers = shown.put_over(&mut kafka.bootstrap_servers, over.kafka, "kafka", "bootstrap_servers");
        let namespace = shown.put_over(&mut kafka.namespace, over.namespace, "kafka", "namespace");
        shown.kafka(&kafka, servers, namespace);
        let source = shown.written("keys", "trusted");
        shown.add("keys.trusted", format!("{:?}", keys.trusted), source);

        let InstanceSection { name: mut instance, labels, mut state } = section;
        let source = shown.put_over(&mut instance, some(over.instance), "instance", "name");
        let instance = instance.map_or_else(instance::machine_name, Ok)?;
        shown.add("instance.name", instance.to_string(), source);
        instance::check_labels(&labels)?;
        let source = shown.written("instance", "labels");
        shown.add("instance.labels", format!("{labels:?}"), source);
        let source = shown.put_over(&mut state, some(over.state), "instance", "state");
        let state = state.unwrap_or_else(|| PathBuf::from("state").join(instance.as_str()));
        shown.add("instance.state", state.display().to_string(), source);
        Ok(Self { kafka, keys, instance, labels, state })
    }

    /// Whether there is a Kafka to subscribe at; without one the embedded files serve.
    #[must_use]
    pub fn has_kafka(&self) -> bool {
        !self.kafka.bootstrap_servers.trim().is_empty()
    }
}
