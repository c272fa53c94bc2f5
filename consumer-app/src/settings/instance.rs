//! `[instance]`: this process in the fleet.

use std::{fs, path::PathBuf};

use modelcast::settings::SettingsError;
use modelcast_protocol::{
    InstanceName,
    desired::Labels,
    limits::{LABELS_MAX, SCHEMA_TEXT_MAX_BYTES},
};
use serde::Deserialize;

use super::source::wrong;

/// `[instance]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceSection {
    /// Name in the fleet; the machine's name when there is none.
    pub name: Option<InstanceName>,
    /// Labels, for cohorts and pins.
    pub labels: Labels,
    /// Folder for what must outlive the process: the last known good version of each model.
    pub state: Option<PathBuf>,
}

/// Checks that labels fit into a status record.
pub(crate) fn check_labels(labels: &Labels) -> Result<(), SettingsError> {
    if labels.len() > LABELS_MAX {
        return Err(wrong("instance.labels", &labels.len(), &format!("at most {LABELS_MAX} are")));
    }
    let fits = |text: &String| (1..=SCHEMA_TEXT_MAX_BYTES).contains(&text.len());
    match labels.iter().find(|(name, value)| !fits(name) || !fits(value)) {
        Some((name, value)) => {
            let cause = format!("a text of 1 to {SCHEMA_TEXT_MAX_BYTES} bytes is");
            Err(wrong(&format!("instance.labels.{name}"), value, &cause))
        }
        None => Ok(()),
    }
}

/// The machine's name, as far as it can be the name of an instance.
pub(crate) fn machine_name() -> Result<InstanceName, SettingsError> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase();
    InstanceName::parse(&name).map_err(|error| SettingsError::Value {
        key: "instance.name".to_owned(),
        value: name,
        cause: format!("{error}: there is none in the settings, and the machine's name does not do"),
    })
}
