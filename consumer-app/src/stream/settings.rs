//! The settings of a stream: file, then environment, then flags, checked.
//!
//! Connection, keys and instance are those of every program (see `crate::settings`); `[stream]` is its own.
//!
//! # Invariants
//! * Each effective value is known with its source, for the start log.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use modelcast::{
    pipe::{Delivery, PipeSettings, RECORD_MAX_BYTES, Start},
    settings::{KafkaSettings, KeySettings, SettingsError, load},
};
use modelcast_models::codec::Format;
use modelcast_protocol::{InstanceName, ModelName, limits::ARTIFACT_MAX_BYTES};
use serde::Deserialize;

use crate::settings::{
    InstanceSection, ModelSettings, ProcessOverrides, ProcessSettings, Source,
    source::{Shown, some, wrong},
};

const MIB: usize = 1024 * 1024;

/// The settings file, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettings {
    /// How to reach Kafka.
    pub kafka: KafkaSettings,
    /// Whose signatures are trusted.
    pub keys: KeySettings,
    /// This process in the fleet.
    pub instance: InstanceSection,
    /// The stream.
    pub stream: StreamSection,
}

/// `[stream]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSection {
    /// The model that scores.
    pub model: Option<ModelName>,
    /// Larger artifacts are refused.
    pub artifact_max_bytes: u64,
    /// Topic of the features.
    pub input: String,
    /// Topic of the predictions.
    pub output: String,
    /// Topic of the records that cannot be scored.
    pub dead_letters: String,
    /// Consumer group; its members share the partitions of the input.
    pub group: String,
    /// Whether a member keeps its partitions over a restart.
    pub static_membership: bool,
    /// Where a partition starts of which nothing is committed.
    pub start: Start,
    /// How often a record may come out.
    pub delivery: Delivery,
    /// Which version scores a record.
    pub model_at: ModelAt,
    /// How records are written that have no `content-type`.
    pub format: Format,
    /// How predictions are written.
    pub output_format: Format,
    /// Larger records go to the dead letters.
    pub record_max_bytes: usize,
    /// Records of one transaction.
    pub batch_records_max: usize,
    /// Bytes after which a transaction takes no more records.
    pub batch_max_bytes: usize,
    /// How long a transaction waits for more records after its first.
    pub batch_linger_ms: u64,
    /// How long the group waits for a member that says nothing.
    pub session_timeout_seconds: u64,
    /// How long the broker leaves a transaction open.
    pub transaction_timeout_seconds: u64,
    /// Artifacts that event time keeps in memory.
    pub versions_max_bytes: u64,
    /// Address of metrics and health; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// Which version scores a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ModelAt {
    /// The one that is live on this instance.
    Live,
    /// The one that was champion at the record's timestamp.
    EventTime,
}

/// What environment and flags put over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Of what every subcommand has.
    pub process: ProcessOverrides,
    /// Of `stream.listen`.
    pub listen: Option<(SocketAddr, Source)>,
    /// Of `stream.model`.
    pub model: Option<(ModelName, Source)>,
    /// Of `stream.model_at`.
    pub model_at: Option<(ModelAt, Source)>,
    /// Of `stream.group`.
    pub group: Option<(String, Source)>,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// What every subcommand has; its instance is the member's name in the group too.
    pub process: ProcessSettings,
    /// The model that scores.
    pub model: ModelSettings,
    /// Topics, group and limits.
    pub pipe: PipeSettings,
    /// The rest of `[stream]`.
    pub stream: StreamSection,
    /// Each effective value: key, value, source.
    pub shown: Vec<(String, String, Source)>,
}

impl Default for StreamSection {
    fn default() -> Self {
        Self {
            model: None,
            artifact_max_bytes: ARTIFACT_MAX_BYTES,
            input: String::new(),
            output: String::new(),
            dead_letters: String::new(),
            group: String::new(),
            static_membership: false,
            start: Start::Earliest,
            delivery: Delivery::ExactlyOnce,
            model_at: ModelAt::Live,
            format: Format::Json,
            output_format: Format::Json,
            record_max_bytes: 256 * 1024,
            batch_records_max: 5_000,
            batch_max_bytes: 8 * MIB,
            batch_linger_ms: 20,
            session_timeout_seconds: 10,
            transaction_timeout_seconds: 30,
            versions_max_bytes: 1024 * MIB as u64,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
        }
    }
}

