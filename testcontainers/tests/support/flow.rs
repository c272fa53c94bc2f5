//! The workplace of a stream: three topics, members, and what is in the topics as a committed reader sees it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use modelcast_testcontainers::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::app::agent;
use super::programs::{Running, command};
use super::scene::Scene;
use super::{DEADLINE, linear, runtime, wait_for};

/// A record of the test's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) at_unix_ms: i64,
    pub(crate) content_type: Option<&'static str>,
}

/// A record of a topic, as whoever reads only what is committed sees it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) offset: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) at_unix_ms: i64,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Got {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().map(|headers| {
            headers.iter().map(|one| (one.key.to_owned(), text(one.value.unwrap_or_default()))).collect()
        });
        Self {
            offset: message.offset(),
            key: message.key().map(text),
            value: message.payload().map(<[u8]>::to_vec),
            at_unix_ms: message.timestamp().to_millis().unwrap(),
            headers: headers.unwrap_or_default(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {self:?}"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }
}

/// Three topics and a group in the namespace of a scene.
pub(crate) struct Flow {
    pub(crate) scene: Scene,
    pub(crate) model: &'static str,
    partitions: i32,
}

/// A `consumer-app stream` that runs.
pub(crate) struct Streaming {
    pub(crate) running: Running,
    out: PathBuf,
    log: PathBuf,
}

impl Flow {
    pub(crate) fn new(stem: &str, model: &'static str, partitions: i32) -> Self {
        Self::on(Scene::new(stem, &[model]), model, partitions)
    }

    /// On a Kafka of the test's own.
    pub(crate) fn on_its_own(kafka: &Kafka, stem: &str, model: &'static str, partitions: i32) -> Self {
        Self::on(Scene::on(kafka, stem, &[model]), model, partitions)
    }

    /// Where the topics of the model are made.
    pub(crate) fn on(scene: Scene, model: &'static str, partitions: i32) -> Self {
        let flow = Self { scene, model, partitions };
        for end in ["in", "out", "dead"] {
            flow.create(&flow.topic(end));
        }
        flow
    }

    pub(crate) fn topic(&self, end: &str) -> String {
        format!("{}-{end}", self.scene.kafka.namespace)
    }

    fn create(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let new = NewTopic::new(topic, self.partitions, TopicReplication::Fixed(-1));
        // Records keep the time of their input, which may be long ago.
        let new = new.set("retention.ms", "-1");
        let created = runtime().block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
        created.into_iter().for_each(|result| drop(result.unwrap()));
        let consumer: BaseConsumer = self.config().create().unwrap();
        wait_for("the topic to be there", || {
            let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).ok()?;
            let led = metadata.topics().first()?.partitions().iter().filter(|one| one.leader() >= 0).count();
            (led == usize::try_from(self.partitions).unwrap()).then_some(())
        });
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.scene.kafka.bootstrap_servers);
        config.set("allow.auto.create.topics", "false");
        for (key, value) in &self.scene.kafka.properties {
            config.set(key, value);
        }
        config
    }

    /// Writes a member's settings file; `more` stands in `[stream]`.
    pub(crate) fn configure(&self, name: &str, more: &str) -> PathBuf {
        let state = self.scene.shown(&format!("state-{name}"));
        let says_it = more.contains("session_timeout_seconds");
        let session = if says_it { "" } else { "session_timeout_seconds = 6\n" };
        let text = format!(
            "{}[instance]\nname = \"{name}\"\nstate = \"{state}\"\n[stream]\nmodel = \"{}\"\n\
             input = \"{}\"\noutput = \"{}\"\ndead_letters = \"{}\"\ngroup = \"{}\"\n\
             listen = \"127.0.0.1:0\"\n{session}{more}\n",
            self.scene.common(false),
            self.model,
            self.topic("in"),
            self.topic("out"),
            self.topic("dead"),
            self.topic("group"),
        );
        self.scene.write(&format!("{name}.toml"), &text)
    }

    /// Starts a member that was configured.
    pub(crate) fn start(&self, name: &str) -> Streaming {
        let config = self.scene.path(&format!("{name}.toml"));
        let (out, log) = (config.with_extension("out"), config.with_extension("log"));
        let mut command = command("consumer-app");
        command.args(["stream", "--config"]).arg(&config);
        let log_file = File::options().create(true).append(true).open(&log).unwrap();
        command.stdout(File::create(&out).unwrap()).stderr(log_file).stdin(Stdio::null());
        Streaming { running: Running::start(&mut command), out, log }
    }

    pub(crate) fn member(&self, name: &str, more: &str) -> Streaming {
        self.configure(name, more);
        self.start(name)
    }

    /// Publishes a version of this weight.
    pub(crate) fn publish(&self, weight: f64) {
        let runtime = runtime();
        let publisher = runtime.block_on(self.scene.publisher());
        runtime.block_on(linear::publish(&publisher, linear::request(self.model, weight)));
    }

    /// Writes records into the input.
    pub(crate) fn send(&self, records: &[Sent]) {
        let mut config = self.config();
        config.set("linger.ms", "5").set("queue.buffering.max.messages", "1000000");
        let producer: BaseProducer = config.create().unwrap();
        let topic = self.topic("in");
        for sent in records {
            let headers = sent
                .content_type
                .map(|value| OwnedHeaders::new().insert(Header { key: "content-type", value: Some(value) }));
            let record = BaseRecord::<str, [u8]> {
                topic: &topic,
                partition: Some(sent.partition),
                payload: sent.value.as_deref(),
                key: sent.key.as_deref(),
                timestamp: Some(sent.at_unix_ms).filter(|at| *at > 0),
                headers,
                delivery_opaque: (),
            };
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(DEADLINE).unwrap();
    }

    /// A reader of all that is committed in a topic.
    pub(crate) fn reader(&self, end: &str) -> Committed {
        let mut config = self.config();
        config.set("group.id", "committed").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions {
            all.add_partition_offset(&self.topic(end), partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        Committed { consumer, partitions: self.partitions, got: Vec::new() }
    }

    /// The offset that the group goes on at, summed over the partitions; those without one count nothing.
    pub(crate) fn committed(&self) -> i64 {
        let mut config = self.config();
        config.set("group.id", self.topic("group")).set("isolation.level", "read_committed");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        all.add_partition_range(&self.topic("in"), 0, self.partitions - 1);
        let committed = consumer.committed_offsets(all, DEADLINE).unwrap();
        committed.elements().iter().filter_map(|one| one.offset().to_raw()).filter(|at| *at > 0).sum()
    }
}

/// Reads what is committed, as it comes.
pub(crate) struct Committed {
    consumer: BaseConsumer,
    partitions: i32,
    pub(crate) got: Vec<Got>,
}

impl Committed {
    /// Takes in what there is within a moment; gives how much is there by now.
    pub(crate) fn look(&mut self) -> usize {
        let moment = std::time::Duration::from_millis(200);
        while let Some(polled) = self.consumer.poll(moment) {
            if let Ok(message) = polled {
                self.got.push(Got::of(&message));
            }
        }
        self.got.len()
    }

    /// Reads until each partition says that there is no more. Of a reader that has read nothing yet.
    pub(crate) fn into_all(mut self) -> Vec<Got> {
        let mut ended = std::collections::BTreeSet::new();
        while ended.len() < usize::try_from(self.partitions).unwrap() {
            match self.consumer.poll(DEADLINE).expect("a record, or an end") {
                Ok(message) => self.got.push(Got::of(&message)),
                Err(KafkaError::PartitionEOF(partition)) => drop(ended.insert(partition)),
                Err(KafkaError::MessageConsumption(Code::BrokerTransportFailure | Code::AllBrokersDown)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.got
    }
}

impl Streaming {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Where it says its metrics and health.
    pub(crate) fn url(&mut self) -> String {
        wait_for("the stream to listen", || {
            assert!(self.running.runs(), "it ended: {}", self.log());
            let printed = fs::read_to_string(&self.out).unwrap();
            Some(printed.strip_suffix('\n')?.strip_prefix("listening on ")?.to_owned())
        })
    }

    pub(crate) fn wait_until_ready(&mut self) -> String {
        let (url, agent) = (self.url(), agent());
        wait_for("the stream to be ready", || {
            assert!(self.running.runs(), "it ended: {}", self.log());
            let answer = agent.get(format!("{url}/health/ready")).call().ok()?;
            (answer.status() == 200).then_some(())
        });
        url
    }

    /// All metrics.
    pub(crate) fn page(&mut self) -> String {
        let mut answer = agent().get(format!("{}/metrics", self.url())).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// A metric as a scrape finds it, by its name with its labels.
    pub(crate) fn metric(&mut self, name: &str) -> Option<f64> {
        let text = self.page();
        let (_, value) =
            text.lines().filter_map(|line| line.rsplit_once(' ')).find(|(one, _)| *one == name)?;
        Some(value.parse().unwrap())
    }

    /// Ends it in an orderly way and waits for that.
    pub(crate) fn stop(mut self) -> String {
        self.running.terminate();
        wait_for("the stream to end", || (!self.running.runs()).then_some(()));
        self.log()
    }
}
