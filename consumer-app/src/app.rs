//! The application as a story: bind, subscribe, serve, drain, withdraw.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use modelcast::{KafkaError, SubscribeError, Subscriber, admission::Policy, settings::SettingsError};
use modelcast_protocol::{key::TrustedKeys, resolve::Identity};
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::info;

use crate::{
    served::ServedModels,
    server,
    settings::{ModelSettings, Settings},
};

/// Why the application does not start, or ended before it was told to.
#[derive(Debug, Error)]
pub enum AppError {
    /// A setting is wrong.
    #[error("the settings are wrong")]
    Settings(#[from] SettingsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (http.listen)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The subscriber does not start.
    #[error("cannot subscribe with the state folder {}", state.display())]
    Subscribe {
        /// The folder.
        state: PathBuf,
        /// Why.
        source: SubscribeError,
    },
    /// The system refuses a socket or a signal handler.
    #[error("the system does not let the server run")]
    System(#[from] io::Error),
}

impl AppError {
    /// Whether somebody has to change the settings.
    #[must_use]
    pub fn is_settings(&self) -> bool {
        match self {
            Self::Settings(_) => true,
            Self::Subscribe { source, .. } => {
                matches!(source, SubscribeError::Kafka(KafkaError::Property { .. }))
            }
            Self::Bind { .. } | Self::System(_) => false,
        }
    }
}

/// Runs until a signal ends it. `listening` is told the address once, when requests can be made.
///
/// # Errors
/// [`AppError`]; never because Kafka cannot be reached: then the last known good versions serve.
pub async fn run(settings: Settings, listening: impl FnOnce(SocketAddr)) -> Result<(), AppError> {
    let keys = settings.keys.trusted()?;
    let signal = server::signal()?;
    let listener = bind(settings.http.listen).await?;
    let subscriber = subscribe(&settings, &keys).await?;
    let models = ServedModels::new(settings.instance, subscriber.models().cloned());
    listening(listener.local_addr()?);
    let served = server::serve(listener, Arc::new(models), settings.http, signal).await;
    info!("withdrawing status records");
    subscriber.shutdown().await;
    info!("ended");
    Ok(served?)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| AppError::Bind { address, source })
}

async fn subscribe(settings: &Settings, keys: &TrustedKeys) -> Result<Subscriber, AppError> {
    let identity = Identity { instance: settings.instance.clone(), labels: settings.labels.clone() };
    let mut builder = Subscriber::builder(&settings.kafka, keys, identity, &settings.state);
    for ModelSettings { name, artifact_max_bytes } in &settings.models {
        let policy = Policy { artifact_max_bytes: *artifact_max_bytes, ..Policy::standard() };
        builder = builder.model(name.clone(), policy);
    }
    let failed = |source| AppError::Subscribe { state: settings.state.clone(), source };
    builder.start().await.map_err(failed)
}
