//! Where a test plays: a namespace of its own on a Kafka, a key pair, the topics of some models, a folder.
//!
//! Gives what a subscriber or a publisher is built from, and publishes tiny models. Does not start a Kafka (see
//! `kafka`), nor the application under test.
//!
//! # Invariants
//! * Nothing is shared between two stages: neither topics nor keys nor folders. The folder goes with its stage.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelcast::fleet::Fleet;
use modelcast::models::GlmError;
use modelcast::protocol::ModelName;
use modelcast::protocol::key::{KeyError, SigningKey, TrustedKeys};
use modelcast::protocol::name::NameError;
use modelcast::protocol::resolve::Identity;
use modelcast::protocol::status::{Phase, Status};
use modelcast::publish::PublishedVersion;
use modelcast::settings::{KafkaSettings, KeySettings};
use modelcast::subscribe::SubscriberBuilder;
use modelcast::{KafkaError, PublishError, PublishRequest, Published, Publisher, Subscriber, topics};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::kafka::Kafka;
use crate::tiny::TinyModel;
use crate::wait::{DEADLINE, NotYet, wait_until};

/// Who publishes, in every stage.
const AUTHOR: &str = "team";

/// Why a stage, or what a test asked of it, did not come about.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A namespace, model or instance that is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The folder cannot be used.
    #[error("cannot use the folder of the test; TMPDIR names another place for it")]
    Folder(#[from] io::Error),
    /// The keys cannot be written or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The Kafka does not do its part.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The model makes no artifact.
    #[error(transparent)]
    Model(#[from] GlmError),
    /// It was not published.
    #[error(transparent)]
    Publish(#[from] Box<PublishError>),
    /// Nothing new is in force: this artifact is the champion already, or it was a dry run.
    #[error("nothing was published for {model}: {outcome}")]
    NothingNew {
        /// Of which model.
        model: ModelName,
        /// What became of it instead.
        outcome: String,
    },
    /// A state did not come in time.
    #[error(transparent)]
    NotYet(#[from] NotYet),
}

/// A namespace, a key pair, the topics of some models, and a folder, all of one test.
pub struct Stage {
    folder: TempDir,
    kafka: KafkaSettings,
    signing: SigningKey,
    trusted: TrustedKeys,
    publisher: OnceCell<Publisher>,
}

impl Stage {
    /// In a new namespace of this Kafka, with the topics of these models.
    ///
    /// # Errors
    /// See [`StageError`]; the name of a model follows `[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?`.
    pub async fn on(kafka: &Kafka, stem: &str, models: &[&str]) -> Result<Self, StageError> {
        Self::at(kafka.bootstrap_servers(), &kafka.namespace(stem), models).await
    }

    /// The same on any Kafka, such as a cluster through or around its proxies, or one that somebody else runs.
    ///
    /// # Errors
    /// As for [`on`](Self::on).
    pub async fn at(bootstrap_servers: &str, namespace: &str, models: &[&str]) -> Result<Self, StageError> {
        let stage = Self::bare(KafkaSettings {
            bootstrap_servers: bootstrap_servers.to_owned(),
            namespace: namespace.parse()?,
            ..KafkaSettings::default()
        })?;
        stage.create_topics(models).await?;
        Ok(stage)
    }

    /// With keys and a folder, and without any topic. Nobody need be at the address.
    ///
    /// # Errors
    /// [`StageError::Folder`] and [`StageError::Key`].
    pub fn bare(kafka: KafkaSettings) -> Result<Self, StageError> {
        let folder = TempDir::with_prefix("modelcast-stage-")?;
        let signing = SigningKey::from_seed(&rand::random());
        write_keys(&folder.path().join("keys"), &signing)?;
        let trusted = TrustedKeys::new([signing.public()])?;
        Ok(Self { folder, kafka, signing, trusted, publisher: OnceCell::new() })
    }

    /// Creates the topics of the namespace and of these models, and waits until they are there.
    ///
    /// # Errors
    /// [`StageError::Name`], [`StageError::Kafka`], [`StageError::NotYet`].
    pub async fn create_topics(&self, models: &[&str]) -> Result<(), StageError> {
        let models = models.iter().map(|model| ModelName::parse(model)).collect::<Result<Vec<_>, _>>()?;
        topics::create(&self.kafka, &models, None).await?;
        // A broker that did not create them itself hears of them a little later.
        let check = async || topics::check(&self.kafka, &models).await;
        Ok(wait_until("the topics", DEADLINE, check).await?)
    }

    /// How to reach Kafka, with the namespace.
    #[must_use]
    pub fn kafka(&self) -> &KafkaSettings {
        &self.kafka
    }

    /// Whom to trust: the stage's own key.
    #[must_use]
    pub fn trusted(&self) -> &TrustedKeys {
        &self.trusted
    }

    /// The private key.
    #[must_use]
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The same keys as files, for programs: a folder with `team.pub.pem` and `team.key.pem`.
    #[must_use]
    pub fn keys(&self) -> KeySettings {
        let folder = self.path("keys");
        KeySettings { signing: Some(folder.join(format!("{AUTHOR}.key.pem"))), trusted: vec![folder] }
    }

    /// A path in the folder of the test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A subscriber in this process; its state folder is named for the instance, and outlives it.
    ///
    /// # Errors
    /// [`StageError::Name`].
    pub fn subscriber(&self, instance: &str) -> Result<SubscriberBuilder, StageError> {
        let identity = Identity { instance: instance.parse()?, labels: [].into() };
        let state = self.path(&format!("state-{instance}"));
        Ok(Subscriber::builder(&self.kafka, &self.trusted, identity, &state))
    }

    /// A publisher in this process, connected when first asked for.
    ///
    /// # Errors
    /// [`StageError::Kafka`].
    pub async fn publisher(&self) -> Result<&Publisher, StageError> {
        let connect = || Publisher::connect(&self.kafka, &self.trusted, self.signing.clone());
        Ok(self.publisher.get_or_try_init(connect).await?)
    }

    /// Publishes a tiny model, by the whole sequence that a trainer's goes through.
    ///
    /// # Errors
    /// [`StageError::NothingNew`] when this weight is the champion's; [`StageError::Name`] and [`StageError::Model`] for
    /// a name or a weight that is none; [`StageError::Kafka`], [`StageError::Publish`].
    pub async fn publish(&self, model: &str, tiny: TinyModel) -> Result<PublishedVersion, StageError> {
        let request = tiny.request(model.parse()?, AUTHOR)?;
        publish(self.publisher().await?, request).await
    }

    /// Publishes a tiny model, and waits until so many instances report that they serve it, 60 s at most.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish); [`StageError::NotYet`] with what each instance reports instead.
    pub async fn publish_and_wait(
        &self,
        model: &str,
        tiny: TinyModel,
        instances: usize,
    ) -> Result<PublishedVersion, StageError> {
        let published = self.publish(model, tiny).await?;
        self.wait_until_live(model, &published, instances).await?;
        Ok(published)
    }

    /// Waits until so many instances report that they serve this version, 60 s at most.
    ///
    /// # Errors
    /// [`StageError::NotYet`] with what each instance reports instead; [`StageError::Name`].
    pub async fn wait_until_live(
        &self,
        model: &str,
        published: &PublishedVersion,
        instances: usize,
    ) -> Result<(), StageError> {
        let model: ModelName = model.parse()?;
        let look = async || {
            let fleet = Fleet::read(&self.kafka).await.map_err(|error| error.to_string())?;
            let live = fleet.of(&model).filter(|status| serves(status, published)).count();
            if live >= instances { Ok(()) } else { Err(shown(live, fleet.of(&model))) }
        };
        let what = format!("{instances} instances to serve version {} of {model}", published.version);
        Ok(wait_until(&what, DEADLINE, look).await?)
    }
}

/// Publishes, which must bring a new version into force.
///
/// # Errors
/// [`StageError::NothingNew`], [`StageError::Publish`].
pub async fn publish(publisher: &Publisher, request: PublishRequest) -> Result<PublishedVersion, StageError> {
    let model = request.model.clone();
    match publisher.publish(request, Arc::new(|_| {})).await.map_err(Box::new)? {
        Published::Committed(published) => Ok(*published),
        Published::Unchanged { version, generation, .. } => {
            let outcome =
                format!("the champion, version {version} at generation {generation}, is this artifact");
            Err(StageError::NothingNew { model, outcome })
        }
        Published::DryRun { .. } => {
            Err(StageError::NothingNew { model, outcome: "it was a dry run".to_owned() })
        }
    }
}

fn serves(status: &Status, published: &PublishedVersion) -> bool {
    status.phase == Phase::Live
        && status.generation_seen >= published.generation
        && status.served.is_some_and(|served| served.manifest == published.manifest)
}

fn shown<'a>(live: usize, statuses: impl Iterator<Item = &'a Status>) -> String {
    let one = |status: &Status| {
        let serves =
            status.served.map_or("nothing".to_owned(), |served| format!("version {}", served.version));
        format!(
            "; {} serves {serves}, phase {:?}, warnings {:?}",
            status.instance, status.phase, status.warnings
        )
    };
    format!("{live} of them{}", statuses.map(one).collect::<String>())
}

/// As `modelcast keys generate` writes them.
fn write_keys(folder: &Path, signing: &SigningKey) -> Result<(), StageError> {
    fs::create_dir(folder)?;
    fs::write(folder.join(format!("{AUTHOR}.pub.pem")), signing.public().to_pem()?)?;
    let mut private = fs::File::options();
    private.write(true).create_new(true).mode(0o600);
    private.open(folder.join(format!("{AUTHOR}.key.pem")))?.write_all(signing.to_pem()?.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_files_are_the_keys_of_the_stage() {
        let stage = Stage::bare(KafkaSettings::default()).unwrap();
        let keys = stage.keys();
        assert_eq!(keys.signing().unwrap().id(), stage.signing().id());
        assert_eq!(keys.trusted().unwrap().ids().collect::<Vec<_>>(), [stage.signing().id()]);
        let folder = stage.path("");
        drop(stage);
        assert!(!folder.exists());
    }

    #[test]
    fn a_name_that_is_none_is_an_error() {
        let stage = Stage::bare(KafkaSettings::default()).unwrap();
        assert!(matches!(stage.subscriber("No Name"), Err(StageError::Name(_))));
    }
}
