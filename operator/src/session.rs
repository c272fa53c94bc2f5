//! Contact with Kafka for a verb: reading needs the trusted keys only, changing needs the signing key too.
//!
//! Turns the errors of the client crate into [`Failure`]s; every verb meets Kafka through here.

use modelcast::{
    Catalog, FetchError, KafkaError, PublishError, Publisher,
    fleet::Fleet,
    publish::{Class, recover::RecoveryError},
    settings::SettingsError,
};
use modelcast_protocol::{
    Generation, ModelName,
    change::ChangeError,
    desired::DesiredState,
    fold::{Fold, InForce},
};

use anyhow::anyhow;

use crate::{
    failure::{Exit, Failure},
    settings::Settings,
};

/// Reads what is published.
pub(crate) async fn catalog(settings: &Settings) -> Result<Catalog, Failure> {
    let keys = settings.keys.trusted()?;
    Ok(Catalog::connect(&settings.kafka, &keys).await?)
}

/// Announces changes.
pub(crate) async fn publisher(settings: &Settings) -> Result<Publisher, Failure> {
    let keys = settings.keys.trusted()?;
    let signing = settings.keys.signing()?;
    Ok(Publisher::connect(&settings.kafka, &keys, signing).await?)
}

/// The announcement in force of a model that must be there. Where it is not, the fleet is asked: instances that have
/// seen the model tell a lost history from a mistyped name.
pub(crate) async fn in_force<'a>(
    settings: &Settings,
    fold: &'a Fold,
    model: &ModelName,
) -> Result<&'a InForce, Failure> {
    match fold.in_force(model) {
        Some(in_force) => Ok(in_force),
        None => Err(not_announced(fold, &Fleet::read(&settings.kafka).await?, model)),
    }
}

fn not_announced(fold: &Fold, fleet: &Fleet, model: &ModelName) -> Failure {
    if let Some((reported, instance)) = fleet.highest_generation(model)
        && reported > Generation::ZERO
    {
        let (model, instance) = (model.clone(), instance.to_string());
        return PublishError::HistoryLost { model, instance, reported, found: Generation::ZERO }.into();
    }
    match fold.unverified_ahead(model).next() {
        Some(record) => {
            let error = anyhow!("nothing that is trusted here is announced for {model}: {}", record.cause);
            Failure::new(Exit::Refused, error).advise("add the publisher's public key to [keys] trusted")
        }
        None => unknown_model(model, fold.models().map(|(known, _)| known)),
    }
}

/// No such model; names those that there are.
pub(crate) fn unknown_model<'a>(model: &ModelName, known: impl Iterator<Item = &'a ModelName>) -> Failure {
    let known: Vec<_> = known.map(ModelName::as_str).collect();
    let error = anyhow!("nothing is known of model {model}");
    let advice = match known.as_slice() {
        [] => "publish a version first, or check --namespace: no model is announced in this one".to_owned(),
        known => format!("models that are known: {}", known.join(", ")),
    };
    Failure::new(Exit::Refused, error).advise(advice)
}

/// What the announcement in force says, when this program understands it.
pub(crate) fn understood(in_force: &InForce) -> Result<&DesiredState, Failure> {
    in_force.announcement.body.as_ref().map_err(|error| {
        Failure::new(Exit::Refused, anyhow!("the announcement in force is not understood: {error}"))
            .advise("upgrade this program")
    })
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Configuration, error)
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        let exit = match &error {
            KafkaError::Unreachable { .. } => Exit::Unreachable,
            KafkaError::Property { .. } => Exit::Configuration,
            KafkaError::MissingTopic { .. }
            | KafkaError::WrongTopic { .. }
            | KafkaError::NotGranted { .. }
            | KafkaError::Unsupported { .. }
            | KafkaError::Refused { .. }
            | KafkaError::OffsetGone { .. }
            | KafkaError::Transient { .. } => Exit::Failed,
        };
        let failure = Self::new(exit, error);
        match exit {
            Exit::Unreachable => failure.advise(
                "check --kafka and [kafka], and whether the brokers run; --log warn,librdkafka=debug shows what the \
                 client met on its way",
            ),
            _ => failure,
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let error = match error {
            PublishError::Kafka(error) => return error.into(),
            error => error,
        };
        let exit = match error.class() {
            Class::Unavailable => Exit::Unreachable,
            Class::Conflict => Exit::Conflict,
            Class::Refused => Exit::Refused,
            Class::Unknown => Exit::Unknown,
            Class::Failed => Exit::Failed,
        };
        let advice = match &error {
            PublishError::Unknown { model, generation, digest, .. } => Some(format!(
                "once all brokers are back, run: modelcast settle {model} {generation} {digest}"
            )),
            PublishError::Conflict(..) => {
                Some("look at `modelcast status` and `modelcast versions`, and decide again".to_owned())
            }
            PublishError::Change(ChangeError::StillWanted { .. }) => {
                Some("--instead V2 names what runs instead of the champion".to_owned())
            }
            PublishError::HistoryLost { model, .. } => Some(format!(
                "see what can be recovered: modelcast recover {model} --dry-run --reason WHY; \
                 \"History is lost or forked\" in docs/operations.md tells more"
            )),
            PublishError::Recovery(error) => recovery_advice(error),
            _ => None,
        };
        Self { advice, ..Self::new(exit, error) }
    }
}