impl ModelAt {
    /// The word of the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::EventTime => "event-time",
        }
    }
}

impl StreamSettings {
    /// Reads the file, if there is one to read, and puts the overrides over it.
    ///
    /// # Errors
    /// [`SettingsError`] naming file, line and key of what is wrong.
    pub fn read(file: Option<&Path>, overrides: Overrides) -> Result<Self, SettingsError> {
        match file {
            None => Self::check(FileSettings::default(), &toml::Table::new(), overrides),
            Some(path) => Self::check(load(path)?, &load(path)?, overrides),
        }
    }

    fn check(file: FileSettings, written: &toml::Table, over: Overrides) -> Result<Self, SettingsError> {
        let mut shown = Shown { written, list: Vec::new() };
        let sections = (file.kafka, file.keys, file.instance);
        let process = ProcessSettings::check(sections, over.process, &mut shown)?;
        if !process.has_kafka() {
            return Err(wrong(
                "kafka.bootstrap_servers",
                &"",
                "a stream goes from Kafka to Kafka: an address is",
            ));
        }

        let mut stream = file.stream;
        let source = shown.put_over(&mut stream.model, some(over.model), "stream", "model");
        let missing = || wrong("stream.model", &"", "the name of a model is");
        let name = stream.model.clone().ok_or_else(missing)?;
        shown.add("stream.model", name.to_string(), source);
        let source = shown.put_over(&mut stream.listen, over.listen, "stream", "listen");
        shown.add("stream.listen", stream.listen.to_string(), source);
        let source = shown.put_over(&mut stream.model_at, over.model_at, "stream", "model_at");
        shown.add("stream.model_at", stream.model_at.name().to_owned(), source);
        let source = shown.put_over(&mut stream.group, over.group, "stream", "group");
        shown.add("stream.group", stream.group.clone(), source);
        check_texts(&stream, &mut shown)?;
        check_limits(&stream, &mut shown)?;
        let pipe = pipe(&stream, &process.instance);
        let model = ModelSettings { name, artifact_max_bytes: stream.artifact_max_bytes, embedded: None };
        Ok(Self { process, model, pipe, stream, shown: shown.list })
    }
}

/// That the names are there; which topics can be is the pipe's to say.
fn check_texts(stream: &StreamSection, shown: &mut Shown<'_>) -> Result<(), SettingsError> {
    let names = [
        ("input", &stream.input),
        ("output", &stream.output),
        ("dead_letters", &stream.dead_letters),
        ("group", &stream.group),
    ];
    for (name, value) in names {
        if value.is_empty() {
            return Err(wrong(&format!("stream.{name}"), value, "a name is"));
        }
        if name != "group" {
            shown.add(&format!("stream.{name}"), value.clone(), shown.written("stream", name));
        }
    }
    let words = [
        ("static_membership", stream.static_membership.to_string()),
        ("start", stream.start.name().to_owned()),
        ("delivery", stream.delivery.name().to_owned()),
        ("format", stream.format.name().to_owned()),
        ("output_format", stream.output_format.name().to_owned()),
    ];
    for (name, value) in words {
        shown.add(&format!("stream.{name}"), value, shown.written("stream", name));
    }
    Ok(())
}

fn check_limits(stream: &StreamSection, shown: &mut Shown<'_>) -> Result<(), SettingsError> {
    let whole = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let limits = [
        ("artifact_max_bytes", stream.artifact_max_bytes, 1, ARTIFACT_MAX_BYTES),
        ("record_max_bytes", whole(stream.record_max_bytes), 1, whole(RECORD_MAX_BYTES)),
        // As many as librdkafka queues, with room for what came before.
        ("batch_records_max", whole(stream.batch_records_max), 1, 50_000),
        ("batch_max_bytes", whole(stream.batch_max_bytes), 1, whole(32 * MIB)),
        ("batch_linger_ms", stream.batch_linger_ms, 0, 60_000),
        // What brokers allow unless they are told otherwise.
        ("session_timeout_seconds", stream.session_timeout_seconds, 6, 300),
        // Not shorter than one request may take, which librdkafka asks for.
        ("transaction_timeout_seconds", stream.transaction_timeout_seconds, 10, 900),
        ("versions_max_bytes", stream.versions_max_bytes, 1, u64::MAX),
    ];
    for (name, value, low, high) in limits {
        let key = format!("stream.{name}");
        if !(low..=high).contains(&value) {
            return Err(wrong(&key, &value, &format!("from {low} to {high} is")));
        }
        shown.add(&key, value.to_string(), shown.written("stream", name));
    }
    Ok(())
}

