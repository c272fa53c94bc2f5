//! Where the models of this application come from: Kafka, with what it carries with it as the last resort; or that alone.
//!
//! Without Kafka (`kafka.bootstrap_servers` is empty) each model is its embedded file, admitted at the start, and nothing
//! is ever contacted. Does not decide between disk, file and Kafka: that is the subscriber's.
//!
//! # Invariants
//! * Without Kafka the application serves every model that it was told to, or does not start.

use modelcast::{Embedded, LiveModel, SubscribeError, Subscriber};
use modelcast_protocol::{key::TrustedKeys, resolve::Identity};
use tracing::info;

use crate::{
    app::AppError,
    settings::{ModelSettings, ProcessSettings},
};

/// All models of the process, and what swaps them.
pub struct Feed {
    models: Vec<LiveModel>,
    subscriber: Option<Subscriber>,
}

impl Feed {
    /// Subscribes, or loads the embedded files where there is no Kafka.
    ///
    /// # Errors
    /// [`AppError::Subscribe`]; [`AppError::Embedded`] where a file must serve and cannot. Never because Kafka cannot
    /// be reached.
    pub async fn start(
        process: &ProcessSettings,
        models: &[ModelSettings],
        keys: &TrustedKeys,
    ) -> Result<Self, AppError> {
        if process.has_kafka() {
            let subscriber = subscribe(process, models, keys).await?;
            let models = subscriber.models().cloned().collect();
            return Ok(Self { models, subscriber: Some(subscriber) });
        }
        info!("embedded only: kafka.bootstrap_servers is empty, so Kafka is never contacted");
        let (models, keys) = (models.to_vec(), keys.clone());
        // Decoding a large model takes longer than the runtime's threads may be busy.
        let load = move || models.iter().map(|model| load(model, &keys)).collect::<Result<Vec<_>, _>>();
        let models = tokio::task::spawn_blocking(load).await.map_err(std::io::Error::other)??;
        Ok(Self { models, subscriber: None })
    }

    /// The handles, in no order.
    #[must_use]
    pub fn models(&self) -> &[LiveModel] {
        &self.models
    }

    /// Ends the subscription and withdraws its status records; the handles go on serving.
    pub async fn shutdown(self) {
        if let Some(subscriber) = self.subscriber {
            info!("withdrawing status records");
            subscriber.shutdown().await;
        }
    }
}

async fn subscribe(
    process: &ProcessSettings,
    models: &[ModelSettings],
    keys: &TrustedKeys,
) -> Result<Subscriber, AppError> {
    let identity = Identity { instance: process.instance.clone(), labels: process.labels.clone() };
    let mut builder = Subscriber::builder(&process.kafka, keys, identity, &process.state);
    for model in models {
        builder = match &model.embedded {
            Some(file) => builder.model_with_embedded(model.name.clone(), model.policy(), file.clone()),
            None => builder.model(model.name.clone(), model.policy()),
        };
    }
    let failed = |source: SubscribeError| AppError::Subscribe { state: process.state.clone(), source };
    builder.start().await.map_err(failed)
}

fn load(model: &ModelSettings, keys: &TrustedKeys) -> Result<LiveModel, AppError> {
    let file = model.embedded.clone().unwrap_or_default();
    let unusable = |source| AppError::Embedded { file: file.clone(), source };
    let opened = Embedded::File(file.clone()).open(keys).map_err(unusable)?;
    let found = opened.announcement().frame.model.clone();
    if found != model.name {
        return Err(AppError::OtherModel { file, found, wanted: model.name.clone() });
    }
    let loaded = opened.admit(&model.policy(), &|_| {}).map_err(|refusal| unusable(refusal.into()))?;
    let (version, generation) = (loaded.version(), loaded.generation());
    info!(model = %model.name, %version, %generation, file = %file.display(), "embedded version serves");
    Ok(LiveModel::fixed(loaded)?)
}
