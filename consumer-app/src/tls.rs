//! TLS: certificate and key from files, read again when the files change.
//!
//! # Invariants
//! * Files that cannot be used change nothing: what was read last serves on, and the log says so.
//! * A new certificate is for new connections; those that are there stay.

use std::{io, path::Path, sync::Arc, time::Duration};

use modelcast::settings::SettingsError;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{error, info};

use crate::settings::TlsSettings;

/// The largest file of certificates or of a key.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Protocols that are offered, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What connections are encrypted with; the files are looked at as long as it lives.
pub(crate) struct Tls {
    current: watch::Receiver<Arc<ServerConfig>>,
    looking: AbortHandle,
}

/// The bytes of the files, to see whether they changed.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files and goes on looking at them; none where no certificate is set.
    pub(crate) fn start(settings: &TlsSettings) -> Result<Option<Self>, SettingsError> {
        let Some(files) = Files::read(settings)? else { return Ok(None) };
        let (sender, current) = watch::channel(Arc::new(files.config(settings)?));
        let looking = tokio::spawn(look(settings.clone(), files, sender)).abort_handle();
        Ok(Some(Self { current, looking }))
    }

    /// The handshake of one connection.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.current.borrow());
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Checks that the files can be used; nothing where no certificate is set.
pub(crate) fn check(settings: &TlsSettings) -> Result<(), SettingsError> {
    Files::read(settings)?.map_or(Ok(()), |files| files.config(settings).map(drop))
}

/// Looks whether the files changed, now and then.
async fn look(settings: TlsSettings, mut files: Files, sender: watch::Sender<Arc<ServerConfig>>) {
    let mut refused: Option<String> = None;
    loop {
        tokio::time::sleep(Duration::from_secs(settings.reload_seconds)).await;
        // Small, and local unless somebody mounts them from elsewhere: off the runtime's threads all the same.
        let (own, seen) = (
            settings.clone(),
            tokio::task::spawn_blocking({
                let settings = settings.clone();
                move || Files::read(&settings)
            }),
        );
        let read = match seen.await {
            Ok(Ok(Some(read))) if read == files => {
                refused = None;
                continue;
            }
            Ok(Ok(Some(read))) => read.config(&own).map(|config| (read, config)),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => continue,
        };
        match read {
            Ok((read, config)) => {
                files = read;
                refused = None;
                sender.send_replace(Arc::new(config));
                info!("new TLS files are in use");
            }
            // Said once for each cause: somebody may be about to put the second file in place.
            Err(error) if refused.as_deref() != Some(&*error.to_string()) => {
                error!(%error, "the new TLS files cannot be used; those read before stay in use");
                refused = Some(error.to_string());
            }
            Err(_) => {}
        }
    }
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Option<Self>, SettingsError> {
        let (certificate, private_key) = match (&settings.certificate, &settings.private_key) {
            (Some(certificate), Some(private_key)) => (certificate, private_key),
            _ => return Ok(None),
        };
        let client_ca = settings.client_ca.as_deref();
        Ok(Some(Self {
            certificate: read("certificate", certificate)?,
            private_key: read("private_key", private_key)?,
            client_ca: client_ca.map(|path| read("client_ca", path)).transpose()?,
        }))
    }

    /// What they mean together.
    fn config(&self, settings: &TlsSettings) -> Result<ServerConfig, SettingsError> {
        let at = |name: &'static str, path: &Option<std::path::PathBuf>| {
            let path = path.clone().unwrap_or_default();
            move |cause: String| unusable(name, &path, &cause)
        };
        let of_certificate = at("certificate", &settings.certificate);
        let of_key = at("private_key", &settings.private_key);
        let of_ca = at("client_ca", &settings.client_ca);
        let chain = certificates(&self.certificate).map_err(&of_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.private_key)
            .map_err(|error| of_key(format!("it holds no private key in PEM: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| of_certificate(error.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(bytes) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(bytes).map_err(&of_ca)? {
                    roots.add(certificate).map_err(|error| of_ca(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| of_ca(error.to_string()))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| of_key(format!("it does not go with http.tls.certificate: {error}")))?;
        config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it holds no certificates in PEM: {error}")),
    }
}

fn read(name: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(size) if u64::try_from(size).is_ok_and(|size| size <= FILE_MAX_BYTES) => Ok(bytes),
        Ok(_) => Err(unusable(name, path, &format!("it is larger than {FILE_MAX_BYTES} bytes"))),
        Err(error) => Err(unusable(name, path, &error.to_string())),
    }
}

fn unusable(name: &str, path: &Path, cause: &str) -> SettingsError {
    let (key, value) = (format!("http.tls.{name}"), path.display().to_string());
    SettingsError::Value { key, value, cause: cause.to_owned() }
}