fn recovery_advice(error: &RecoveryError) -> Option<String> {
    match error {
        RecoveryError::NothingFound { .. } => Some(
            "give an announcement with --from FILE: an instance keeps one in its state folder, \
             STATE/NAMESPACE/MODEL/versions/*/announcement"
                .to_owned(),
        ),
        RecoveryError::Ambiguous { served, champion, .. } => {
            Some(format!("--version {served} keeps what they serve, --version {champion} goes back"))
        }
        RecoveryError::ChampionLost { version, .. } => Some(format!(
            "name one that can be had with --version, or --version {version} if it is to be published again"
        )),
        RecoveryError::Moved { .. } => Some("run the same command again".to_owned()),
        RecoveryError::NotItsAnnouncement { .. }
        | RecoveryError::UnknownVersion { .. }
        | RecoveryError::NumberTaken { .. }
        | RecoveryError::Quarantined { .. }
        | RecoveryError::Implausible { .. }
        | RecoveryError::TooFar { .. } => None,
    }
}

impl Failure {
    /// Whether Kafka may do later what it did not do now.
    pub(crate) fn may_pass(&self) -> bool {
        self.error.downcast_ref::<KafkaError>().is_some_and(KafkaError::is_transient)
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Kafka(error) => error.into(),
            error @ (FetchError::Refused(_) | FetchError::Store(_) | FetchError::Cancelled) => {
                Self::new(Exit::Failed, error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::{
        Digest, InstanceName, Namespace,
        codec::Record as _,
        desired::Labels,
        status::{Phase, Status, Traffic},
    };

    use super::*;

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).unwrap()
    }

    #[test]
    fn each_error_ends_with_its_exit_code() {
        let (what, cause) = (String::new(), String::new());
        let (topic, mend) = ("t".to_owned(), "the command".to_owned());
        for (error, exit) in [
            (KafkaError::Unreachable { servers: "a:1".into(), cause: cause.clone() }, Exit::Unreachable),
            (KafkaError::Transient { what: what.clone(), cause: cause.clone() }, Exit::Failed),
            (KafkaError::Property { cause: cause.clone() }, Exit::Configuration),
            (KafkaError::MissingTopic { topic, mend }, Exit::Failed),
            (KafkaError::Refused { what, cause: cause.clone() }, Exit::Failed),
        ] {
            assert_eq!(Failure::from(error.clone()).exit, exit, "{error}");
            let failure = Failure::from(PublishError::Kafka(error.clone()));
            assert_eq!((failure.exit, failure.may_pass()), (exit, error.is_transient()), "{error}");
        }
        assert_eq!(Failure::from(PublishError::Change(ChangeError::NoModel)).exit, Exit::Refused);
        assert_eq!(Failure::from(SettingsError::NoSigningKey).exit, Exit::Configuration);
    }

    #[test]
    fn an_unknown_outcome_prints_the_command_that_settles_it() {
        let failure = Failure::from(PublishError::Unknown {
            model: model("house"),
            generation: Generation::new(9),
            digest: Digest::of(b"x"),
            cause: Box::new(KafkaError::Transient { what: "it".into(), cause: "timeout".into() }),
        });
        assert_eq!(failure.exit, Exit::Unknown);
        let command = format!("modelcast settle house 9 {}", Digest::of(b"x"));
        assert!(failure.advice.unwrap().ends_with(&command));
    }

    #[test]
    fn a_model_that_is_not_there_lists_those_that_are() {
        let known = [model("cancer"), model("house")];
        let failure = unknown_model(&model("hous"), known.iter());
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.text().contains("hous\n") && failure.text().contains("cancer, house"));
        let empty = Fold::new(Namespace::parse("test").unwrap());
        let failure = not_announced(&empty, &Fleet::default(), &model("house"));
        assert!(failure.text().contains("--namespace"), "{}", failure.text());
    }

    #[test]
    fn a_model_that_only_instances_know_has_lost_its_history() {
        let status = Status {
            v: Status::VERSION,
            model: model("house"),
            instance: InstanceName::parse("app-1").unwrap(),
            boot_id: "aaaa".into(),
            sequence: 1,
            at_unix_ms: 0,
            labels: Labels::new(),
            phase: Phase::Waiting,
            wanted: None,
            served: None,
            generation_seen: Generation::new(8),
            announcement_seen: None,
            warnings: Vec::new(),
            traffic: Traffic::default(),
        };
        let mut fleet = Fleet::default();
        fleet.take(status.key().as_bytes(), Some(&status.encode().unwrap()));
        let empty = Fold::new(Namespace::parse("test").unwrap());
        let failure = not_announced(&empty, &fleet, &model("house"));
        assert_eq!(failure.exit, Exit::Refused);
        for part in ["history lost", "app-1", "generation 8", "modelcast recover house", "docs/operations.md"]
        {
            assert!(failure.text().contains(part), "{part:?} is not in {}", failure.text());
        }
    }
}
