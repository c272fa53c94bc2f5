//! `modelcast topics create` and `check`: the topics of a namespace, and their settings.

use std::time::{Duration, Instant};

use modelcast::{
    KafkaError,
    topics::{self, Creation},
};
use modelcast_protocol::ModelName;

use crate::{
    cli::{TopicsCheckArgs, TopicsCreateArgs, TopicsVerb},
    failure::{Exit, Failure},
    session,
    settings::Settings,
    stdout,
};

/// How long a broker may take to hear of a new topic.
const KNOWN_EVERYWHERE_DEADLINE: Duration = Duration::from_secs(15);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Creates or checks.
pub(super) async fn run(settings: &Settings, verb: &TopicsVerb) -> Result<Exit, Failure> {
    match verb {
        TopicsVerb::Create(args) => create(settings, args).await,
        TopicsVerb::Check(args) => check(settings, args).await,
    }
}

async fn create(settings: &Settings, args: &TopicsCreateArgs) -> Result<Exit, Failure> {
    let created = topics::create(&settings.kafka, &args.models, args.replication).await?;
    for (topic, creation) in created {
        let word = match creation {
            Creation::Created => "created",
            Creation::Existed => "exists ",
        };
        stdout::text(&format!("{word}  {topic}\n"))?;
    }
    // One that existed may have been made by somebody else, with settings of their own.
    check_new(settings, &args.models).await?;
    stdout::text("all are as they must be\n")?;
    Ok(Exit::Done)
}

/// Checks topics that a broker may not have heard of yet: the controller made them a moment ago.
async fn check_new(settings: &Settings, models: &[ModelName]) -> Result<(), Failure> {
    let deadline = Instant::now() + KNOWN_EVERYWHERE_DEADLINE;
    loop {
        match topics::check(&settings.kafka, models).await {
            Err(KafkaError::MissingTopic { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            result => return Ok(result?),
        }
    }
}

async fn check(settings: &Settings, args: &TopicsCheckArgs) -> Result<Exit, Failure> {
    topics::check(&settings.kafka, &args.models).await?;
    let mut models = args.models.clone();
    // Without keys the announcements cannot be read, and the other topics can be checked all the same.
    if settings.keys.trusted().is_ok() {
        let fold = session::catalog(settings).await?.fold().await?;
        models.extend(fold.models().map(|(model, _)| model.clone()));
    } else if models.is_empty() {
        stdout::text("no key is trusted: name models with --model to check their topics too\n")?;
    }
    models.sort();
    models.dedup();
    topics::check(&settings.kafka, &models).await?;
    stdout::text(&checked(settings, &models))?;
    Ok(Exit::Done)
}

fn checked(settings: &Settings, models: &[ModelName]) -> String {
    let specs = topics::specs(&settings.kafka, models);
    specs.iter().map(|spec| format!("good  {}\n", spec.name)).collect()
}
