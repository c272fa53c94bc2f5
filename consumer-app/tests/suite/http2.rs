//! A client of HTTP/2 that a test drives request by request, over TCP or TLS.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, Request},
};
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

/// One connection.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A request whose answer has not been read.
pub(crate) struct Asked {
    answer: ResponseFuture,
    pub(crate) body: SendStream<Bytes>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(async move { TcpStream::connect(address).await.unwrap() })
    }

    /// Over TLS; ALPN must settle on h2.
    pub(crate) fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::over(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            stream
        })
    }

    fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: impl Future<Output = S>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, connection) = runtime.block_on(async {
            let (sender, connection) = h2::client::handshake(stream.await).await.unwrap();
            (sender.ready().await.unwrap(), tokio::spawn(connection))
        });
        Self { runtime, sender, connection }
    }

    /// Sends the head of a request, and leaves its body to the test where there is one.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        has_body: bool,
    ) -> Asked {
        let mut request = Request::builder().method(method).uri(format!("http://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sender = self.sender.clone();
        let mut sender = self.runtime.block_on(sender.ready()).unwrap();
        let (answer, body) = sender.send_request(request.body(()).unwrap(), !has_body).unwrap();
        Asked { answer, body }
    }

    /// The answer; the error when the stream or the connection was ended.
    pub(crate) fn answer(&self, asked: Asked) -> Result<Answer, h2::Error> {
        let answer = async {
            let (head, mut body) = asked.answer.await?.into_parts();
            let mut text = Vec::new();
            while let Some(chunk) = body.data().await {
                text.extend_from_slice(&chunk?);
            }
            let text = String::from_utf8(text).unwrap();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, text })
        };
        self.within(answer)
    }

    pub(crate) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, h2::Error> {
        let asked = self.ask("GET", path, headers, false);
        self.answer(asked)
    }

    /// Opens a stream and resets it at once.
    pub(crate) fn reset(&mut self, path: &str) -> Result<(), h2::Error> {
        let request = Request::get(format!("http://localhost{path}")).body(()).unwrap();
        let sender = self.sender.clone();
        self.runtime.block_on(async {
            let (_, mut body) = sender.ready().await?.send_request(request, false)?;
            body.send_reset(h2::Reason::CANCEL);
            tokio::task::yield_now().await;
            Ok(())
        })
    }

    /// The status of an answer that comes within that time.
    pub(crate) fn status_within(&self, time: Duration, asked: &mut Asked) -> Option<u16> {
        let answer = async { tokio::time::timeout(time, &mut asked.answer).await };
        Some(self.runtime.block_on(answer).ok()?.unwrap().status().as_u16())
    }

    /// How the connection ended, once it has.
    pub(crate) fn ended(self) -> Result<(), h2::Error> {
        let Self { runtime, sender, connection } = self;
        drop(sender);
        let ended = async { tokio::time::timeout(Duration::from_secs(30), connection).await };
        runtime.block_on(ended).expect("the connection ends").unwrap()
    }

    /// Whether the peer has ended the connection, though this side would use it further.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }

    fn within<T>(&self, work: impl Future<Output = T>) -> T {
        let timed = async { tokio::time::timeout(Duration::from_secs(30), work).await };
        self.runtime.block_on(timed).expect("an answer within 30 s")
    }
}
