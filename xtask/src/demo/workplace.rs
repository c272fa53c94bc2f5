//! The demo's state folder: topics, keys, logs, configuration, and what the apps keep.
//!
//! # Invariants
//! * It starts empty: versions count from 1, and the keys are new.
//! * A folder with something in it that no demo made is refused, and so is one that a running demo uses.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// In each folder that a demo made; locked while one runs.
const MARKER: &str = "made-by-xtask-demo";

/// The folder, ours until this is dropped.
pub(super) struct Workplace {
    root: PathBuf,
    _lock: File,
}

impl Workplace {
    /// Makes the folder, anew if an earlier demo made it.
    pub(super) fn create(folder: &Path) -> anyhow::Result<Self> {
        let root = crate::broker::root().join(folder);
        let shown = folder.display();
        let is_empty = std::fs::read_dir(&root).map_or(true, |mut entries| entries.next().is_none());
        let marker = root.join(MARKER);
        if !is_empty && !marker.exists() {
            bail!("--state {shown}: is not empty, and no demo made it; name another folder");
        }
        std::fs::create_dir_all(&root).with_context(|| format!("--state {shown}: cannot be created"))?;
        let lock = File::create(&marker).with_context(|| format!("--state {shown}: is not writable"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("--state {shown}: another demo is running in it"),
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the state folder"),
        }
        empty(&root).with_context(|| format!("--state {shown}: cannot be emptied"))?;
        let workplace = Self { root, _lock: lock };
        std::fs::create_dir_all(workplace.logs()).context("cannot create the folder of logs")?;
        Ok(workplace)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a program's shipped configuration, with the demo's Kafka and keys in it, and returns where.
    pub(super) fn configure(&self, program: &str, kafka: &Kafka) -> anyhow::Result<PathBuf> {
        let shipped = crate::broker::root().join(format!("config/{program}.toml"));
        let text = std::fs::read_to_string(&shipped)
            .with_context(|| format!("cannot read {}", shipped.display()))?;
        let config = with_our_kafka(&text, kafka, &self.keys())
            .with_context(|| format!("cannot use {}", shipped.display()))?;
        let path = self.path(&format!("{program}.toml"));
        std::fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Where the topics are.
pub(super) struct Kafka {
    pub(super) address: String,
    pub(super) namespace: String,
    /// The embedded broker answers a waiting fetch at half of its time, not when something arrives.
    pub(super) is_embedded: bool,
}

fn with_our_kafka(config: &str, kafka: &Kafka, keys: &Path) -> anyhow::Result<String> {
    let mut config: toml::Table = config.parse()?;
    let section = table(&mut config, "kafka")?;
    section.insert("bootstrap_servers".to_owned(), kafka.address.clone().into());
    section.insert("namespace".to_owned(), kafka.namespace.clone().into());
    if kafka.is_embedded {
        table(section, "properties")?.insert("fetch.wait.max.ms".to_owned(), "20".into());
    }
    let trusted = keys.join("demo.pub.pem").display().to_string();
    let signing = keys.join("demo.key.pem").display().to_string();
    let section = table(&mut config, "keys")?;
    section.insert("trusted".to_owned(), toml::Value::Array(vec![trusted.into()]));
    // Only programs that publish name a signing key.
    if section.contains_key("signing") {
        section.insert("signing".to_owned(), signing.into());
    }
    Ok(toml::to_string(&config)?)
}

fn table<'a>(parent: &'a mut toml::Table, key: &str) -> anyhow::Result<&'a mut toml::Table> {
    let entry = parent.entry(key.to_owned()).or_insert_with(|| toml::Table::new().into());
    entry.as_table_mut().with_context(|| format!("`{key}` is no section"))
}

/// Everything but the marker, which is locked.
fn empty(root: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-workplace-{name}-{}", std::process::id()))
    }

    #[test]
    fn only_what_a_demo_made_is_made_anew_and_never_under_a_running_one() {
        let root = folder("anew");
        let first = Workplace::create(&root).unwrap();
        std::fs::write(first.path("old"), "").unwrap();
        assert!(Workplace::create(&root).is_err_and(|error| error.to_string().contains("another demo")));
        assert!(first.path("old").exists());
        drop(first);
        let second = Workplace::create(&root).unwrap();
        assert!(!second.path("old").exists() && second.logs().is_dir());
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_and_left_alone() {
        let root = folder("foreign");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("precious"), "").unwrap();
        assert!(Workplace::create(&root).is_err_and(|error| error.to_string().contains("not empty")));
        assert!(root.join("precious").exists());
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_shipped_configuration_keeps_all_but_kafka_and_keys() {
        let kafka = Kafka { address: "h:1".to_owned(), namespace: "demo".to_owned(), is_embedded: true };
        let shipped =
            "[kafka]\nbootstrap_servers = \"x\"\n[keys]\ntrusted = [\"y\"]\nsigning = \"z\"\n[a]\nb = 1\n";
        let config: toml::Table = with_our_kafka(shipped, &kafka, Path::new("/k")).unwrap().parse().unwrap();
        assert_eq!(config["kafka"]["bootstrap_servers"].as_str(), Some("h:1"));
        assert_eq!(config["kafka"]["properties"]["fetch.wait.max.ms"].as_str(), Some("20"));
        assert_eq!(config["keys"]["signing"].as_str(), Some("/k/demo.key.pem"));
        assert_eq!(config["a"]["b"].as_integer(), Some(1));
        let reader = with_our_kafka("[kafka]\n[keys]\n", &kafka, Path::new("/k")).unwrap();
        assert!(!reader.contains("signing"));
    }
}
