//! `consumer-app stream` as a story: listen, subscribe, score records from topic to topic, withdraw.
//!
//! Features come from one topic, predictions go to another, exactly once by Kafka's transactions; members of a group
//! share the partitions. Reading and writing is the crate `modelcast`'s (`pipe`); here is what becomes of a record.
//!
//! In reading order: [`args`] and [`settings`] say what is wanted; `work` is the loop; `score` turns records into
//! predictions and dead letters; `versions` knows who was champion when; `metrics` and `observe` say how it goes.

pub mod args;
mod metrics;
mod observe;
mod score;
pub mod settings;
mod versions;
mod work;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use modelcast::{KafkaError, LiveModel, pipe::PipeError, settings::SettingsError};
use modelcast_protocol::key::TrustedKeys;
use thiserror::Error;
use tokio::{net::TcpListener, runtime::Handle, sync::oneshot};
use tracing::info;

use self::{
    metrics::Counts,
    settings::{ModelAt, StreamSettings},
    versions::Versions,
    work::Work,
};
use crate::{app::AppError, feed::Feed, served::ServedModels, server};

/// Why the stream does not start, or ended before it was told to.
#[derive(Debug, Error)]
pub enum StreamError {
    /// A setting is wrong.
    #[error("the settings are wrong")]
    Settings(#[from] SettingsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (stream.listen)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The subscriber does not start.
    #[error(transparent)]
    Feed(#[from] AppError),
    /// Records cannot be taken from topic to topic.
    #[error("the stream ended")]
    Pipe(#[source] PipeError),
    /// The thread of the stream ended without a word.
    #[error("the thread of the stream is gone: its last words are in the log")]
    Gone,
    /// The system refuses a socket, a thread or a signal handler.
    #[error("the system does not let the stream run")]
    System(#[from] io::Error),
}

impl StreamError {
    /// Whether somebody has to change the settings.
    #[must_use]
    pub fn is_settings(&self) -> bool {
        match self {
            Self::Settings(_) => true,
            Self::Feed(source) => source.is_settings(),
            Self::Pipe(source) => matches!(
                source,
                PipeError::Topic { .. }
                    | PipeError::NoTransactions(_)
                    | PipeError::Kafka(KafkaError::Property { .. } | KafkaError::MissingTopic { .. })
            ),
            Self::Bind { .. } | Self::Gone | Self::System(_) => false,
        }
    }
}

/// Runs until a signal ends it. `listening` is told the address of metrics and health once.
///
/// # Errors
/// [`StreamError`]; where Kafka cannot be reached for a while, it waits.
pub async fn run(settings: StreamSettings, listening: impl FnOnce(SocketAddr)) -> Result<(), StreamError> {
    let keys = settings.process.keys.trusted()?;
    let signal = server::signal()?;
    let listener = bind(settings.stream.listen).await?;
    let feed = Feed::start(&settings.process, std::slice::from_ref(&settings.model), &keys).await?;
    let live = feed.models().first().cloned().ok_or(StreamError::Gone)?;
    let models = Arc::new(ServedModels::new(settings.process.instance.clone(), [live.clone()]));
    let counts = Arc::new(Counts::new());
    listening(listener.local_addr()?);
    let versions = versions(&settings, keys, live);
    let stop = Arc::new(AtomicBool::new(false));
    let served = models.models().next().map(Arc::clone).ok_or(StreamError::Gone)?;
    let work = Work { settings, served, versions, counts: Arc::clone(&counts), stop: Arc::clone(&stop) };
    let (thread, mut ended) = start(work)?;

    let registry = metrics::registry(models, Arc::clone(&counts));
    let (close, closed) = oneshot::channel::<()>();
    let observing = tokio::spawn(observe::serve(listener, registry, counts, async {
        // An error says that the sender is gone, which is an end too.
        let (Ok(()) | Err(_)) = closed.await;
    }));
    let early = tokio::select! {
        () = signal => None,
        result = &mut ended => Some(result),
    };
    stop.store(true, Relaxed);
    thread.thread().unpark();
    let result = match early {
        Some(result) => result,
        None => ended.await,
    };
    feed.shutdown().await;
    drop(close);
    observing.abort();
    info!("ended");
    result.unwrap_or(Err(StreamError::Gone))
}

type Ended = oneshot::Receiver<Result<(), StreamError>>;

/// Starts the thread; its end comes through the channel.
fn start(work: Work) -> io::Result<(JoinHandle<()>, Ended)> {
    let (tell, ended) = oneshot::channel();
    let run = move || {
        // Nobody listens any more where this fails.
        let (Ok(()) | Err(_)) = tell.send(work.run().map_err(StreamError::Pipe));
    };
    let thread = thread::Builder::new().name("modelcast-stream".into()).spawn(run)?;
    Ok((thread, ended))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StreamError> {
    TcpListener::bind(address).await.map_err(|source| StreamError::Bind { address, source })
}

fn versions(settings: &StreamSettings, keys: TrustedKeys, live: LiveModel) -> Option<Versions> {
    let (kafka, policy) = (settings.process.kafka.clone(), settings.model.policy());
    let max_bytes = settings.stream.versions_max_bytes;
    let of_the_past = settings.stream.model_at == ModelAt::EventTime;
    of_the_past.then(|| Versions::new(kafka, keys, live, policy, Handle::current(), max_bytes))
}