fn pipe(stream: &StreamSection, instance: &InstanceName) -> PipeSettings {
    PipeSettings {
        input: stream.input.clone(),
        output: stream.output.clone(),
        dead_letters: stream.dead_letters.clone(),
        group: stream.group.clone(),
        member: instance.clone(),
        static_membership: stream.static_membership,
        start: stream.start,
        delivery: stream.delivery,
        records_max: stream.batch_records_max,
        bytes_max: stream.batch_max_bytes,
        linger: Duration::from_millis(stream.batch_linger_ms),
        session_timeout: Duration::from_secs(stream.session_timeout_seconds),
        // Versions of the past are fetched while a batch is worked on.
        busy_max: Duration::from_secs(if stream.model_at == ModelAt::EventTime { 900 } else { 300 }),
        transaction_timeout: Duration::from_secs(stream.transaction_timeout_seconds),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WHOLE: &str = "[stream]\nmodel = \"m\"\ninput = \"a\"\noutput = \"b\"\ndead_letters = \"c\"\n\
                         group = \"g\"\n";

    fn read(text: &str, overrides: Overrides) -> Result<StreamSettings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream.toml");
        fs::write(&path, text).unwrap();
        StreamSettings::read(Some(&path), overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_place() {
        let rows = [
            (WHOLE.replace("model = \"m\"\n", ""), ["stream.model", "name of a model"]),
            (
                format!("[kafka]\nbootstrap_servers = \"\"\n{WHOLE}"),
                ["kafka.bootstrap_servers", "an address is"],
            ),
            (WHOLE.replace("\"b\"", "\"\""), ["stream.output", "a name"]),
            (format!("{WHOLE}topic = 1\n"), ["topic", "line 7"]),
            (format!("{WHOLE}delivery = \"twice\"\n"), ["delivery", "line 7"]),
            (format!("{WHOLE}model_at = \"noon\"\n"), ["model_at", "line 7"]),
            (format!("{WHOLE}batch_records_max = 0\n"), ["stream.batch_records_max", "from 1 to 50000"]),
            (format!("{WHOLE}session_timeout_seconds = 5\n"), ["session_timeout_seconds", "from 6 to 300"]),
            (format!("{WHOLE}record_max_bytes = 960001\n"), ["record_max_bytes", "960000"]),
        ];
        for (text, words) in rows {
            let error = read(&text, Overrides::default()).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{error:?} lacks {word:?}");
            }
        }
    }

    #[test]
    fn flags_go_over_the_file_and_the_sources_are_known() {
        let overrides = Overrides {
            process: ProcessOverrides {
                instance: Some((InstanceName::parse("i").unwrap(), Source::Environment)),
                ..ProcessOverrides::default()
            },
            model_at: Some((ModelAt::EventTime, Source::Flag)),
            group: Some(("h".into(), Source::Flag)),
            ..Overrides::default()
        };
        let settings = read(WHOLE, overrides).unwrap();
        assert_eq!(settings.stream.model_at, ModelAt::EventTime);
        assert_eq!((settings.pipe.group.as_str(), settings.pipe.member.as_str()), ("h", "i"));
        let source = |key: &str| settings.shown.iter().find(|shown| shown.0 == key).unwrap().2;
        assert_eq!(source("stream.model_at"), Source::Flag);
        assert_eq!(source("instance.name"), Source::Environment);
        assert_eq!(source("stream.input"), Source::File);
        assert_eq!(source("stream.delivery"), Source::Default);
    }

    /// The shipped file says every setting that there is, each at its default where there is one.
    #[test]
    fn the_shipped_file_names_every_setting() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/stream.toml");
        let settings = StreamSettings::read(Some(&path), Overrides::default()).unwrap();
        for (key, _, source) in &settings.shown {
            assert_eq!(*source, Source::File, "{key} is not in the shipped file");
        }
        let StreamSection { model, input, output, dead_letters, group, .. } = settings.stream.clone();
        let defaults =
            StreamSection { model, input, output, dead_letters, group, ..StreamSection::default() };
        assert_eq!(format!("{:?}", settings.stream), format!("{defaults:?}"));
    }
}
