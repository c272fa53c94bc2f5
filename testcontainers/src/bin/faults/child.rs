//! The processes of a run, from both sides: their arguments, their start, what is done to them.
//!
//! # Invariants
//! * A child ends with its handle, and with the run when that is killed: by its parent's death, where `setpriv`
//!   exists, and by the end of its input.
//! * A child that is asked to end is asked by closing its input.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};

use anyhow::Context as _;
use clap::Args;
use modelcast::protocol::key::{SigningKey, TrustedKeys};
use modelcast::protocol::{ModelName, Namespace};
use modelcast::settings::{KafkaSettings, KeySettings};
use modelcast_testcontainers::bound_command;
use modelcast_testcontainers::history::Recorder;
use tokio::sync::watch;

/// What every process of a run is told.
#[derive(Args, Clone)]
pub(crate) struct ChildArgs {
    /// The run's folder
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// `bootstrap.servers`
    #[arg(long)]
    pub(crate) servers: String,
    /// Prefix of the topics
    #[arg(long)]
    pub(crate) namespace: Namespace,
    /// The model
    #[arg(long)]
    pub(crate) model: ModelName,
    /// The process's name, which those before and after it have too
    #[arg(long)]
    pub(crate) name: String,
    /// Counts the processes of this name
    #[arg(long)]
    pub(crate) boot: u64,
    /// Decides what it does
    #[arg(long)]
    pub(crate) seed: u64,
}

/// A running process.
pub(crate) struct Child(Process);

impl ChildArgs {
    /// What the process is called in the history.
    pub(crate) fn process(&self) -> String {
        format!("{}.{}", self.name, self.boot)
    }

    pub(crate) fn recorder(&self) -> anyhow::Result<Recorder> {
        let folder = history_folder(&self.folder);
        Recorder::create(&folder, &self.process()).context("cannot begin a history")
    }

    pub(crate) fn kafka(&self) -> KafkaSettings {
        let (bootstrap_servers, namespace) = (self.servers.clone(), self.namespace.clone());
        KafkaSettings { bootstrap_servers, namespace, ..KafkaSettings::default() }
    }

    pub(crate) fn keys(&self) -> anyhow::Result<(TrustedKeys, SigningKey)> {
        let keys = KeySettings {
            trusted: vec![self.folder.join("keys")],
            signing: Some(self.folder.join("keys/run.key.pem")),
        };
        Ok((keys.trusted()?, keys.signing()?))
    }

    /// A number that another seed, another process and another boot make another.
    pub(crate) fn own_seed(&self) -> u64 {
        let text = format!("{}/{}", self.seed, self.process());
        let [a, b, c, d, e, f, g, h, ..] = *modelcast::protocol::Digest::of(text.as_bytes()).as_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Makes the keys of a run.
pub(crate) fn write_keys(folder: &Path) -> anyhow::Result<()> {
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys)?;
    let key = SigningKey::from_seed(&rand::random());
    std::fs::write(keys.join("run.key.pem"), key.to_pem()?)?;
    std::fs::write(keys.join("run.pub.pem"), key.public().to_pem()?)?;
    Ok(())
}

pub(crate) fn history_folder(run: &Path) -> PathBuf {
    run.join("history")
}

/// The end of this process's input, as something to wait for: then it is to end.
pub(crate) fn end_of_input() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    std::thread::spawn(move || {
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        sender.send_replace(true);
        // Whoever watches must see the value, not a closed channel.
        std::thread::park();
    });
    receiver
}

/// What librdkafka and the client say goes to the process's own log.
pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::new("info");
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    subscriber.with_writer(std::io::stderr).init();
}

impl Child {
    /// Starts this program again. The thread that starts it must outlive it.
    pub(crate) fn start(role: &str, args: &ChildArgs) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = bound_command(&program);
        let log = File::create(args.folder.join(format!("{}.log", args.process())))?;
        command.arg(role).arg("--folder").arg(&args.folder).args(["--servers", &args.servers]);
        command.args(["--namespace", args.namespace.as_str(), "--model", args.model.as_str()]);
        command.args(["--name", &args.name, "--boot", &args.boot.to_string()]);
        command.args(["--seed", &args.seed.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        Ok(Self(command.spawn().with_context(|| format!("cannot start {}", args.process()))?))
    }

    /// Asks it to end.
    pub(crate) fn ask_to_end(&mut self) {
        drop(self.0.stdin.take());
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }

    /// Stops it where it stands.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let kill = format!("kill -{name} {}", self.0.id());
        let status = Command::new("sh").args(["-c", &kill]).status()?;
        anyhow::ensure!(status.success(), "`{kill}` ended with {status}");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
