//! TLS: both protocols of HTTP by ALPN, certificates that change, clients that must have one, and peers that say nothing.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use crate::{
    fixture::{Server, connect, fixed, tumour, until},
    http2::Http2,
};
use consumer_app::settings::{HttpSettings, TlsSettings};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;

/// An authority with a certificate of its own making for `localhost`, in a folder.
pub(crate) struct Certificates {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let authority_pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), &authority_pem).unwrap();
        let made = Self { folder, authority: Issuer::new(params, key), authority_pem };
        made.renew("localhost");
        made
    }

    /// Writes another certificate over the one that is there.
    fn renew(&self, name: &str) {
        let (certificate, key) = self.sign(name);
        fs::write(self.folder.path().join("key.pem"), key).unwrap();
        fs::write(self.folder.path().join("server.pem"), certificate).unwrap();
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings {
            certificate: Some(self.folder.path().join("server.pem")),
            private_key: Some(self.folder.path().join("key.pem")),
            client_ca: None,
            reload_seconds: 1,
        }
    }

    /// A client that trusts the authority, and prefers HTTP/2.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client_with(None, &[b"h2", b"http/1.1"])
    }

    fn client_with(&self, own: Option<(String, String)>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// One request over HTTP/1.1 and TLS: the answer, or why there is none.
fn get(server: &Server, config: Arc<ClientConfig>, name: &str) -> Result<String, std::io::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), connect(server));
    stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn server(tls: TlsSettings) -> Server {
    Server::with([fixed(tumour(1))], HttpSettings { tls, ..HttpSettings::default() })
}

#[test]
fn both_protocols_are_served_over_tls_and_over_none() {
    let certificates = Certificates::new();
    let server = server(certificates.settings());
    let http1 = certificates.client_with(None, &[b"http/1.1"]);
    assert!(get(&server, http1, "localhost").unwrap().starts_with("HTTP/1.1 200"));
    let mut http2 = Http2::connect_tls(server.address, certificates.client());
    assert_eq!(http2.get("/v2/health/live", &[]).unwrap().status, 200);
    let plain = Server::start([fixed(tumour(1))]);
    assert_eq!(Http2::connect(plain.address).get("/v2/health/live", &[]).unwrap().status, 200);
    assert_eq!(plain.get("/v2/health/live").status, 200);
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_asked_for() {
    let certificates = Certificates::new();
    let client_ca = Some(certificates.folder.path().join("ca.pem"));
    let server = server(TlsSettings { client_ca, ..certificates.settings() });
    let stranger = Certificates::new().sign("client");
    let alpn: &[&[u8]] = &[b"http/1.1"];
    assert!(get(&server, certificates.client_with(None, alpn), "localhost").is_err());
    assert!(get(&server, certificates.client_with(Some(stranger), alpn), "localhost").is_err());
    let known = certificates.sign("client");
    let answer = get(&server, certificates.client_with(Some(known), alpn), "localhost").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_new_certificate_is_taken_in_and_a_broken_one_is_not() {
    let certificates = Certificates::new();
    let server = server(certificates.settings());
    let client = || certificates.client_with(None, &[b"http/1.1"]);
    let mut before = Http2::connect_tls(server.address, certificates.client());
    certificates.renew("renewed");
    until("the new certificate serves", || get(&server, client(), "renewed").ok());
    assert_eq!(before.get("/v2/health/live", &[]).unwrap().status, 200, "the connection from before stays");
    fs::write(certificates.folder.path().join("server.pem"), "no certificate").unwrap();
    // Longer than the next look: a look that took it in would show now.
    std::thread::park_timeout(Duration::from_millis(1_500));
    get(&server, client(), "renewed").unwrap();
    certificates.renew("mended");
    until("the mended certificate serves", || get(&server, client(), "mended").ok());
}

/// Handshakes that do not go on hold up nobody, and end; they count as connections until then.
#[test]
fn a_peer_that_does_not_shake_hands_holds_up_nobody_and_is_gone_in_time() {
    let certificates = Certificates::new();
    let http = HttpSettings {
        tls: certificates.settings(),
        header_timeout_seconds: 2,
        connections_max: 4,
        ..HttpSettings::default()
    };
    let server = Server::with([fixed(tumour(1))], http);
    let silent: Vec<TcpStream> = (0..3).map(|_| connect(&server)).collect();
    let client = certificates.client_with(None, &[b"http/1.1"]);
    get(&server, Arc::clone(&client), "localhost").unwrap();
    for mut stream in silent {
        let ended = stream.read(&mut [0; 8]);
        let reset = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(matches!(ended, Ok(0)) || ended.is_err_and(reset), "closed, with nothing said");
    }
    // Plain HTTP to a TLS port ends as well.
    let mut plain = connect(&server);
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

/// The deadline of what comes after the handshake is not used up by the handshake's own bytes.
#[test]
fn a_peer_that_shakes_hands_and_then_begins_nothing_is_gone_in_time() {
    let certificates = Certificates::new();
    let tls = certificates.settings();
    let http = HttpSettings { tls, header_timeout_seconds: 1, ..HttpSettings::default() };
    let server = Server::with([fixed(tumour(1))], http);
    let client = certificates.client_with(None, &[b"http/1.1"]);
    for start in ["", "PRI * HTTP/2.0\r\n"] {
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::clone(&client), name).unwrap();
        let mut stream = StreamOwned::new(tls, connect(&server));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream.write_all(start.as_bytes()).unwrap();
        let ended = stream.read(&mut [0; 8]);
        // The end of TCP without one of TLS: nothing was said.
        let kinds = [std::io::ErrorKind::UnexpectedEof, std::io::ErrorKind::ConnectionReset];
        assert!(
            ended.as_ref().is_ok_and(|read| *read == 0)
                || ended.is_err_and(|error| kinds.contains(&error.kind()))
        );
    }
}
