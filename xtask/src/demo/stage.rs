//! What the story plays on: the broker or a Kafka that is there, keys, topics, and two consumer apps.
//!
//! # Invariants
//! * The apps end before the broker does, so that they withdraw in order.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::interrupt::Interrupt;
use super::process::{Process, Start};
use super::programs::{Programs, run_to_end, shown};
use super::story::MODELS;
use super::telling::Teller;
use super::workplace::{Kafka, Workplace};

/// A cold start on a loaded machine; it takes a second or two else.
const START_WITHIN: Duration = Duration::from_secs(60);
const INSTANCES: [&str; 2] = ["app-1", "app-2"];

/// One consumer app.
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) url: String,
    process: Process,
}

/// The embedded broker.
struct Broker {
    process: Process,
    /// The command that starts it again on the same records and port.
    command: String,
}

/// Everything that runs.
pub(super) struct Stage {
    // Dropped in this order.
    pub(super) apps: Vec<App>,
    broker: Option<Broker>,
    pub(super) trainer_config: PathBuf,
    operator_config: PathBuf,
    pub(super) workplace: Workplace,
    pub(super) teller: Teller,
}

impl Stage {
    /// Starts all of it, and tells where it is.
    pub(super) fn set_up(
        programs: &Programs,
        workplace: Workplace,
        kafka: Option<String>,
        namespace: Option<String>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let teller = Teller::new();
        teller.heading("Setting up");
        let broker = programs.broker.as_deref().filter(|_| kafka.is_none());
        let broker = broker.map(|program| start_broker(program, &workplace, interrupt)).transpose()?;
        let (broker, kafka) = match (broker, kafka) {
            (Some((broker, address)), _) => {
                let namespace = namespace.unwrap_or_else(|| "modelcast".to_owned());
                (Some(broker), Kafka { address, namespace, is_embedded: true })
            }
            (None, address) => {
                let address = address.context("there is neither a broker nor a Kafka")?;
                let namespace = namespace.map_or_else(own_namespace, Ok)?;
                (None, Kafka { address, namespace, is_embedded: false })
            }
        };
        let kind = if kafka.is_embedded { "embedded broker" } else { "Kafka" };
        teller.event(&format!("{kind} at {}, namespace {}", kafka.address, kafka.namespace));

        let operator_config = workplace.configure("operator", &kafka)?;
        make_keys_and_topics(programs, &workplace, &operator_config, &teller, interrupt)?;
        let trainer_config = workplace.configure("trainer", &kafka)?;
        let app_config = workplace.configure("consumer-app", &kafka)?;
        let mut stage = Self { apps: Vec::new(), broker, trainer_config, operator_config, workplace, teller };
        for name in INSTANCES {
            let app = start_app(name, &programs.consumer_app, &app_config, &stage.workplace, interrupt)?;
            stage.teller.event(&format!("{name}: its page is {}/models/property-value", app.url));
            stage.apps.push(app);
        }
        Ok(stage)
    }

    /// An error if something that is to stay up has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.apps.iter_mut().try_for_each(|app| app.process.check_alive())?;
        self.broker.iter_mut().try_for_each(|broker| broker.process.check_alive())
    }

    /// Leaves the apps and the broker to whoever wants to look around; the broker may be killed, to see the apps
    /// answer on without it.
    pub(super) fn stay_until_interrupted(
        &mut self,
        programs: &Programs,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        self.teller.heading("Up until Ctrl-C");
        for app in &self.apps {
            for model in MODELS {
                self.teller.fact(app.name, &format!("{}/models/{model}", app.url));
            }
        }
        let modelcast = shown(&programs.modelcast);
        let config = shown(&self.operator_config);
        let rollback = "rollback property-value --reason \"looking around\"";
        for command in ["status", "versions property-value", rollback] {
            let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
            self.teller.fact("try", format!("{modelcast} {verb} --config {config} {rest}").trim_end());
        }
        if let Some(broker) = &self.broker {
            let kill = format!("kill -9 {}  # the apps answer on without the broker", broker.process.id());
            self.teller.fact("try", &kill);
        }
        while !interrupt.wait(Duration::from_millis(250)) {
            self.apps.iter_mut().try_for_each(|app| app.process.check_alive())?;
            self.give_up_an_ended_broker();
        }
        Ok(())
    }

    fn give_up_an_ended_broker(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        let Err(ended) = broker.process.check_alive() else { return };
        self.teller.event(&format!("{ended:#}"));
        self.teller.fact("apps", "answer on, and go on with the broker once it is back, started by you:");
        self.teller.fact("try", &broker.command);
        self.broker = None;
    }

    /// Ends all that runs, in order.
    pub(super) fn stop(mut self) {
        self.teller.heading("Stopping");
        for app in &mut self.apps {
            app.process.stop();
        }
        if let Some(broker) = &mut self.broker {
            broker.process.stop();
        }
    }
}

fn start_broker(
    program: &Path,
    workplace: &Workplace,
    interrupt: &Interrupt,
) -> anyhow::Result<(Broker, String)> {
    let data = workplace.path("broker");
    let args = vec![OsStr::new("--data"), data.as_os_str(), OsStr::new("--port"), OsStr::new("0")];
    let mut process = Process::start(&Start { name: "broker", program, args, logs: &workplace.logs() })?;
    let address = process.wait_for_line("listening on ", START_WITHIN, interrupt)?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let command = format!("{} --data {} --port {port}", shown(program), shown(&data));
    Ok((Broker { process, command }, address))
}

fn make_keys_and_topics(
    programs: &Programs,
    workplace: &Workplace,
    config: &Path,
    teller: &Teller,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let logs = workplace.logs();
    let keys = workplace.keys().display().to_string();
    let make_keys = ["keys", "generate", "--out", &keys, "--name", "demo"];
    run_to_end("keys", &programs.modelcast, &make_keys, &logs, interrupt)?;
    teller.event(&format!("signing key in {}", shown(&workplace.keys())));
    let config = config.display().to_string();
    let mut make_topics = vec!["topics", "create", "--config", &config];
    for model in MODELS {
        make_topics.extend(["--model", model]);
    }
    run_to_end("topics", &programs.modelcast, &make_topics, &logs, interrupt)?;
    teller.event(&format!("topics for {}", MODELS.join(" and ")));
    Ok(())
}

fn start_app(
    name: &'static str,
    program: &Path,
    config: &Path,
    workplace: &Workplace,
    interrupt: &Interrupt,
) -> anyhow::Result<App> {
    let state = workplace.path(name);
    let mut args: Vec<&OsStr> = vec![OsStr::new("serve"), OsStr::new("--config"), config.as_os_str()];
    args.extend(["--listen", "127.0.0.1:0", "--instance", name, "--state"].map(OsStr::new));
    args.push(state.as_os_str());
    for model in MODELS {
        args.extend([OsStr::new("--model"), OsStr::new(model)]);
    }
    let mut process = Process::start(&Start { name, program, args, logs: &workplace.logs() })?;
    let url = process.wait_for_line("listening on ", START_WITHIN, interrupt)?;
    Ok(App { name, url, process })
}

/// A namespace that no earlier demo used: its records are signed with keys that are gone.
fn own_namespace() -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(format!("demo-{}", now.as_secs()))
}
