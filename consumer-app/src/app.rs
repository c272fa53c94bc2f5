//! The application as a story: bind, subscribe or load what is embedded, serve, drain, withdraw.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use modelcast::{EmbeddedError, KafkaError, SubscribeError, settings::SettingsError};
use modelcast_protocol::ModelName;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::info;

use crate::{feed::Feed, predictions::readers::Readers, served::ServedModels, server, settings::Settings};

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
    /// There is no Kafka, and a file that must serve cannot.
    #[error("cannot serve {} without Kafka", file.display())]
    Embedded {
        /// The file.
        file: PathBuf,
        /// Why.
        source: EmbeddedError,
    },
    /// The same: it holds another model.
    #[error("{} holds model {found}, its [[models]] entry is {wanted}", file.display())]
    OtherModel {
        /// The file.
        file: PathBuf,
        /// Its model.
        found: ModelName,
        /// The model of the entry.
        wanted: ModelName,
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
            Self::Settings(_) | Self::Embedded { .. } | Self::OtherModel { .. } => true,
            Self::Subscribe { source, .. } => {
                matches!(source, SubscribeError::Kafka(KafkaError::Property { .. }))
            }
            Self::Bind { .. } | Self::System(_) => false,
        }
    }
}

/// Runs until a signal ends it. `listening` is told scheme and address once, when requests can be made.
///
/// # Errors
/// [`AppError`]; never because Kafka cannot be reached: then the last known good versions serve.
pub async fn run(settings: Settings, listening: impl FnOnce(&str, SocketAddr)) -> Result<(), AppError> {
    let keys = settings.process.keys.trusted()?;
    let signal = server::signal()?;
    let listener = bind(settings.http.listen).await?;
    let feed = Feed::start(&settings.process, &settings.models, &keys).await?;
    let stored = settings.predictions.as_ref().map(Readers::start).transpose()?;
    let models =
        ServedModels::new(settings.process.instance, feed.models().iter().cloned()).with_stored(stored);
    let scheme = if settings.http.tls.is_on() { "https" } else { "http" };
    listening(scheme, listener.local_addr()?);
    let served = server::serve(listener, Arc::new(models), settings.http, signal).await;
    feed.shutdown().await;
    info!("ended");
    Ok(served?)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| AppError::Bind { address, source })
}
